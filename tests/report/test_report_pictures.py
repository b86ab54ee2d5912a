"""Pictures of a report and the arrays that its viewer holds: right values, right way round."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from report_page import SHAPE, VOXEL_MM, make

from chimap.report import write_report
from chimap.report.figures import three_plane
from chimap.report.html import render
from chimap.report.orient import Orientation, bounding_box, centre_index
from chimap.report.viewer import build, pack, quantise, reduce, step_for, unpack


@pytest.mark.parametrize("difference", [False, True])
def test_pack_unpack(difference):
    rng = np.random.default_rng(0)
    whole = rng.integers(-32768, 32768, (7, 5, 3)).astype(np.int16)
    assert np.array_equal(
        unpack(pack(whole, difference=difference), whole.shape, difference=difference), whole
    )


@pytest.mark.parametrize("window", [(-0.1, 0.2), (0, 100), (-0.013, 0.004), (0, 0.0961)])
def test_rounding_stays_under_one_percent_of_the_window(window):
    span = window[1] - window[0]
    step = step_for(window)
    assert span / 260 < step <= span / 100 * 1.0001
    values = np.linspace(window[0] - 3 * span, window[1] + 3 * span, 5001, dtype=np.float32)[:, None, None]
    assert np.abs(quantise(values, step) * step - values).max() < 0.0051 * span


OBLIQUE = np.array([[0, 0, -2.0, 20], [-1.0, 0.1, 0, 10], [0.1, 1.5, 0, -20], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [np.diag([1, 1.5, 2, 1.0]), np.diag([-1, -1.5, 2, 1.0]), OBLIQUE])
def test_the_page_holds_the_array(affine):
    data = make(affine)
    page = render(data)
    meta = json.loads(re.search(r'id="vw-meta">(.*?)</script>', page, re.S).group(1))
    assert meta["factor"] == 1
    chi = data.maps[2].volume
    number = next(i for i, v in enumerate(meta["volumes"]) if v.get("key") == "chi")
    info = meta["volumes"][number]
    text = re.search(rf'id="vw-volume-{number}">(.*?)</script>', page, re.S).group(1)
    held = unpack(base64.b64decode(text), tuple(meta["shape"]), difference=info["difference"]) * info["step"]
    to_voxel, to_mm = np.array(meta["to_voxel"]), np.array(meta["to_mm"])
    index = np.stack(np.meshgrid(*map(np.arange, held.shape), indexing="ij"), -1).reshape(-1, 3)
    stored = index @ to_voxel[:, :3].T + to_voxel[:, 3]
    assert np.array_equal(stored, np.rint(stored))
    i, j, k = stored.astype(int).T
    # Also the voxel at 1.25 ppm, far outside the window of 0.3 ppm.
    assert np.abs(held.reshape(-1) - chi[i, j, k]).max() <= info["step"] / 2 + 1e-6
    assert held.max() == pytest.approx(1.25, abs=info["step"])
    mm = index @ to_mm[:, :3].T + to_mm[:, 3]
    assert np.allclose(mm, stored @ affine[:3, :3].T + affine[:3, 3], atol=1e-4)
    # Nothing of the brain was cropped away; axes run right, front, up.
    assert np.count_nonzero(chi) == np.count_nonzero(chi[i, j, k])
    assert (np.diag(to_mm) > 0).all()


def test_small_budget_averages_voxels():
    data = make()
    meta, packed = build(data, 2_000)
    factor = meta["factor"]
    assert factor > 1
    assert np.allclose(meta["voxel_mm"], np.array(VOXEL_MM) * factor)
    assert all(0 <= c < n for c, n in zip(meta["centre"], meta["shape"]))
    assert len(packed) == len(meta["volumes"]) == 6
    page = render(make())
    assert "means of" not in page


def test_reduce():
    volume = np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6)
    assert reduce(volume, 2, nearest=False)[1, 1, 2] == volume[2:4, 2:4, 4:6].mean()
    assert reduce(volume, 2, nearest=True)[1, 1, 2] == volume[2, 2, 4]
    assert reduce(volume, 3, nearest=True).shape == (1, 1, 2)


def png_size(png):
    return struct.unpack(">II", png[16:24])


def test_picture():
    data = make()
    item = data.maps[2]
    png = three_plane(item.volume, data.affine, window=item.window, mask=data.brain, unit="ppb", scale=1000)
    width, height = png_size(png)
    assert width == 1100
    assert 200 < height < 1000
    assert len(png) > 5_000
    assert png == three_plane(
        item.volume, data.affine, window=item.window, mask=data.brain, unit="ppb", scale=1000
    )
    assert png != three_plane(item.volume, data.affine, window=item.window, unit="ppb", scale=1000)


def test_pictures_follow_the_affine():
    """The same head stored along other axes gives the same picture."""
    data = make()
    volume, mask = data.maps[2].volume, data.brain
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    swap = np.eye(4)[[2, 1, 0, 3]]
    plain = three_plane(volume, data.affine, mask=mask)
    assert three_plane(volume[::-1], data.affine @ flip, mask=mask[::-1]) == plain
    turned = three_plane(volume.transpose(2, 1, 0), data.affine @ swap, mask=mask.transpose(2, 1, 0))
    assert turned == plain


@pytest.mark.parametrize("affine", [np.diag([1, 1.5, 2, 1.0]), OBLIQUE])
def test_right_front_and_up_are_where_the_letters_say(affine):
    """One bright corner, to the right, front and top of a cube of ones around the origin of the array."""
    orientation = Orientation.of(affine, SHAPE)
    volume = np.ones(SHAPE, np.float32)
    turned = orientation.turn(volume)  # a view
    half = [n // 2 for n in turned.shape]
    turned[half[0] :, half[1] :, half[2] :] = 2
    corner = tuple(int(i) for i in np.argwhere(volume == 2)[3])
    picture = imread(io.BytesIO(three_plane(volume, affine, window=(0, 2), centre=corner)))[..., 0]
    bright = picture > 0.9
    columns = np.flatnonzero(picture[:, : picture.shape[1] * 88 // 100].max(0) > 0.4)
    slices = np.split(columns, np.flatnonzero(np.diff(columns) > 8) + 1)
    slices = [c for c in slices if c.size > 40]
    assert len(slices) == 3
    for columns in slices:
        rows, places = np.nonzero(bright[:, columns[0] : columns[-1] + 1])
        lit = np.flatnonzero((picture[:, columns] > 0.45).mean(1) > 0.9)
        assert places.mean() < 0.35 * columns.size  # right, or front: on the left
        assert rows.mean() < lit.mean()  # front, or up: at the top


def test_orientation():
    orientation = Orientation.of(OBLIQUE, SHAPE)
    assert orientation.turn(np.zeros(SHAPE)).shape == (26, 22, 30)
    assert (np.diag(orientation.affine)[:3] > 0).all()
    assert orientation.tilt_deg == pytest.approx(5.7, abs=0.1)
    assert np.allclose(orientation.voxel_mm, [2.0, np.hypot(1, 0.1), np.hypot(1.5, 0.1)])
    with pytest.raises(ValueError, match="affine"):
        Orientation.of(np.zeros((4, 4)), SHAPE)


def test_boxes():
    mask = np.zeros((9, 9, 9), bool)
    assert bounding_box(mask) is None
    assert centre_index(mask) == (4, 4, 4)
    mask[2:5, 3, 8] = True
    assert bounding_box(mask, (1, 1, 1)) == (slice(1, 6), slice(2, 5), slice(7, 9))
    assert centre_index(mask) == (3, 3, 8)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_viewer_reads_the_value_at_the_crosshair(tmp_path):
    data = make(np.diag([-1, -1.5, 2, 1.0]))
    path = write_report(tmp_path / "report.html", data)
    voxel = (9, 14, 11)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom"]
    address = f"file://{Path(path)}#ijk=9,14,11&map=chi&overlay=r2star"
    done = subprocess.run(
        [CHROMIUM, *options, address], capture_output=True, text=True, timeout=60, check=False
    )
    if "<html" not in done.stdout:
        pytest.skip("Chromium does not start here")
    found = dict(
        re.findall(r'data-([a-z-]+)="([^"]*)"', re.search(r'<p id="vw-readout"[^>]*>', done.stdout).group())
    )
    assert 'data-viewer="ready"' in done.stdout
    assert found["ijk"] == "9,14,11"
    assert [float(x) for x in found["xyz"].split(",")] == [-9.0, -21.0, 22.0]
    assert float(found["value"]) == pytest.approx(data.maps[2].volume[voxel], abs=0.00101)
    assert float(found["overlay-value"]) == pytest.approx(data.maps[1].volume[voxel], abs=0.21)
