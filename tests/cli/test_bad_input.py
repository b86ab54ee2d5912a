"""Input that cannot be used: one line with cause and remedy, status 2, nothing written."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from chimap.cli import main


@pytest.fixture
def files(coarse, tmp_path):
    """Flags of a good run on flat files, to be spoiled."""
    flat = coarse.flat
    return {
        "--phase": [flat / "phase.nii.gz"],
        "--magnitude": [flat / "magnitude.nii.gz"],
        "--mask": [flat / "mask.nii.gz"],
        "--te": list(coarse.acq.te_s),
        "--b0": [3],
    }


def _argv(out, files):
    return ["run", str(out), *(str(w) for name, words in files.items() for w in (name, *words)), "--quiet"]


def _spoil(path, target, change):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(image.get_fdata(dtype=np.float32)), image.affine), target)
    return target


def _nan_in_brain(a):
    a = a.copy()
    n = [s // 2 for s in a.shape[:3]]
    a[n[0] - 2 : n[0] + 2, n[1] - 2 : n[1] + 2, n[2] - 2 : n[2] + 2] = np.nan
    return a


def _whole_numbers(a):
    return np.round((a + np.pi) / (2 * np.pi) * 4095).astype(np.int16)


SPOILED = {
    "echo times in ms": (lambda f, t: f.update({"--te": [4, 12, 20]}), "milliseconds"),
    "phase 0..4095 without sidecar": (
        lambda f, t: f.update({"--phase": [_spoil(f["--phase"][0], t / "p.nii.gz", _whole_numbers)]}),
        "--phase-range 0 4095",
    ),
    "magnitude given as phase": (lambda f, t: f.update({"--phase": f["--magnitude"]}), "magnitude"),
    "magnitude and phase swapped": (
        lambda f, t: f.update({"--phase": f["--magnitude"], "--magnitude": f["--phase"]}),
        "swapped",
    ),
    "mask of another shape": (
        lambda f, t: f.update({"--mask": [_spoil(f["--mask"][0], t / "k.nii.gz", lambda a: a[:-1])]}),
        "shape",
    ),
    "an echo missing": (
        lambda f, t: f.update({"--phase": [_spoil(f["--phase"][0], t / "p.nii.gz", lambda a: a[..., :2])]}),
        "echo",
    ),
    "all-zero phase": (
        lambda f, t: f.update({"--phase": [_spoil(f["--phase"][0], t / "p.nii.gz", np.zeros_like)]}),
        "zero everywhere",
    ),
    "NaN in the brain": (
        lambda f, t: f.update({"--phase": [_spoil(f["--phase"][0], t / "p.nii.gz", _nan_in_brain)]}),
        "NaN",
    ),
    "no such file": (lambda f, t: f.update({"--phase": [t / "none.nii.gz"]}), "no such file"),
    "unknown label image": (lambda f, t: f.update({"--labels": [t / "none.nii.gz"]}), "no such file"),
    "unknown reference": (lambda f, t: f.update({"--reference": [t / "none.nii.gz"]}), "no such file"),
    "unknown parameter": (lambda f, t: f.update({"--set": ["inversion.nonsense=1"]}), "no parameter"),
    "unknown stage": (lambda f, t: f.update({"--set": ["nonsense.x=1"]}), "no stage"),
    "unknown method": (lambda f, t: f.update({"--method-inversion": ["nonsense"]}), "no method"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_flat_files(files, tmp_path, capsys, case):
    change, said = SPOILED[case]
    change(files, tmp_path)
    _refused(_argv(tmp_path / "out", files), tmp_path / "out", said, capsys)


def _refused(argv, out, said, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("chimap: error: ") and err.count("\n") == 1 and said in err, err
    assert "Traceback" not in err
    assert not out.exists() or not any(p.is_file() for p in out.rglob("*"))


def test_not_nifti_and_truncated(files, tmp_path, capsys):
    wrong = tmp_path / "p.nii.gz"
    wrong.write_bytes(b"this is not an image" * 100)
    _refused(_argv(tmp_path / "out", {**files, "--phase": [wrong]}), tmp_path / "out", "not a NIfTI", capsys)
    whole = files["--phase"][0].read_bytes()
    wrong.write_bytes(whole[: len(whole) // 2])
    _refused(_argv(tmp_path / "out", {**files, "--phase": [wrong]}), tmp_path / "out", "cut off", capsys)


def test_folders(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    _refused(["run", str(empty), str(tmp_path / "out")], tmp_path / "out", "empty", capsys)
    _refused(["run", str(tmp_path / "none"), str(tmp_path / "out")], tmp_path / "out", "no such", capsys)
    _refused(["run", str(empty)], tmp_path / "out", "INPUT OUT expected", capsys)


def test_echo_missing_in_bids(coarse, tmp_path, capsys):
    import shutil

    bids = shutil.copytree(coarse.bids, tmp_path / "bids")
    next(bids.rglob("*echo-2_part-phase_MEGRE.nii.gz")).unlink()
    _refused(["run", str(bids), str(tmp_path / "out"), "--quiet"], tmp_path / "out", "echo", capsys)


def test_output_that_cannot_be_written(files, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(_argv(blocked / "out", files)) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o555)
        assert main(_argv(locked / "out", files)) == 2
        assert "read-only" in capsys.readouterr().err


def test_no_room_for_results(coarse, tmp_path):
    """A limit on file size stands in for a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    flat, out = coarse.flat, tmp_path / "total.nii.gz"
    argv = ["field", "--phase", flat / "phase.nii.gz", "--mask", flat / "mask.nii.gz"]
    argv += ["--acq", flat / "params.json", "-o", out, "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "chimap", *map(str, argv)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        # Compiled kernels must not be what does not fit.
        env={**os.environ, "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "")}
        if "NUMBA_CACHE_DIR" in os.environ
        else None,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("chimap: error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


STAGES = {
    "mask of another shape": (["--mask", "{t}/k.nii.gz"], "shape"),
    "echo times in ms": (["--te", "4", "12", "20"], "milliseconds"),
    "an echo missing": (["--te", "0.004", "0.012"], "3 echoes but 2"),
    "output is no image": (["-o", "{t}/out.txt"], ".nii.gz"),
    "output below a file": (["-o", "{t}/k.nii.gz/out.nii.gz"], "not a folder"),
    "magnitude as phase": (["--phase", "{flat}/magnitude.nii.gz"], "magnitude"),
    "no acquisition": (["--acq", "{t}/none.json"], "no such file"),
    "unknown word": (["--tolerence", "1"], "unknown argument"),
}


@pytest.mark.parametrize("case", STAGES)
def test_single_stage(coarse, tmp_path, capsys, case):
    words, said = STAGES[case]
    flat = coarse.flat
    _spoil(flat / "mask.nii.gz", tmp_path / "k.nii.gz", lambda a: a[:-1])
    argv = ["unwrap", "--phase", flat / "phase.nii.gz", "--mask", flat / "mask.nii.gz"]
    argv += ["--acq", flat / "params.json", "-o", tmp_path / "out.nii.gz", "--quiet"]
    before = sorted(tmp_path.iterdir())
    # The last of two equal flags counts.
    assert main([*map(str, argv), *(w.format(t=tmp_path, flat=flat) for w in words)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("chimap: error: ") and err.count("\n") == 1 and said in err, err
    assert sorted(tmp_path.iterdir()) == before


def test_phase_in_other_units_is_converted_and_said(coarse, tmp_path, capsys):
    flat = coarse.flat
    phase = _spoil(
        flat / "phase.nii.gz", tmp_path / "p.nii.gz", lambda a: np.round(a / np.pi * 4096).astype(np.int16)
    )
    out = []
    for i, p in enumerate((flat / "phase.nii.gz", phase)):
        out.append(tmp_path / f"{i}.nii.gz")
        argv = [
            "unwrap",
            "--phase",
            p,
            "--mask",
            flat / "mask.nii.gz",
            "--acq",
            flat / "params.json",
            "-o",
            out[-1],
        ]
        assert main([str(a) for a in argv]) == 0
    assert "4096 stands for +-pi" in capsys.readouterr().err
    a, b = (nib.load(p).get_fdata() for p in out)
    assert np.median(np.abs(a - b)) < 2e-3


def test_broken_json(coarse, tmp_path, capsys):
    acq = tmp_path / "acq.json"
    argv = [
        "mask",
        "--magnitude",
        str(coarse.flat / "magnitude.nii.gz"),
        "--acq",
        str(acq),
        "-o",
        str(tmp_path / "m.nii.gz"),
    ]
    for text, said in (
        ("{", "not readable JSON"),
        (json.dumps({"B0": 3}), "TE missing"),
        ("[1]", "TE and B0 missing"),
    ):
        acq.write_text(text)
        assert main(argv) == 2
        assert said in capsys.readouterr().err
