"""`chimap join` and `chimap average`: from files to a data set that can be read again."""

import json

import numpy as np
import pytest
from stack_heads import TE_S, as_stack, centred, head, thick

from chimap.cli import main
from chimap.io.inputs import find_scans
from chimap.io.nifti import load_volume, save_volume
from chimap.io.scan import load

TE = ["--te", *map(str, TE_S), "--b0", "3", "--quiet"]


def pair(folder, name, stack):
    for part, data in (("phase", stack.phase), ("mag", stack.magnitude)):
        save_volume(folder / f"{name}_{part}.nii.gz", data, stack.affine)
    return f"{folder / name}_phase.nii.gz,{folder / name}_mag.nii.gz"


def test_join(tmp_path, capsys):
    truth = head((27, 27, 27), detail_mm=4.5)
    given = [pair(tmp_path, f"s{axis}", thick(truth, axis, noise=0.005, seed=axis)) for axis in (2, 1, 0)]
    out = tmp_path / "joined"
    assert main(["join", *given, str(out), "--no-motion", "--subject", "a1", *TE]) == 0
    assert "2 mm isotropic" in capsys.readouterr().out
    (scan,) = find_scans(out, tmp_path)
    data = load(scan)
    assert data.phase.shape == (27, 27, 27, 2) and data.acq.te_s == pytest.approx(TE_S)
    np.testing.assert_allclose(data.affine, centred((27, 27, 27), (2, 2, 2)), atol=1e-5)
    found = data.magnitude * np.exp(1j * data.phase)
    assert np.linalg.norm(np.abs(found) - np.abs(truth)) < 0.05 * np.linalg.norm(truth)
    record = json.loads((out / "derivatives/join/sub-a1_join.json").read_text())
    assert len(record["Motion"]) == 3 and record["NoiseSD"] == pytest.approx([0.005] * 3, rel=0.3)
    coverage, _ = load_volume(out / "derivatives/join/sub-a1_coverage.nii.gz")
    assert coverage.min() == coverage.max() == 3
    # A second time it is refused, before anything is computed.
    assert main(["join", *given, str(out), "--subject", "a1", *TE]) == 2
    assert "is there already" in capsys.readouterr().err
    # And it goes through the whole chain.
    words = [
        "run",
        str(out),
        str(tmp_path / "chi"),
        "--preset",
        "fast",
        "--method-mask",
        "threshold",
        "--quiet",
    ]
    assert main(words) == 0, capsys.readouterr().err
    chi, affine = load_volume(next((tmp_path / "chi").rglob("*_Chimap.nii.gz")))
    assert chi.shape == (27, 27, 27) and chi.std() > 0
    np.testing.assert_allclose(affine, centred((27, 27, 27), (2, 2, 2)), atol=1e-5)


def test_average_and_its_aligned_repeats(tmp_path):
    rng = np.random.default_rng(0)
    shape = (24, 24, 20)
    truth = head(shape, detail_mm=4.5)
    given = []
    for n in range(2):
        noisy = truth * np.exp(0.8j * n) + 0.02 * (
            rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)
        )
        given.append(pair(tmp_path, f"r{n}", as_stack(noisy, centred(shape, (2, 2, 2)))))
    out, aligned = tmp_path / "out", tmp_path / "aligned"
    assert main(["average", *given, str(out), "--no-motion", "--aligned", str(aligned), *TE]) == 0
    (scan,) = find_scans(out, tmp_path)
    data = load(scan)
    error = data.magnitude * np.exp(1j * data.phase) - truth
    assert np.sqrt((np.abs(error) ** 2).mean() / 2) == pytest.approx(0.02 / np.sqrt(2), rel=0.1)
    runs = [load(s) for s in find_scans(aligned, tmp_path)]
    assert len(runs) == 2
    # The second repeat has the phase of the first now.
    turn = np.angle((runs[1].magnitude * np.exp(1j * runs[1].phase) * truth.conj()).sum())
    assert abs(turn) < 0.01
    # The data set of the repeats is one that the command reads again.
    assert main(["average", str(aligned), str(tmp_path / "again"), "--no-motion", "--quiet"]) == 0


def test_what_does_not_fit_is_refused(tmp_path, capsys):
    stack = thick(head((9, 9, 9)), 2)
    one = pair(tmp_path, "a", stack)
    assert main(["join", one, str(tmp_path / "o"), *TE]) == 2
    assert "two or more are needed" in capsys.readouterr().err
    assert main(["join", str(tmp_path / "o")]) == 2
    assert main(["average", "nosuch", one, str(tmp_path / "o"), *TE]) == 2
    assert "neither a folder nor a pair" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
