"""Each vendor's simulated DICOM against NIfTI of the same stored numbers: the susceptibility maps must be equal within rounding.

    python -m benchmarks.vendors [--only Philips] [--json results.json]

One small phantom (ellipsoid with a denser ball, noise) is written by each of the 17 writers of `tests/io/dicom_vendors.py`, and goes
through `chimap bids` and `chimap run --preset fast`. Beside it, the numbers that the writer stored, whole as they are, become rad and
magnitude by the vendor's own formula in double precision, and go through `chimap run` as float32 NIfTI on the writer's grid. What the
whole numbers lose is so lost on both sides, and the tolerance is what float32 leaves: phase within 2 steps of float32 at pi (5e-7 rad;
Philips' formula ends at 3.14159, not at pi, which adds 3e-6), and maps within `TOLERANCE_PPM`.

The columns: largest difference of the phase in rad and of the magnitude relative to its maximum, voxels in which the masks differ, largest and
root-mean-square difference of the maps in ppm, and the map's own standard deviation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from chimap.cli import main as chimap

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "io"))
from dicom_base import Truth
from dicom_stored import FORMS

TE_S = (0.004, 0.008, 0.012)
B0_T = 123.25 / 42.577478518
TOLERANCE_PPM = 1e-5
"""100 ppb of a map's range are 0.1 ppm: this is a ten-thousandth of it."""


def phantom(shape: tuple[int, int, int] = (24, 22, 18)) -> Truth:
    """A uniform ellipsoid with a denser ball of 6 mm radius in it, a linear background field, and noise of 4 in 900."""
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    x, y, z = 2 * x, 2 * y, 2.5 * z
    mask = (x / 21) ** 2 + (y / 19) ** 2 + (z / 20) ** 2 < 1
    r = np.sqrt((x - 4) ** 2 + y**2 + z**2) + 1e-6
    field = np.where(r > 6, (6 / r) ** 3 * (3 * (z / r) ** 2 - 1), 0.0) * 40 + 0.8 * x + 0.5 * y
    rng = np.random.default_rng(5)
    noise = 4 * (rng.standard_normal((*shape, 3)) + 1j * rng.standard_normal((*shape, 3)))
    turn = np.exp(1j * (0.4 + 2 * np.pi * field[..., None] * TE_S)) * np.exp(-20 * np.array(TE_S))
    signal = 900 * mask[..., None] * turn + noise
    return Truth(np.angle(signal), np.abs(signal), TE_S)


def run(*argv: object) -> None:
    """A command, which must succeed."""
    status = chimap([*map(str, argv), "--quiet", "--threads", "1"])
    if status:
        raise SystemExit(status)


def volume(path: Path, truth: Truth | None = None) -> np.ndarray:
    """A file's values, turned onto the truth's grid where one is given."""
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    return data if truth is None else truth.same_grid(data, image.affine)


def from_dicom(name: str, truth: Truth, folder: Path) -> tuple[Path, Path]:
    """The BIDS images and the results of a writer's files."""
    FORMS[name][0](folder / "dicom", truth)
    run("bids", folder / "dicom", folder / "bids")
    run("run", folder / "bids", folder / "out", "--preset", "fast")
    return folder / "bids" / "sub-01" / "anat", folder / "out" / "sub-01" / "anat"


def from_nifti(stored: Truth, folder: Path) -> Path:
    """The results of the same numbers as NIfTI."""
    folder.mkdir(parents=True)
    for name in ("phase", "magnitude"):
        image = nib.Nifti1Image(getattr(stored, name).astype(np.float32), stored.affine)
        nib.save(image, folder / f"{name}.nii.gz")
    run("run", folder / "out", "--phase", folder / "phase.nii.gz", "--magnitude", folder / "magnitude.nii.gz", "--preset", "fast",
        "--te", *stored.te_s, "--b0", B0_T)  # fmt: skip
    return folder / "out" / "sub-01" / "anat"


def compare(stored: Truth, images: Path, results: Path, wanted: Path, *, alternate: bool) -> dict[str, float]:
    """The columns of the table."""
    out: dict[str, float] = {"phase": 0.0, "magnitude": 0.0}
    for e in range(len(TE_S)):
        phase = volume(next(images.glob(f"*echo-{e + 1}_part-phase*.nii.gz")), stored)
        apart = np.angle(np.exp(1j * (phase - stored.phase[..., e])))
        if alternate:
            # Which slices are the negative ones cannot be told; all by half a turn is the same field.
            apart = np.angle(np.exp(1j * (apart - np.pi * (abs(np.median(apart)) > 1))))
        # Where both parts are rounded to 0 there is no phase.
        apart = apart[stored.magnitude[..., e] > 0]
        magnitude = volume(next(images.glob(f"*echo-{e + 1}_part-mag*.nii.gz")), stored)
        bright = stored.magnitude[..., 0].argmax()
        scale = magnitude.flat[bright] / stored.magnitude[..., e].flat[bright]
        out["phase"] = max(out["phase"], float(np.abs(apart).max()))
        off = np.abs(magnitude / scale - stored.magnitude[..., e]).max() / stored.magnitude.max()
        out["magnitude"] = max(out["magnitude"], float(off))
    masks = [
        volume(results / "sub-01_desc-valid_mask.nii.gz", stored) > 0,
        volume(wanted / "sub-01_desc-valid_mask.nii.gz") > 0,
    ]
    maps = [volume(results / "sub-01_Chimap.nii.gz", stored), volume(wanted / "sub-01_Chimap.nii.gz")]
    both = masks[0] & masks[1]
    apart = (maps[0] - maps[1])[both]
    out |= {"mask": float((masks[0] != masks[1]).sum()), "voxels": float(both.sum()), "largest": float(np.abs(apart).max()),
            "rms": float(np.sqrt((apart**2).mean())), "sd": float(maps[1][both].std())}  # fmt: skip
    return out


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 if a map differs by more than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="forms whose name has this in it")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    truth, rows = phantom(), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="chimap-vendors-") as temporary:
        reference: dict[str, tuple[Truth, Path]] = {}
        print(f"{'form':<42}{'phase':>9}{'magn.':>9}{'mask':>6}{'largest':>10}{'rms':>10}{'sd':>8}")
        for n, (name, (_, decode)) in enumerate(FORMS.items()):
            if args.only not in name:
                continue
            if decode.__name__ not in reference:
                stored = decode(truth)
                reference[decode.__name__] = stored, from_nifti(stored, Path(temporary) / decode.__name__)
            stored, wanted = reference[decode.__name__]
            images, results = from_dicom(name, truth, Path(temporary) / str(n))
            r = rows[name] = compare(stored, images, results, wanted, alternate="alternate" in name)
            print(f"{name:<42}{r['phase']:>9.1e}{r['magnitude']:>9.1e}{r['mask']:>6.0f}{r['largest']:>10.1e}{r['rms']:>10.1e}"
                  f"{r['sd']:>8.3f}", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(any(r["largest"] > TOLERANCE_PPM or r["mask"] for r in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
