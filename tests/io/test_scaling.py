"""Each way in which scanners store phase becomes rad; what cannot be phase is refused."""

import gzip
import json

import numpy as np
import pytest
from io_samples import difference

from chimap.errors import InputError
from chimap.io.checks import check
from chimap.io.inputs import scan_from_files
from chimap.io.scan import load

PI = np.pi
CONVENTIONS = {
    "rad": (1, 0, np.float32),
    "0..2pi": (1, PI, np.float32),
    "0..4095": (2048 / PI, 2047.5, np.int16),
    "+-4096": (4096 / PI, 0, np.int16),
    "+-2048": (2048 / PI, -0.5, np.int16),
    "+-3142 whole": (1000, 0, np.int16),
    "+-3142": (1000, 0, np.float32),
    "0..6283": (1000, 1000 * PI, np.int16),
    "small": (0.0036744 / PI, 0, np.float32),
    "one": (1 / PI, 0, np.float32),
}
OFFSETS = {"0..2pi": PI, "0..6283": PI}


def load_files(sample, stored, sidecar=None, **options):
    phase = sample.write("phase.nii.gz", stored)
    if sidecar is not None:
        (sample.folder / "phase.json").write_text(json.dumps(sidecar))
    magnitude = sample.write("magnitude.nii.gz", sample.magnitude)
    options = {"te_s": sample.te_s, "b0_t": 3.0, **options}
    return load(scan_from_files(phase, magnitude, **options))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions(sample, name):
    factor, offset, dtype = CONVENTIONS[name]
    sidecar = {"Manufacturer": "Siemens"} if name == "0..4095" else None
    data = load_files(sample, sample.stored(factor, offset, dtype), sidecar)
    assert data.phase.dtype == np.float32
    assert np.abs(data.phase).max() <= np.float32(PI)
    assert difference(data.phase, sample.phase + OFFSETS.get(name, 0.0)) < 0.004
    assert any(f.topic == "phase scaling" for f in data.findings)


def test_header_slope_is_applied(sample):
    stored = sample.stored(2048 / PI, 2047.5, np.int16)
    phase = sample.write("phase.nii.gz", stored)
    image = bytearray(gzip.decompress(phase.read_bytes()))
    image[112:120] = np.array([2.0, -4096.0], "<f4").tobytes()  # nibabel resets them on saving
    (sample.folder / "p.nii").write_bytes(image)
    data = load(scan_from_files(sample.folder / "p.nii", te_s=sample.te_s, b0_t=3))
    assert difference(data.phase, sample.phase) < 0.004


def test_4095_needs_sidecar_or_range(sample):
    stored = sample.stored(2048 / PI, 2047.5, np.int16)
    with pytest.raises(InputError, match="--phase-range 0 4095"):
        load_files(sample, stored)
    data = load_files(sample, stored, phase_range=(0, 4095))
    assert difference(data.phase, sample.phase) < 0.004


def test_given_range_must_hold_the_values(sample):
    with pytest.raises(InputError, match="outside the range"):
        load_files(sample, sample.phase, phase_range=(-1, 1))
    with pytest.raises(InputError, match="MIN < MAX"):
        load_files(sample, sample.phase, phase_range=(1, -1))


def test_units_rad_beyond_pi_are_wrapped(sample):
    data = load_files(
        sample, sample.phase + 4 * PI * sample.mask[..., None].astype(np.float32), {"Units": "rad"}
    )
    assert difference(data.phase, sample.phase) < 1e-4
    assert any("wrapped again" in f.what for f in data.findings)


def test_phase_without_wraps_is_rad(sample):
    quiet = (0.3 * sample.phase * sample.mask[..., None] + 0.2 * sample.mask[..., None]).astype(np.float32)
    quiet[0, 0, 0, 0] = -1.0
    data = load_files(sample, quiet)
    assert difference(data.phase, quiet) < 1e-6
    assert any(f.level == "warning" and "taken as rad" in f.what for f in data.findings)


def test_magnitude_given_as_phase(sample):
    phase = sample.write("phase.nii.gz", sample.magnitude)
    with pytest.raises(InputError, match="looks like a magnitude"):
        load(scan_from_files(phase, te_s=sample.te_s, b0_t=3))
    with pytest.raises(InputError, match="looks like a magnitude"):
        load(scan_from_files(phase, phase, te_s=sample.te_s, b0_t=3))


def test_swapped(sample):
    p, m = sample.write("p.nii", sample.phase), sample.write("m.nii", sample.magnitude)
    with pytest.raises(InputError, match="swapped"):
        load(scan_from_files(m, p, te_s=sample.te_s, b0_t=3))
    with pytest.raises(InputError, match="looks like a phase"):
        load(scan_from_files(p, p, te_s=sample.te_s, b0_t=3))


def test_interleaved(sample):
    mixed = np.stack([sample.phase, sample.magnitude / 300], -1).reshape(*sample.phase.shape[:3], -1)
    p = sample.write("p.nii", mixed)
    with pytest.raises(InputError, match="interleaved"):
        load(scan_from_files(p, te_s=sample.te_s, b0_t=3))
    with pytest.raises(InputError, match=r"interleaved|none of the known"):
        load(scan_from_files(p, te_s=[0.002 * i for i in range(1, 7)], b0_t=3))


@pytest.mark.parametrize(("value", "words"), [(0, "zero everywhere"), (7, "same value everywhere")])
def test_constant(sample, value, words):
    p = sample.write("p.nii", np.full_like(sample.phase, value))
    with pytest.raises(InputError, match=words):
        load(scan_from_files(p, te_s=sample.te_s, b0_t=3))


def test_one_constant_echo(sample):
    sample.phase[..., 1] = 0
    p = sample.write("p.nii", sample.phase)
    with pytest.raises(InputError, match="echo 2"):
        load(scan_from_files(p, te_s=sample.te_s, b0_t=3))


def test_unknown_range(sample):
    p = sample.write("p.nii", (sample.phase * 100 + 77).astype(np.float32))
    with pytest.raises(InputError, match="none of the known conventions"):
        load(scan_from_files(p, te_s=sample.te_s, b0_t=3))


def test_check_tells_instead_of_raising(sample):
    p = sample.write("p.nii", sample.magnitude)
    findings = check(scan_from_files(p, te_s=sample.te_s, b0_t=3))
    assert findings[0].level == "error"
    assert "p.nii" in str(findings[0])
    assert "\n" not in str(findings[0])


def test_real_crop(shared_data):
    folder = shared_data / "romeo_small"
    scan = scan_from_files(folder / "Phase.nii", folder / "Mag.nii", te_s=(0.004, 0.008, 0.012), b0_t=7)
    data = load(scan)
    assert data.phase.shape == (51, 51, 41, 3)
    assert np.pi - 0.01 < data.phase.max() <= np.pi
    assert not [f for f in data.findings if f.level in ("warning", "error")]
