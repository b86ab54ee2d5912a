"""The report: self-contained, escaped, small, and true to the arrays it was given."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from chimap.errors import OutputError
from chimap.pipeline.quality_terms import TERMS, Quality
from chimap.report import MapItem, ReportData, StageItem, write_report
from chimap.report.echoes import Echoes
from chimap.report.figures import histogram, region_chart, robust_window, three_plane
from chimap.report.html import render, show, words
from chimap.report.orient import Orientation, bounding_box, centre_index
from chimap.report.quality import WORDS, quality_rows
from chimap.report.viewer import MISSING, build, pack, quantise, reduce, step_for, unpack

SHAPE = (22, 30, 26)
VOXEL_MM = (1.0, 1.5, 2.0)
EVIL = "<script>alert(1)</script> \"quoted\" & 'more'"


def ball(shape=SHAPE, radius=0.8):
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(g**2 for g in grid) < radius**2


def make(affine=None, shape=SHAPE, **changes):
    mask = ball(shape)
    rng = np.random.default_rng(3)
    chi = (0.05 * rng.standard_normal(shape)).astype(np.float32) * mask
    chi[shape[0] // 2, shape[1] // 2, shape[2] // 2] = 1.25
    r2star = (20 + 10 * np.arange(shape[0], dtype=np.float32)[:, None, None] / shape[0]) * mask
    inner = ball(shape, 0.6)
    data = ReportData(
        title="Susceptibility map",
        subject=f"sub-01 {EVIL}",
        command="chimap run in out",
        version="0.1.0",
        created="2026-01-01",
        affine=np.diag([*VOXEL_MM, 1.0]) if affine is None else affine,
        voxel_size_mm=VOXEL_MM,
        acquisition={"Echo times [ms]": (4.0, 8.0), "B0 [T]": 3.0},
        inputs=[{"file": f"{EVIL}.nii.gz", "sha256": "0" * 64}],
        findings=[
            {"level": "ok", "topic": "Units", "what": "rad"},
            {"level": "unheard of", "topic": "Readout", "what": "monopolar"},
            {"level": "warning", "topic": EVIL, "what": EVIL, "fix": EVIL},
        ],
        warnings=[f"Careful: {EVIL}"],
        maps=[
            MapItem("magnitude", "Magnitude", "", np.abs(chi) + 1, "input"),
            MapItem("r2star", EVIL, "1/s", r2star.astype(np.float32), "r2star", (0, 40), "inferno"),
            MapItem("chi", "Susceptibility", "ppm", chi, "inversion", (-0.1, 0.2), outline_mask=inner),
            MapItem("regions", "Regions", "", inner.astype(np.float32) * 3, "reference", colormap="labels"),
        ],
        masks={"brain": mask, "inner": inner},
        stages=[
            StageItem(
                "r2star", "arlo", EVIL, 1.5, 0.2, 300, {"a": EVIL}, {"converged": True}, ("10.1002/x",)
            ),
            StageItem("inversion", "tv", "TV", 20.0, resumed=True),
        ],
        regions=[
            {
                "name": EVIL,
                "voxels": 10,
                "volume_ml": 0.1,
                "mean_ppb": 40.0,
                "sd_ppb": 5.0,
                "truth_ppb": 42.0,
            },
            {"name": "empty", "voxels": 0, "volume_ml": 0.0, "mean_ppb": float("nan"), "sd_ppb": None},
        ],
        reference={"name": "whole brain", "mean_ppb": 1.0, "sd_ppb": 2.0, "voxels": 1000},
        methods_text=f"First {EVIL}\n\nSecond.",
        citations=[{"doi": "10.1002/x", "text": f"{EVIL} https://doi.org/10.1002/x"}],
    )
    return replace(data, **changes)


class Elements(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page():
    return render(make())


def test_loads_nothing_from_outside(page):
    for tag, attributes in Elements(page).found:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        if "href" in attributes:
            assert tag == "a"
            assert attributes["href"].startswith(("#", "https://doi.org/"))
    assert "url(" not in page.split("</style>")[0]
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_strings_are_escaped(page):
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 10
    scripts = [a for t, a in Elements(page).found if t == "script"]
    assert [a.get("type") for a in scripts].count(None) == 1


def test_accessible(page):
    found = Elements(page).found
    assert all(a.get("alt") for t, a in found if t == "img")
    assert sum(t == "h1" for t, _ in found) == 1
    assert page.count("<table") == page.count("<caption>") > 5
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in found if t == "a" and a.get("href", "").startswith("#")}
    assert targets <= set(ids)


def test_references_are_linked_once(page):
    assert page.count(">doi:10.1002/x<") == 1
    assert " https://doi.org/10.1002/x<" not in page
    assert '<a href="https://doi.org/10.1002/x" rel="noopener">[1]</a>' in page


def test_warnings_come_before_pictures(page):
    assert page.index("Careful") < page.index("<img")


def test_same_data_same_bytes(page):
    assert render(make()) == page


def test_written_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    assert write_report(path, make()) == path
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert path.stat().st_mode & 0o400

    def full(source, target):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_report(path, make(title="other"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_bare_report():
    bare = ReportData("t", "s", "c", "v", np.eye(4), (1, 1, 1), "now")
    page = render(bare)
    assert "vw-meta" not in page.split("<script>")[0]
    assert "No warnings" in page


def test_no_masks_and_an_empty_map():
    empty = MapItem("chi", "Nothing", "ppm", np.zeros(SHAPE, np.float32), "inversion")
    assert "Nothing" in render(make(maps=[empty], masks={}))


def test_nan_is_drawn_and_kept():
    volume = np.full(SHAPE, np.nan, np.float32)
    volume[5:15, 5:15, 5:15] = np.linspace(0, 1, 10, dtype=np.float32)
    assert three_plane(volume, np.eye(4), mask=ball())[:4] == b"\x89PNG"
    assert "mean" in histogram(volume, ball(), window=(0, 1))
    assert (quantise(volume, 0.01)[0, 0] == MISSING).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        render(make(masks={"brain": np.ones((3, 3, 3), bool)}))
    with pytest.raises(ValueError, match="same key"):
        render(make(maps=[make().maps[0]] * 2))
    with pytest.raises(ValueError, match="low to high"):
        render(make(maps=[replace(make().maps[0], window=(1.0, 1.0))]))


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


def test_robust_window():
    rng = np.random.default_rng(0)
    low, high = robust_window(rng.normal(0, 1, (40, 40, 40)).astype(np.float32), np.ones((40, 40, 40), bool))
    assert low == pytest.approx(-2.33, abs=0.15)
    assert high == pytest.approx(2.33, abs=0.15)
    assert robust_window(np.zeros((3, 3, 3), np.float32)) == (0.0, 1.0)
    assert robust_window(np.full((3, 3, 3), 7.0, np.float32)) == (3.5, 10.5)
    assert robust_window(rng.uniform(50, 100, (20, 20, 20)).astype(np.float32))[0] == 0


def test_charts():
    data = make()
    chart = histogram(data.maps[1].volume, data.brain, window=(0, 40), unit="1/s", title=EVIL)
    assert chart.startswith("<svg") and "<script" not in chart
    assert "mean" in chart
    assert "<script" not in region_chart(data.regions)
    assert region_chart([]) == ""


def test_show():
    assert show(True) == "yes"
    assert show((0.004, 0.00812345)) == "0.004, 0.008123"
    assert show(None) == "–"
    assert show(np.float32(2.5)) == "2.5"
    assert show({"a": 1}) == "a 1"


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


def test_a_warning_is_said_once():
    finding = {"level": "warning", "topic": "readout", "what": "bipolar", "fix": "Use monopolar ones"}
    page = render(make(findings=[finding], warnings=["readout: bipolar", "Something else"]))
    summary = page.split('id="summary"')[1].split("</section>")[0]
    assert summary.count("bipolar") == 1 and "Use monopolar ones" in summary
    assert "Something else" in summary and "No warnings" not in summary
    assert "No warnings" in render(make(findings=[], warnings=[]))


def test_an_echo_that_stands_out_is_a_warning():
    shape = (8, 9)
    blank = np.zeros((*shape, 3), np.float32)
    echoes = Echoes(
        (0.004, 0.008, 0.012),
        (1.0, 1.0),
        5.0,
        blank + 1,
        blank,
        blank,
        np.zeros((20, 3)),
        np.array([0.1, 0.9, 0.1]),
    )
    page = render(make(warnings=[], findings=[], echoes=echoes))
    summary = page.split('id="summary"')[1].split("</section>")[0]
    assert "echo 2 (8 ms) much worse" in summary and "No warnings" not in summary
    assert "Echo 2 stands out" in page
    fine = render(make(warnings=[], findings=[], echoes=replace(echoes, rms_rad=np.array([0.1, 0.2, 0.3]))))
    assert "No warnings" in fine and "stands out" not in fine


def test_protocol_is_a_table_and_a_sentence_on_top():
    row = {"name": "Readout", "found": "bipolar", "wanted": "monopolar", "why": "Why not."}
    page = render(make(protocol=[{**row, "status": "not met"}, {**row, "name": "Echoes", "status": "met"}]))
    assert "1 of 2 recommendations met, 1 not met. Not met: readout." in page
    assert '<span class="badge warning">not met</span>' in page and "Why not." in page
    assert 'id="protocol"' not in render(make())


def test_quality_is_a_table_and_a_sentence_on_top():
    assert WORDS.keys() == TERMS.keys()
    measured = Quality(
        {"snr_first_echo": 24.234, "ghost_percent": 6.21, "chi_noise_ppb": 2.5, "streak_index": None}
    )
    rows = quality_rows(measured)
    assert [(r["title"], r["threshold"], r["status"]) for r in rows] == [
        ("SNR, first echo", "at least 10", "met"),
        ("Ghosts", "at most 3", "not met"),
        ("Noise of the map", "", "no limit"),
    ]
    page = render(make(quality=rows))
    assert "3 numbers measured, 1 beyond its threshold: Ghosts." in page
    table = page.split("<caption>Quality numbers</caption>")[1].split("</table>")[0]
    assert "<td>24.2</td>" in table and '<span class="badge warning">not met</span>' in table
    assert "Streaks" not in table and table.count("<tr>") == 4
    assert "2 numbers measured, none beyond their thresholds." in render(make(quality=[rows[0], rows[2]]))
    assert 'id="quality"' not in render(make())


def test_names_of_sidecars_become_words():
    assert [words(n) for n in ("RepetitionTime", "Echo times", "MRAcquisitionType", "Units")] == [
        "Repetition time", "Echo times", "MRAcquisitionType", "Units",
    ]  # fmt: skip


def test_labels_lie_over_the_magnitude_with_a_legend():
    data = make()
    labels = np.zeros(SHAPE, np.float32)
    labels[3, 8, 5] = 2
    item = MapItem(
        "lost", "Lost", "", labels, "field", colormap="labels", under=data.maps[0].volume, labels={2: EVIL}
    )
    page = render(replace(data, maps=[*data.maps, item]))
    assert re.search(r'<i style="background:#[0-9a-f]{6}"></i>&lt;script', page)
    plain = three_plane(labels, data.affine, mask=data.brain, colormap="labels", centre=(3, 8, 5))
    over = three_plane(
        labels, data.affine, mask=data.brain, colormap="labels", centre=(3, 8, 5), under=item.under
    )
    assert len(over) > len(plain)


def test_wrapped_phase_is_not_averaged():
    phase = np.where(np.indices(SHAPE).sum(0) % 2, 3.1, -3.1).astype(np.float32)
    data = make(maps=[MapItem("phase", "Phase", "rad", phase, "input", window=(-np.pi, np.pi))], masks={})
    meta, (packed,) = build(data, 100)
    assert meta["factor"] > 1
    held = unpack(base64.b64decode(packed.text), tuple(meta["shape"]), difference=packed.meta["difference"])
    assert np.abs(np.abs(held * packed.meta["step"]) - 3.1).max() < 0.03


def test_what_rounds_to_zero_has_no_sign():
    from chimap.report.html import number

    assert [number(v) for v in (-0.004, -1234.56, None, float("nan"))] == ["0.0", "−1 234.6", "–", "–"]
