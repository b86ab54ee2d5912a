"""Quality numbers: each reacts to its fault, and none to a clean scan."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.inversion.tkd import tkd
from chimap.io.inputs import find_scans, scan_from_files
from chimap.io.nifti import save_volume
from chimap.pipeline import quality_echoes as echoes
from chimap.pipeline import quality_maps as maps
from chimap.pipeline.console import Console
from chimap.pipeline.plan import BRAIN, NOISE, TOTAL, Options
from chimap.pipeline.quality_terms import TERMS, warnings_of
from chimap.pipeline.run import run_scan
from chimap.simulate import effects, head_phantom, simulate_scan, write_bids

ACQ = Acquisition((0.004, 0.012, 0.020, 0.028), 3.0, b0_dir=(0.1, 0.15, 0.98), voxel_size_mm=(3.0, 3.0, 3.0))
FAST = Options(preset="fast")


def ghosts(signal, acq):
    """A tenth of the signal half a field of view away, as from a subject that moves every second line."""
    out = np.empty((acq.echoes, *signal.shape[:3]), np.complex64)
    for e, image in enumerate(np.moveaxis(signal, 3, 0)):
        out[e] = image + 0.1 * np.roll(image, image.shape[1] // 2, 1)
    return np.moveaxis(out, 0, 3)


@pytest.fixture(scope="module")
def head():
    return head_phantom((2.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def clean(head):
    return simulate_scan(head, ACQ, snr=60.0)


@pytest.fixture(scope="module")
def clean_run(clean, tmp_path_factory):
    """The clean scan's folder, its only scan, and its result."""
    root = tmp_path_factory.mktemp("clean")
    write_bids(clean, ACQ, root / "bids", "01")
    (scan,) = find_scans(root / "bids", root / "work")
    return root, scan, run_scan(scan, root / "out", FAST)


def _run(scan, root):
    write_bids(scan, ACQ, root / "bids", "01")
    (found,) = find_scans(root / "bids", root / "work")
    return run_scan(found, root / "out", FAST)


def test_a_clean_scan_gives_no_warning(clean_run):
    quality = clean_run[2].quality
    assert quality.warnings == ()
    assert all(v is not None for v in quality.numbers.values())
    assert [row["name"] for row in quality.rows()] == list(TERMS)


MOTION = partial(effects.motion_between_echoes, shift_mm=0.6, turn_deg=0.6, seed=1)
FAULTS = {
    "noise": (dict(snr=8.0), {"snr_first_echo"}),
    "motion": (
        dict(snr=60.0, effects=[MOTION]),
        {"echo_shift_voxels", "phase_residual_over_noise", "phase_misfit_percent"},
    ),
    "ghosts": (dict(snr=60.0, effects=[ghosts]), {"ghost_percent"}),
    "filtered phase": (dict(snr=60.0, effects=[effects.homodyne_filter]), {"streak_index"}),
    "bipolar readouts, which the field stage takes off": (dict(snr=60.0, effects=[effects.bipolar_readout]), set()),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(head, tmp_path, fault):
    settings, expected = FAULTS[fault]
    result = _run(simulate_scan(head, ACQ, **settings), tmp_path)
    numbers = result.quality.numbers
    assert {n for n, v in numbers.items() if v is not None and TERMS[n].bad(v)} == expected
    assert len(result.quality.warnings) == len(expected)
    assert set(result.quality.warnings) <= set(result.warnings)
    if fault.startswith("bipolar"):
        assert numbers["odd_even_phase_rad"] > 0.3


def test_a_mask_that_is_too_wide(clean, tmp_path):
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    wide = ndimage.binary_dilation(clean.mask, iterations=3)
    paths = [
        save_volume(tmp_path / f"{n}.nii.gz", v, affine)
        for n, v in (("phase", clean.phase), ("magnitude", clean.magnitude), ("mask", wide))
    ]
    scan = scan_from_files(
        paths[0], paths[1], te_s=ACQ.te_s, b0_t=3.0, b0_dir=ACQ.b0_dir, mask=paths[2], phase_range=None
    )
    result = run_scan(scan, tmp_path / "out", FAST)
    assert any("the field is not usable" in w for w in result.quality.warnings)


def test_the_file_is_flat_and_described(clean_run):
    result = clean_run[2]
    values = json.loads(result.store.path("_quality", ".json").read_text())
    assert {n: values[n] for n in TERMS} == result.quality.numbers
    assert set(values["Definitions"]) == set(TERMS)
    for entry in values["Definitions"].values():
        assert entry["Description"] and entry["Units"] and ("WhyThere" in entry) == ("WarnsBeyond" in entry)


class Said(Console):
    def __init__(self):
        super().__init__(quiet=True)
        self.kept = []

    def skipped(self, stage, detail=""):
        self.kept.append(stage)


def test_measured_once(clean_run):
    """A second run takes the numbers up; a damaged file is measured again."""
    root, scan, result = clean_run
    path, console = result.store.path("_quality", ".json"), Said()
    before = path.read_bytes()
    again = run_scan(scan, root / "out", FAST, console=console)
    assert "quality" in console.kept and again.quality == result.quality and path.read_bytes() == before
    path.write_text("{")
    console = Said()
    third = run_scan(scan, root / "out", FAST, console=console)
    assert "quality" not in console.kept and third.quality == result.quality


def test_steps_of_two_pi(clean_run):
    """A region that is a turn off at the first echo's time."""
    field, noise = (clean_run[2].done["field"][o.suffix].get().copy() for o in (TOTAL, NOISE))
    brain = clean_run[2].done["mask"][BRAIN.suffix].get()
    assert maps.jumps(field, brain, ACQ, noise) == 0
    x, y, z = (n // 2 for n in field.shape)
    field[x - 3 : x + 3, y - 3 : y + 3, z - 3 : z + 3] += 2 * np.pi / ACQ.rad_per_ppm(ACQ.te_s[0])
    assert 150 < maps.jumps(field, brain, ACQ, noise) < 230


def test_streaks(clean):
    true = maps.streak_index(clean.chi_ppm, clean.mask, ACQ)
    noisy = clean.local_field_ppm + clean.mask * np.random.default_rng(0).normal(0, 0.005, clean.mask.shape)
    noisy = noisy.astype(np.float32)
    mild, wild = (
        maps.streak_index(tkd(noisy, clean.mask, ACQ, threshold=t), clean.mask, ACQ) for t in (0.2, 0.03)
    )
    limit = TERMS["streak_index"].limit
    assert true < 1.2 and mild < limit < wild


def test_bipolar_readouts_left_in(clean):
    """The line through the echoes does not hold where odd and even ones differ."""
    at = echoes.spread(clean.mask)
    field = clean.total_field_ppm[at]
    magnitude = np.stack([clean.magnitude[..., e][at] for e in range(ACQ.echoes)])
    good = np.stack([clean.phase[..., e][at] for e in range(ACQ.echoes)])
    turned = good + 0.3 * (-1.0) ** np.arange(ACQ.echoes)[:, None]
    sd = clean.parameters["noise_sd"]
    right, wrong = (echoes.phase_fit(p, magnitude, field, ACQ, sd) for p in (good, turned))
    key = "phase_residual_over_noise"
    assert wrong[key] > 3 * right[key] and wrong["phase_misfit_percent"] > 90


def test_noise_is_that_of_the_image(clean, rng):
    """Closed form: a smooth object with noise of known size."""
    smooth = ndimage.gaussian_filter(clean.mask.astype(np.float32) * 1000, 4)
    noisy = (smooth + rng.normal(0, 20, smooth.shape)).astype(np.float32)
    assert echoes.noise_sd(noisy, clean.mask) == pytest.approx(20, rel=0.05)


def test_no_magnitude_no_numbers_of_it(clean, tmp_path):
    """What cannot be measured is null, and warns of nothing."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    phase = save_volume(tmp_path / "p.nii.gz", clean.phase, affine)
    mask = save_volume(tmp_path / "m.nii.gz", clean.mask, affine)
    scan = scan_from_files(phase, te_s=ACQ.te_s, b0_t=3.0, b0_dir=ACQ.b0_dir, mask=mask)
    numbers = run_scan(scan, tmp_path / "out", FAST).quality.numbers
    assert numbers["snr_first_echo"] is None and numbers["ghost_percent"] is None
    assert numbers["phase_residual_rad"] is not None and numbers["streak_index"] is not None


def test_sentences():
    assert warnings_of(dict.fromkeys(TERMS)) == []
    (said,) = warnings_of({"ghost_percent": 12.345})
    assert "12.3 %" in said
