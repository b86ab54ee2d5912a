"""Orientation, masks, NaN, coils and what the values give away, on scans given by files."""

import nibabel as nib
import numpy as np
import pytest
from io_samples import AFFINE, ball

from chimap.errors import InputError
from chimap.io import quality
from chimap.io.checks import check
from chimap.io.geometry import b0_direction, shear
from chimap.io.inputs import scan_from_files
from chimap.io.scan import load


def rotation(axis, degrees):
    a, (c, s) = np.asarray(axis, float), (np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))
    a /= np.linalg.norm(a)
    k = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
    return np.eye(3) + s * k + (1 - c) * k @ k


def affine_of(matrix, zooms=(1, 1, 1), flips=(1, 1, 1)):
    affine = np.eye(4)
    affine[:3, :3] = matrix @ np.diag(np.multiply(zooms, flips))
    return affine


@pytest.mark.parametrize("zooms", [(1, 1, 1), (0.5, 0.7, 3)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (1, 1, -1)])
@pytest.mark.parametrize("angle", [0, 20, 90])
def test_b0_direction(zooms, flips, angle):
    r = rotation((1, 0.3, 0), angle)
    affine = affine_of(r, zooms, flips)
    d = np.array(b0_direction(affine))
    assert np.linalg.norm(d) == pytest.approx(1)
    # Going along d in voxel axes of unit length is going along z in the scanner.
    along = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) @ d
    np.testing.assert_allclose(along, [0, 0, 1], atol=1e-6)


def files(sample, phase=None, affine=AFFINE, **options):
    p = sample.write("phase.nii.gz", sample.phase if phase is None else phase, affine)
    m = sample.write("magnitude.nii.gz", sample.magnitude, affine)
    return scan_from_files(p, m, **{"te_s": sample.te_s, "b0_t": 3.0, **options})


def test_oblique_scan(sample):
    affine = affine_of(rotation((1, 0, 0), 30), (1, 1, 2))
    data = load(files(sample, affine=affine))
    np.testing.assert_allclose(np.abs(data.acq.b0_dir), [0, 0.5, np.cos(np.pi / 6)], atol=1e-5)
    assert data.acq.voxel_size_mm == pytest.approx((1, 1, 2))
    assert any("30.0 degrees" in f.what for f in data.findings)
    assert load(files(sample, affine=affine, b0_dir=(0, 0, 2))).acq.b0_dir == (0, 0, 1)


def test_sheared(sample):
    affine = AFFINE.copy()
    affine[0, 1] = 0.02
    assert 0.001 < shear(affine) < 0.02
    assert any(
        f.level == "warning" and "oblique to each other" in f.what
        for f in load(files(sample, affine=affine)).findings
    )
    affine[0, 1] = 0.5
    with pytest.raises(InputError, match="not at right angles"):
        load(files(sample, affine=affine))


def test_lost_header(sample):
    image = nib.Nifti1Image(sample.phase, None)
    path = sample.folder / "p.nii"
    nib.save(image, path)
    warnings = [
        f.topic
        for f in load(scan_from_files(path, te_s=sample.te_s, b0_t=3)).findings
        if f.level == "warning"
    ]
    assert {"orientation", "voxel size"} <= set(warnings)


def test_mask(sample):
    mask = sample.write("mask.nii.gz", sample.mask.astype(np.uint8))
    data = load(files(sample, mask=mask))
    np.testing.assert_array_equal(data.mask, sample.mask)
    for shape, words in (
        (sample.mask[:-1], "25 x 24 x 20"),
        (np.zeros_like(sample.mask), "empty"),
        (np.stack([sample.mask] * 2, -1), "one volume"),
    ):
        bad = sample.write("bad.nii.gz", shape.astype(np.uint8))
        with pytest.raises(InputError, match=words) as e:
            load(files(sample, mask=bad))
        assert "bad.nii.gz" in str(e.value)
    everything = sample.write("all.nii.gz", np.ones_like(sample.mask, np.uint8))
    assert any("every voxel" in f.what for f in load(files(sample, mask=everything)).findings)


def test_nan_outside_is_noted(sample):
    phase = sample.phase.copy()
    phase[~sample.mask] = np.nan
    sample.magnitude[~sample.mask] = np.nan
    data = load(files(sample, phase))
    assert np.isfinite(data.phase).all()
    assert np.isfinite(data.magnitude).all()
    assert sum(f.topic == "missing values" for f in data.findings) == 2


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("in_magnitude", [True, False])
def test_nan_inside_is_an_error(sample, with_mask, bad, in_magnitude):
    (sample.magnitude if in_magnitude else sample.phase)[13, 12, 10, 1] = bad
    mask = sample.write("mask.nii.gz", sample.mask.astype(np.uint8)) if with_mask else None
    if in_magnitude and not with_mask:
        sample.magnitude[0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite.*--mask"):
        load(files(sample, mask=mask))


def test_coils_read_as_echoes(sample):
    coils = np.repeat(sample.phase, 10, 3)
    with pytest.raises(InputError, match=r"30 volumes but there are 3 echo times.*coils"):
        load(scan_from_files(sample.write("p.nii", coils), te_s=sample.te_s, b0_t=3))
    with pytest.raises(InputError, match="at most 4 axes"):
        load(
            scan_from_files(
                sample.write("p.nii", coils.reshape(*coils.shape[:3], 3, 10)), te_s=sample.te_s, b0_t=3
            )
        )


def test_counts(sample):
    one = [sample.write(f"{i}.nii", sample.phase[..., i]) for i in range(3)]
    assert load(scan_from_files(one, te_s=sample.te_s, b0_t=3)).phase.shape == sample.phase.shape
    with pytest.raises(InputError, match="2 phase files but 3 echo times"):
        load(scan_from_files(one[:2], te_s=sample.te_s, b0_t=3))
    with pytest.raises(InputError, match="echo time is too much"):
        load(files(sample, te_s=(0.001, 0.002, 0.003, 0.004)))
    with pytest.raises(InputError, match="milliseconds"):
        load(files(sample, te_s=(5, 12, 19)))
    with pytest.raises(InputError, match="do not increase"):
        load(files(sample, te_s=(0.005, 0.019, 0.012)))
    with pytest.raises(InputError, match=r"0.01 to 30 T"):
        load(files(sample, b0_t=3000))
    with pytest.raises(InputError, match="no echo times"):
        scan_from_files(one, b0_t=3)
    with pytest.raises(InputError, match="no field strength"):
        scan_from_files(one, te_s=sample.te_s)


def test_memory_layout(sample):
    data = load(files(sample))
    for array in (data.phase, data.magnitude):
        assert array.dtype == np.float32
        assert np.moveaxis(array, 3, 0).flags.c_contiguous


def warnings_of(sample):
    return {f.topic for f in check(files(sample)) if f.level == "warning"}


def test_good_scan_has_no_warnings(sample):
    assert warnings_of(sample) == set()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_alternate_slices(sample, axis):
    odd = np.moveaxis(sample.phase, axis, 0)[1::2]
    odd[...] = np.angle(-np.exp(1j * odd))
    assert warnings_of(sample) == {"slices"}
    data = load(files(sample))
    clean = ball(sample.folder / "clean", np.random.default_rng(20240229))
    apart = np.angle(np.exp(1j * (data.phase - clean.phase)))
    assert np.abs(apart - apart[0, 0, 0, 0]).max() < 1e-4


def test_noise_does_not_alternate(rng):
    assert quality.alternating_axis(rng.uniform(-3, 3, (1, 16, 16, 16)), None) is None
