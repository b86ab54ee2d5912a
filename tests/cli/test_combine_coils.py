"""`chimap combine-coils`: uncombined channels in files, in every form they come in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.cli import main
from chimap.simulate.coils import coil_sensitivities, receive

SHAPE, VOXEL, TE_S, CHANNELS = (26, 29, 23), (7.0, 7.0, 7.0), (0.005, 0.010), 8
AFFINE = np.diag([*VOXEL, 1.0])


class Channels:
    """An ellipsoid received by 8 channels: arrays (x, y, z, echo, channel), and the phase without them."""

    def __init__(self) -> None:
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
        self.mask = x**2 + y**2 + z**2 < 0.8
        field = 0.5 * np.exp(-4 * ((x - 0.6) ** 2 + y**2 + (z - 0.4) ** 2)) - 0.2 * x * y
        acq = Acquisition(TE_S, 3.0, voxel_size_mm=VOXEL)
        turn = np.stack([field * acq.rad_per_ppm(t) for t in TE_S], -1)
        self.true = np.angle(np.exp(1j * turn))
        decay = np.exp(-20 * np.array(TE_S))
        signal = (self.mask[..., None] * decay * np.exp(1j * turn)).astype(np.complex64)
        coils = coil_sensitivities(SHAPE, VOXEL, channels=CHANNELS)
        received = np.stack(list(receive(signal, coils, noise_sd=0.01)), -1)
        self.phase, self.magnitude = np.angle(received), np.abs(received)

    def error_rad(self, path: Path) -> float:
        """RMS distance of a combined phase from the truth, one constant apart."""
        turn = np.exp(1j * (data(path) - self.true[..., : data(path).shape[3]]))[self.mask]
        turn *= np.conj(turn.sum()) / np.abs(turn.sum())
        return float(np.sqrt(np.mean(np.angle(turn) ** 2)))


def data(path: Path) -> np.ndarray:
    values = nib.load(path).get_fdata(dtype=np.float32)
    return values[..., None] if values.ndim == 3 else values


def write(path: Path, array: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), AFFINE), path)
    return str(path)


@pytest.fixture(scope="module")
def channels() -> Channels:
    return Channels()


@pytest.fixture(scope="module")
def files(channels: Channels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Flags --phase and --magnitude of each form."""
    root = tmp_path_factory.mktemp("channels")
    forms: dict[str, list[str]] = {"one": [], "by channel": [], "by echo": []}
    for name, array in (("phase", channels.phase), ("magnitude", channels.magnitude)):
        for form in forms.values():
            form.append(f"--{name}")
        forms["one"].append(write(root / f"{name}.nii.gz", array))
        forms["by channel"] += [write(root / f"{name}_c{c}.nii.gz", array[..., c]) for c in range(CHANNELS)]
        forms["by echo"] += [write(root / f"{name}_e{e}.nii", array[..., e, :]) for e in range(len(TE_S))]
    forms["mask"] = ["--mask", write(root / "mask.nii.gz", channels.mask)]
    return forms


def combine(out: Path, *argv: str, te: tuple[float, ...] = TE_S) -> int:
    words = ["combine-coils", *argv, "--te", *map(str, te), "-o", str(out / "p.nii.gz")]
    return main([*words, "--magnitude-out", str(out / "m.nii.gz"), "--quiet"])


def test_by_the_command_line(channels, files, tmp_path):
    argv = [sys.executable, "-m", "chimap", "combine-coils", *files["one"], *files["mask"], "--te", "0.005"]
    argv += ["0.010", "-o", str(tmp_path / "p.nii.gz"), "--magnitude-out", str(tmp_path / "m.nii.gz")]
    log = tmp_path / "log.jsonl"
    done = subprocess.run([*argv, "--log-json", str(log)], capture_output=True, text=True, check=True)
    assert "8 channels, 2 echoes" in done.stderr
    assert channels.error_rad(tmp_path / "p.nii.gz") < 0.05
    magnitude = data(tmp_path / "m.nii.gz")
    assert magnitude.shape == (*SHAPE, 2) and not magnitude[~channels.mask].any()
    decay = np.median(magnitude[channels.mask, 1] / magnitude[channels.mask, 0])
    assert decay == pytest.approx(np.exp(-20 * 0.005), rel=0.01)
    assert np.allclose(nib.load(tmp_path / "p.nii.gz").affine, AFFINE)
    side = json.loads((tmp_path / "p.json").read_text())
    assert side["CoilCombinationMethod"] == "aspire" and side["CoilCombinationEchoes"] == [1, 2]
    assert side["Channels"] == 8 and side["Units"] == "rad"
    line = json.loads(log.read_text())
    assert line["stage"] == "combine-coils" and line["seconds"] > 0 and line["parameters"]["order"] == 4


def test_every_form_gives_the_same(files, tmp_path):
    found = []
    for form in ("one", "by channel", "by echo"):
        (tmp_path / form).mkdir()
        assert combine(tmp_path / form, *files[form], *files["mask"]) == 0
        found.append([data(tmp_path / form / f"{n}.nii.gz") for n in "pm"])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


@pytest.mark.parametrize("method", ["mcpc3ds", "vrc"])
def test_other_methods(method, channels, files, tmp_path):
    assert combine(tmp_path, *files["one"], *files["mask"], "--method", method) == 0
    # The virtual coil's own phase stays in the result, alike in both echoes.
    if method == "mcpc3ds":
        assert channels.error_rad(tmp_path / "p.nii.gz") < 0.05
    else:
        p = data(tmp_path / "p.nii.gz")
        turn = np.exp(1j * (p[..., 1] - p[..., 0] - channels.true[..., 1] + channels.true[..., 0]))
        assert np.sqrt(np.mean(np.angle(turn[channels.mask]) ** 2)) < 0.05
    assert json.loads((tmp_path / "p.json").read_text())["CoilCombinationMethod"] == method


def test_single_echo_in_3d_files_and_stored_as_integers(channels, tmp_path):
    flags = []
    for name, array in (("phase", channels.phase * 4096 / np.pi), ("magnitude", channels.magnitude)):
        flags.append(f"--{name}")
        flags += [
            write(tmp_path / f"{name}{c}.nii.gz", np.round(array[..., 0, c], 2)) for c in range(CHANNELS)
        ]
    assert combine(tmp_path, *flags, te=TE_S[:1]) == 2  # aspire needs two
    assert combine(tmp_path, *flags, "--method", "vrc", "--phase-range", "-4096", "4096", te=TE_S[:1]) == 0
    p = data(tmp_path / "p.nii.gz")
    assert p.shape == (*SHAPE, 1) and 3.1 < np.abs(p).max() <= np.float32(np.pi)


def test_unsuitable_echo_times_are_said(channels, files, tmp_path, capsys):
    words = ["combine-coils", *files["one"], "--te", "0.004", "0.0105", "-o", str(tmp_path / "p.nii.gz")]
    assert main([*words, "--magnitude-out", str(tmp_path / "m.nii.gz")]) == 0
    assert "mcpc3ds was used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: [*f["one"][:2], "--magnitude", *f["by channel"][10:13]], "but the phase"),
        (lambda f: [*f["one"][:2], *f["mask"]], "--magnitude"),
        (lambda f: [*f["one"][:2], "--magnitude", f["mask"][1]], "do not make 2 echoes"),
        (lambda f: [*f["by channel"][:2], "--magnitude", f["by channel"][10]], "only one channel"),
        (lambda f: [*f["by channel"][:3], "--magnitude", *f["by channel"][10:12]], "two ways"),
        (lambda f: [*f["one"], "--order", "9"], "order is 9"),
        (lambda f: ["--phase", "none.nii", "--magnitude", "none.nii"], "no such file"),
    ],
    ids=[
        "three channels",
        "no magnitude",
        "mask as magnitude",
        "one channel",
        "ambiguous",
        "order",
        "no file",
    ],
)
def test_bad_input(change, said, files, tmp_path, capsys):
    assert combine(tmp_path, *change(files)) == 2
    err = capsys.readouterr().err
    assert re.search(said, err) and err.count("\n") == 1
    assert not (tmp_path / "p.nii.gz").exists()


def test_no_echo_times_and_cut_off_file(files, tmp_path, capsys):
    words = ["combine-coils", *files["one"], "-o", str(tmp_path / "p.nii.gz")]
    assert main([*words, "--magnitude-out", str(tmp_path / "m.nii.gz")]) == 2
    assert "--te" in capsys.readouterr().err
    cut = tmp_path / "cut.nii.gz"
    whole = Path(files["one"][1]).read_bytes()
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    assert combine(tmp_path, "--phase", str(cut), *files["one"][2:]) == 2
    assert "cut off" in capsys.readouterr().err
