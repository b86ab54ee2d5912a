"""A scan goes through all stages, and only what changed runs again."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from chimap.errors import InputError
from chimap.io.inputs import find_scans
from chimap.pipeline import plan as r
from chimap.pipeline.console import Console
from chimap.pipeline.plan import Options
from chimap.pipeline.run import run_scan
from chimap.pipeline.store import file_sha256

FAST = Options(preset="fast")


class Watch(Console):
    """Remembers which stages ran and which were taken from the disk."""

    def __init__(self):
        super().__init__(quiet=True)
        self.ran, self.kept = [], []

    def stage(self, stage, detail=""):
        self.ran.append(stage)
        return super().stage(stage, detail)

    def skipped(self, stage, detail=""):
        self.kept.append(stage)


@pytest.fixture(scope="module")
def scan(coarse, tmp_path_factory):
    (found,) = find_scans(coarse.bids, tmp_path_factory.mktemp("work"))
    return found


def _run(scan, out, options=FAST):
    watch = Watch()
    return run_scan(scan, out, options, console=watch), watch


def _hashes(out):
    return {p.name: file_sha256(p) for p in sorted(out.rglob("*.nii.gz"))}


@pytest.fixture(scope="module")
def first(scan, tmp_path_factory):
    """A finished run; tests that change it work on copies."""
    out = tmp_path_factory.mktemp("out")
    result, watch = _run(scan, out)
    return out, result, watch


def _copy(first, tmp_path):
    import shutil

    return shutil.copytree(first[0], tmp_path / "out")


def test_outputs(first, coarse):
    out, _, watch = first
    assert watch.ran == ["read", "mask", "field", "r2star", "background", "inversion", "reference", "quality"]
    anat = out / "sub-01" / "anat"
    reference = nib.load(coarse.truth / "sub-01_Chimap.nii.gz")
    for o in (r.COMBINED, r.BRAIN, r.TOTAL, r.NOISE, r.R2STAR, r.T2STAR, r.LOCAL, r.VALID, r.RAW_CHI, r.CHI):
        image = nib.load(anat / f"sub-01{o.suffix}.nii.gz")
        assert image.shape == reference.shape and np.allclose(image.affine, reference.affine)
        assert image.get_data_dtype() == (np.uint8 if o.mask else np.float32)
        side = json.loads((anat / f"sub-01{o.suffix}.json").read_text())
        assert side["Units"] == o.units and side["Sources"]
        about = side["Chimap"]
        assert {"method", "version", "key", "inputs", "outputs"} <= about.keys()
        if o is not r.COMBINED:
            assert {"seconds", "peak_memory_mb", "parameters", "references"} <= about.keys()
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "chimap" and description["DatasetType"] == "derivative"
    assert "10.1002/mrm.28563" in (anat / "sub-01_methods.md").read_text()
    assert json.loads((anat / "sub-01_Chimap.json").read_text())["Reference"]["name"] == "whole brain"
    assert not list(out.rglob("*.part"))


def test_map_resembles_the_truth(first, coarse):
    _, result, _ = first
    chi = nib.load(result.chi).get_fdata()
    truth = nib.load(coarse.truth / "sub-01_Chimap.nii.gz").get_fdata()
    inside = nib.load(result.done["background"][r.VALID.suffix].path).get_fdata() > 0
    assert (chi[~inside] == 0).all() and abs(chi[inside].mean()) < 1e-6
    assert np.corrcoef(chi[inside], truth[inside])[0, 1] > 0.35


def test_second_run_does_nothing(scan, first, tmp_path):
    out = _copy(first, tmp_path)
    before = _hashes(out)
    result, watch = _run(scan, out)
    assert watch.ran == [] and len(watch.kept) == 8
    assert _hashes(out) == before
    assert result.key == first[1].key and result.methods_text == first[1].methods_text


def test_only_what_depends_on_a_parameter_runs(scan, first, tmp_path):
    out = _copy(first, tmp_path)
    _, watch = _run(
        scan, out, replace(FAST, methods={"inversion": "tv"}, parameters={"inversion": {"tolerance": 0.1}})
    )
    assert watch.ran == ["inversion", "reference", "quality"]
    _, watch = _run(scan, out, replace(FAST, parameters={"mask": {"level": 0.31}}))
    assert "mask" in watch.ran and "read" not in watch.ran
    _, watch = _run(scan, out, replace(FAST, force=True))
    assert watch.kept == []


@pytest.mark.parametrize(
    "lost", [r.COMBINED, r.BRAIN, r.NOISE, r.R2STAR, r.VALID, r.RAW_CHI, r.CHI], ids=lambda o: o.suffix
)
def test_a_lost_file_is_made_again_bit_for_bit(scan, first, tmp_path, lost):
    out = _copy(first, tmp_path)
    before = _hashes(out)
    (out / "sub-01" / "anat" / f"sub-01{lost.suffix}.nii.gz").unlink()
    _, watch = _run(scan, out)
    assert len(watch.ran) == 1 and _hashes(out) == before


def test_changed_input_runs_everything(scan, first, tmp_path, coarse):
    import shutil

    out = _copy(first, tmp_path)
    bids = shutil.copytree(coarse.bids, tmp_path / "bids")
    for path in bids.rglob("*echo-2_part-phase_MEGRE.json"):
        side = json.loads(path.read_text())
        side["EchoTime"] = 0.0121
        path.write_text(json.dumps(side))
    (other,) = find_scans(bids, tmp_path / "work")
    _, watch = _run(other, out)
    assert watch.kept == []


def test_opposite_phase_gives_the_same_map(scan, first, tmp_path):
    """A scanner whose phase falls with the field: detected, turned, said."""
    phase = []
    for i, path in enumerate(scan.phase):
        image = nib.load(path)
        phase.append(tmp_path / f"p{i}.nii.gz")
        nib.save(nib.Nifti1Image(-image.get_fdata(dtype=np.float32), image.affine), phase[-1])
    result, _ = _run(replace(scan, phase=tuple(phase)), tmp_path / "out")
    told = result.done["field"].record["phase_sign"]
    assert told["sign"] == -1 and told["decided"]
    assert any("multiplied by -1" in w for w in result.warnings)
    a, b = (nib.load(x.chi).get_fdata() for x in (result, first[1]))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    given, _ = _run(replace(scan, phase=tuple(phase)), tmp_path / "out", replace(FAST, phase_sign="-"))
    assert np.array_equal(nib.load(given.chi).get_fdata(), a) and not given.warnings


def test_given_mask_is_used_as_it_is(scan, coarse, tmp_path):
    mask = coarse.flat / "mask.nii.gz"
    result, _ = _run(replace(scan, mask=mask), tmp_path / "out")
    used = nib.load(result.done["mask"][r.BRAIN.suffix].path).get_fdata()
    assert np.array_equal(used, nib.load(mask).get_fdata())
    assert result.done["mask"].record["method"] == "given"


def test_reference_region_and_labels(scan, first, coarse, tmp_path):
    out = _copy(first, tmp_path)
    seg = coarse.truth / "sub-01_dseg.nii.gz"
    image = nib.load(seg)
    region = tmp_path / "wm.nii.gz"
    nib.save(nib.Nifti1Image((image.get_fdata() == 8).astype(np.uint8), image.affine), region)
    options = replace(FAST, reference=region, labels=seg, truth=coarse.truth / "sub-01_Chimap.nii.gz")
    result, watch = _run(scan, out, options)
    assert watch.ran == ["reference"]
    rows = {row["name"]: row for row in result.regions}
    assert abs(rows["white matter"]["mean_ppb"]) < 0.01
    assert rows["globus pallidus"]["mean_ppb"] > rows["thalamus"]["mean_ppb"]
    assert (out / "sub-01/anat/sub-01_desc-regions_Chimap.tsv").read_text().startswith("label\tname")
    with pytest.raises(InputError, match="no such file"):
        _run(scan, out, replace(FAST, labels=tmp_path / "none.nii.gz"))


def test_single_echo_and_no_magnitude(scan, coarse, tmp_path):
    one = replace(scan, phase=scan.phase[1:2], magnitude=scan.magnitude[1:2], te_s=scan.te_s[1:2])
    result, watch = _run(one, tmp_path / "one")
    assert "r2star" not in watch.ran and result.chi.exists()
    assert any("no R2* map" in w and "single echo" in w for w in result.warnings)
    bare = replace(scan, magnitude=(), mask=coarse.flat / "mask.nii.gz")
    result, _ = _run(bare, tmp_path / "bare")
    assert result.chi.exists() and any("could not be told" in w for w in result.warnings)
    with pytest.raises(InputError, match="no magnitude"):
        _run(replace(scan, magnitude=()), tmp_path / "no")


def test_two_echoes_have_r2star_from_the_methods_that_can(scan, coarse, tmp_path):
    two = replace(scan, phase=scan.phase[:2], magnitude=scan.magnitude[:2], te_s=scan.te_s[:2])
    result, watch = _run(two, tmp_path / "out")
    assert "r2star" not in watch.ran
    assert any("arlo needs 3 echoes" in w and "loglinear" in w for w in result.warnings)
    result, watch = _run(two, tmp_path / "out", replace(FAST, methods={"r2star": "loglinear"}))
    assert watch.ran == ["r2star", "quality"] and not result.warnings
    rate = nib.load(result.done["r2star"][r.R2STAR.suffix].path).get_fdata()
    assert 5 < np.median(rate[rate > 0]) < 60


def test_array_verb_gives_the_same(first, scan):
    """`chimap.reconstruct` and the pipeline are one chain."""
    import chimap
    from chimap.io.scan import load

    data = load(scan)
    result = chimap.reconstruct(data.phase, None, data.acq, magnitude=data.magnitude, preset="fast")
    expected = nib.load(first[1].chi).get_fdata(dtype=np.float32)
    assert np.allclose(result.chi_ppm, expected, atol=1e-6) and result.reference["phase_sign"] == 1


def test_memory(scan, first):
    """Nothing stays in memory after the run."""
    assert all(a._array is None for d in first[1].done.values() for a in d.artifacts.values())
