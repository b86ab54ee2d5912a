import argparse

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import simulate
from chimap.errors import InputError, OutputError


def call(*argv):
    parser = argparse.ArgumentParser()
    simulate.arguments(parser)
    return simulate.run(parser.parse_args([str(a) for a in argv]))


SMALL = ("--voxel", 4.5, 4.5, 4.5, "--te", 0.004, 0.01)


def test_head_as_bids(tmp_path, capsys):
    assert call(tmp_path / "out", *SMALL, "--b0-dir", 0, 0.3, 1) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    phase = tmp_path / "out/sub-01/anat/sub-01_echo-2_part-phase_MEGRE.nii.gz"
    assert np.abs(nib.load(phase).get_fdata()).max() <= np.pi + 1e-6


@pytest.mark.parametrize("name", ["sphere", "cylinder"])
def test_objects_as_flat_files(tmp_path, name):
    assert call(tmp_path, "--object", name, "--format", "flat", "--te", 0.005, "--radius", 10) == 0
    chi = nib.load(tmp_path / "truth/chimap.nii.gz").get_fdata()
    mask = nib.load(tmp_path / "mask.nii.gz").get_fdata() > 0
    assert chi[mask].max() == pytest.approx(1, abs=1e-5) and chi[mask].min() >= 0


def test_bad_arguments_are_told(tmp_path):
    with pytest.raises(InputError):
        call(tmp_path, "--subjects", 2, "--format", "flat")
    with pytest.raises(InputError):
        call(tmp_path, "--oversample", 0.5)
    with pytest.raises(InputError):
        call(tmp_path, "--te", 4, 8)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        call(tmp_path / "file" / "out", *SMALL)
