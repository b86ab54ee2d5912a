"""What deep checks find in good scans (nothing) and in scans with a known fault (that fault)."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.io.inputs import find_scans, scan_from_files
from chimap.io.scan import ScanData, load
from chimap.pipeline import checks
from chimap.pipeline.checks import deep_checks
from chimap.simulate import head_phantom, simulate_scan
from chimap.simulate.coils import coil_sensitivities
from chimap.simulate.effects import bipolar_readout, homodyne_filter, join, motion_between_echoes, split

TOPICS = {"phase linearity", "echo agreement", "readout", "filtered phase", "singularities"}


@functools.cache
def phantom():
    return head_phantom((2.0, 2.0, 2.0))


@functools.cache
def head(te_s=(0.004, 0.012, 0.020, 0.028)) -> ScanData:
    acq = Acquisition(te_s, 3.0, voxel_size_mm=(3.0, 3.0, 3.0))
    scan = simulate_scan(phantom(), acq, snr=100.0)
    return ScanData(scan.phase, scan.magnitude, None, acq, np.eye(4), [])


def altered(data, effect):
    magnitude, phase = split(effect(join(data.magnitude, data.phase), data.acq))
    return replace(data, magnitude=magnitude, phase=phase)


def found(data):
    findings = {f.topic: f for f in deep_checks(data)}
    assert findings.keys() <= TOPICS and all(any(c.isdigit() for c in f.what) for f in findings.values())
    assert all(f.fix for f in findings.values() if f.level != "ok")
    return findings


def warnings(data):
    return {t for t, f in found(data).items() if f.level != "ok"}


@pytest.mark.parametrize(
    "te_s",
    [(0.004, 0.012, 0.020, 0.028), (0.005, 0.010, 0.015), (0.004, 0.009, 0.016, 0.020)],
    ids=["4 echoes", "3 echoes", "unequal"],
)
def test_a_good_head_is_in_order(te_s):
    findings = found(head(te_s))
    assert {f.level for f in findings.values()} == {"ok"}
    assert findings.keys() == TOPICS - ({"readout"} if len(set(np.diff(te_s).round(6))) > 1 else set())


def test_one_and_two_echoes():
    data = head()
    for n, topics in ((1, set()), (2, {"filtered phase", "singularities"})):
        part = replace(
            data,
            phase=data.phase[..., :n],
            magnitude=data.magnitude[..., :n],
            acq=data.acq.with_(te_s=data.acq.te_s[:n]),
        )
        assert found(part).keys() == topics and not warnings(part)


def test_bipolar_readouts():
    data = altered(head(), functools.partial(bipolar_readout, axis=1))
    findings = found(data)
    assert findings["readout"].level == "warning" and "along axis y" in findings["readout"].what
    assert warnings(data) == {"readout", "phase linearity"}
    amplitude = float(findings["readout"].what.split("+-")[1].split()[0])
    # The ramp of half a sample is pi over the field of view; the head fills most of it.
    assert 0.4 < amplitude < 1.0


@pytest.mark.parametrize("size", [64, 32])
def test_filtered_phase(size):
    data = altered(head(), functools.partial(homodyne_filter, size=size))
    assert "filtered phase" in warnings(data) and "echo agreement" not in found(data)
    assert checks.flat_share(checks.Cubes.of(data, checks.signal_mask(data))) > 0.9


def test_flat_phase_of_short_echoes_is_not_called_filtered():
    data = head()
    short = replace(data, phase=0.05 * data.phase[..., :1], magnitude=data.magnitude[..., :1])
    assert warnings(replace(short, acq=data.acq.with_(te_s=(0.020,)))) == {"filtered phase"}
    assert found(replace(short, acq=data.acq.with_(te_s=(0.004,)))) == {}


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 2, 1), (1, 0, 2, 3)])
def test_swapped_echoes(order):
    data = head()
    at = list(order)
    data = replace(
        data,
        phase=np.moveaxis(np.ascontiguousarray(np.moveaxis(data.phase, 3, 0)[at]), 0, 3),
        magnitude=np.moveaxis(np.ascontiguousarray(np.moveaxis(data.magnitude, 3, 0)[at]), 0, 3),
        acq=data.acq.with_(te_s=data.acq.te_s[: len(at)]),
    )
    assert warnings(data) >= {"echo agreement", "phase linearity"}
    assert "readout" not in found(data)
    if len(at) == 4:
        what = found(data)["echo agreement"].what
        assert all((f"echo {e + 1} " in what) == (e != order[e]) for e in range(4))


def test_an_echo_time_that_is_wrong():
    data = head()
    data = replace(data, acq=data.acq.with_(te_s=(0.004, 0.012, 0.024, 0.028)))
    said = found(data)["echo agreement"].what
    assert said.startswith("echo 3 at 24 ms has the phase of ") and said.count("echo") == 1
    assert float(said.split()[-2]) == pytest.approx(20, abs=1)


def test_an_echo_of_another_scan(rng):
    data = head()
    phase = np.moveaxis(np.moveaxis(data.phase, 3, 0).copy(), 0, 3)
    phase[..., 2] = phase[::-1, ::-1, :, 2]
    said = found(replace(data, phase=phase))["echo agreement"]
    assert said.level == "warning" and "echo 3" in said.what


def test_motion_is_seen_as_phase_that_is_not_linear():
    data = head()
    move = functools.partial(motion_between_echoes, shift_mm=2.0, turn_deg=2.0)
    assert "phase linearity" in warnings(altered(data, move))


def test_channels_that_cancel():
    data = head()
    coils = coil_sensitivities(data.phase.shape[:3], data.acq.voxel_size_mm, channels=8).sum(-1)
    wrong = np.angle(coils)[..., None]
    data = replace(data, phase=np.angle(np.exp(1j * (data.phase + wrong))).astype(np.float32))
    assert warnings(data) == {"singularities"}
    count, share = checks.singular_residues(data)
    assert count >= 10 and share > 10 * checks.RESIDUES_PER_100K


def test_mask_without_magnitude_and_neither():
    data = head()
    mask = checks.signal_mask(data)
    alone = replace(data, magnitude=None, mask=mask)
    assert found(alone).keys() == TOPICS and "readout" not in warnings(alone)
    (finding,) = deep_checks(replace(data, magnitude=None))
    assert finding.level == "note" and finding.fix


@pytest.mark.parametrize("shape", [(40, 40, 1), (40, 1, 40), (5, 5, 5)])
def test_thin_and_small_volumes(shape):
    data = head()
    part = tuple(slice(s // 2 - n // 2, s // 2 - n // 2 + n) for s, n in zip(data.phase.shape, shape))
    assert not warnings(replace(data, phase=data.phase[part], magnitude=data.magnitude[part])) - {
        "filtered phase"
    }


def test_noise_alone_raises_nothing_but_findings(rng):
    data = head()
    noise = rng.uniform(-np.pi, np.pi, data.phase.shape).astype(np.float32)
    flat = np.ones_like(noise)
    for f in deep_checks(replace(data, phase=noise, magnitude=flat)):
        assert f.topic in TOPICS and f.level in ("ok", "warning")


def test_real_scans_are_in_order(shared_data, tmp_path):
    brain = shared_data / "romeo_small"
    scans = [
        scan_from_files([brain / "Phase.nii"], [brain / "Mag.nii"], te_s=(0.004, 0.008, 0.012), b0_t=7.0),
        *find_scans(shared_data / "siemens_gre_dicom", tmp_path),
    ]
    for scan in scans:
        assert warnings(load(scan)) == set(), scan.name


def test_a_whole_head_takes_seconds():
    data = head()
    big = (164, 205, 205)
    grown = [
        np.moveaxis(np.stack([np.resize(v[..., e], big) for e in range(4)]), 0, 3)
        for v in (data.phase, data.magnitude)
    ]
    data = replace(data, phase=grown[0], magnitude=grown[1])
    deep_checks(data)
    start = time.perf_counter()
    deep_checks(data)
    # A tenth of it is usual; machines differ.
    assert time.perf_counter() - start < 10


def test_command(coarse, capsys):
    assert main(["check", str(coarse.bids), "--json"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)
    assert {f["topic"] for f in scan["findings"]} >= TOPICS
    assert main(["check", str(coarse.bids), "--json", "--quick"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)
    assert not {f["topic"] for f in scan["findings"]} & TOPICS
