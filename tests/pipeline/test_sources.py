"""Methods that start from the phase or the total field run in place of the stages they replace."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from chimap.errors import InputError
from chimap.io.inputs import find_scans
from chimap.pipeline import plan as r
from chimap.pipeline.console import Console
from chimap.pipeline.plan import Options
from chimap.pipeline.reconstruct import reconstruct
from chimap.pipeline.run import run_scan


class Ran(Console):
    def __init__(self):
        super().__init__(quiet=True)
        self.stages = []

    def stage(self, stage, detail=""):
        self.stages.append(stage)
        return super().stage(stage, detail)


@pytest.fixture(scope="module")
def scan(coarse, tmp_path_factory):
    (found,) = find_scans(coarse.bids, tmp_path_factory.mktemp("work"))
    return found


def _run(scan, out, **methods):
    ran = Ran()
    return run_scan(scan, out, Options(preset="fast", methods=methods), console=ran), ran.stages


def test_background_from_the_phase(scan, tmp_path, coarse):
    result, stages = _run(scan, tmp_path, background="homodyne")
    assert stages == ["read", "mask", "field", "r2star", "background", "inversion", "reference", "quality"]
    assert "from the phase with method homodyne" in result.methods_text
    # As if called with the phase in the sign that grows with the field.
    again, kept = _run(scan, tmp_path, background="homodyne")
    assert not kept and again.chi == result.chi
    assert np.isfinite(nib.load(result.chi).get_fdata()).all()


def test_inversion_of_the_total_field_needs_no_background_stage(scan, tmp_path):
    result, stages = _run(scan, tmp_path, inversion="tfi")
    assert "background" not in stages
    assert "in a single step from the total field with method tfi" in result.methods_text
    assert "Background fields were removed" not in result.methods_text
    brain = nib.load(tmp_path / "sub-01" / "anat" / f"sub-01{r.BRAIN.suffix}.nii.gz").get_fdata() > 0
    chi = nib.load(result.chi).get_fdata()
    assert chi[brain].std() > 0.005 and not chi[~brain].any()


def test_a_background_method_that_would_not_run_is_refused(scan, tmp_path):
    with pytest.raises(InputError, match="pdf would not run"):
        _run(scan, tmp_path, inversion="tfi", background="pdf")
    assert not list(tmp_path.iterdir())


def test_arrays_and_files_go_the_same_way(scan, tmp_path, coarse):
    result, _ = _run(scan, tmp_path, background="homodyne")
    anat = tmp_path / "sub-01" / "anat"
    phase, magnitude = (
        nib.load(coarse.flat / f"{n}.nii.gz").get_fdata(dtype=np.float32) for n in ("phase", "magnitude")
    )
    mask = nib.load(anat / f"sub-01{r.BRAIN.suffix}.nii.gz").get_fdata() > 0
    arrays = reconstruct(
        phase, mask, coarse.acq, magnitude=magnitude, preset="fast", methods={"background": "homodyne"}
    )
    chi = nib.load(result.chi).get_fdata()
    assert np.corrcoef(arrays.chi_ppm[mask], chi[mask])[0, 1] > 0.999
