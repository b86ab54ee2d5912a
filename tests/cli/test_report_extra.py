"""A run's report holds the echoes, the last echo's phase, the residual, the protocol and the hashes of its files."""

from __future__ import annotations

import numpy as np
import pytest

from chimap.cli._report import report_data
from chimap.io.inputs import find_scans
from chimap.masking.reliability import REASONS
from chimap.pipeline.plan import Options
from chimap.pipeline.run import run_scan
from chimap.pipeline.store import file_sha256
from chimap.report.html import render


@pytest.fixture(scope="module")
def result(coarse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("extra")
    (scan,) = find_scans(coarse.bids, folder / "work")
    return run_scan(scan, folder / "out", Options(preset="fast"))


@pytest.fixture(scope="module")
def data(result):
    return report_data(result, "chimap run IN OUT")


def test_maps_come_in_the_order_of_the_stages(data):
    keys = [m.key for m in data.maps]
    assert keys.index("magnitude") < keys.index("phase") < keys.index("total")
    assert keys.index("chi-unreferenced") < keys.index("residual") < keys.index("chi")
    maps = {m.key: m for m in data.maps}
    phase = maps["phase"].volume
    assert phase.min() < -3 and phase.max() > 3 and np.abs(phase).max() <= np.float32(np.pi)
    assert not phase[~data.brain].any()
    assert maps["phase"].title == "Phase at 20 ms"
    assert maps["excluded"].labels == REASONS and maps["excluded"].under is maps["magnitude"].volume


def test_residual_is_much_smaller_than_the_field(data):
    maps = {m.key: m for m in data.maps}
    valid = maps["local"].outline_mask
    residual, local = maps["residual"], maps["local"]
    assert residual.shown_unit == "ppb"
    assert residual.volume[valid].std() < 0.5 * local.volume[valid].std()
    assert "median noise of the local field" in residual.caption


def test_echoes_of_a_good_scan_are_explained(data):
    assert data.echoes.te_s == (0.004, 0.012, 0.020)
    assert data.echoes.worst is None
    assert data.echoes.rms_rad.max() < 0.3


def test_protocol_and_outputs(data, result):
    rows = {r["name"]: r["status"] for r in data.protocol}
    assert rows["Sequence"] == rows["Number of echoes"] == rows["Coverage"] == "met"
    assert rows["Voxel size"] == rows["Last echo"] == "not met"
    hashes = {o["file"]: o["sha256"] for o in data.outputs}
    assert hashes[result.chi.name] == file_sha256(result.chi)
    assert len(hashes) == len(data.outputs) >= 10


def test_page(data, result):
    page = render(data)
    assert "Not met: last echo, voxel size." in page
    assert f"{file_sha256(result.chi)}  {result.chi.name}" in page
    assert "Phase | total field" in page and "Lost voxels" in page
    assert page.count("misfit of the echoes</span>") == 1
