"""Good input for the commands that come after a map: phantom, maps, tables, and the results of two people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from fuzz_files import AFFINE, SHAPE

from chimap.cli import main


def write_answers(root: Path) -> None:
    """Adds to ``flat`` what the commands need, and makes ``people`` (BIDS) and ``results`` (of `chimap run` on them)."""
    flat = root / "flat"
    rng = np.random.default_rng(11)
    labels = np.asarray(nib.load(flat / "labels.nii.gz").dataobj)
    mask = labels > 0
    chi = (0.25 * labels + 0.01 * rng.standard_normal(SHAPE)) * mask
    x, y, z = np.indices(SHAPE)
    for a, b in ((6, 9), (12, 8), (10, 12)):
        chi[(x - a) ** 2 + (y - b) ** 2 + (z - 8) ** 2 < 3] += 1.5
    r2star = mask * (25 + 20 * chi + rng.standard_normal(SHAPE))
    magnitude = np.asarray(nib.load(flat / "magnitude.nii.gz").dataobj)
    volumes = {
        "chi": chi,
        "again": chi + 0.02 * mask * rng.standard_normal(SHAPE),
        "r2star": r2star,
        "r2": 12.0 * mask,
        "cbf": 50.0 * mask,
    }
    volumes |= {
        "first": magnitude[..., 0],
        "lesion": (x > 8) & (x < 13) & (y > 6) & (y < 12) & (z > 5) & (z < 11),
    }
    for name, data in volumes.items():
        nib.save(nib.Nifti1Image(np.asarray(data, np.float32), AFFINE), flat / f"{name}.nii.gz")
    (flat / "vials.tsv").write_text("label\tconcentration_mm\n1\t0.5\n2\t1\n3\t1.5\n4\t2\n")
    names = ("putamen", "caudate", "globus pallidus", "thalamus")
    (flat / "labels.tsv").write_text("index\tname\n" + "".join(f"{i}\t{n}\n" for i, n in enumerate(names, 1)))
    (flat / "retest.tsv").write_text(
        "name\tfirst\tsecond\nputamen\t40\t42\ncaudate\t31\t30\npallidum\t110\t108\nthalamus\t4\t3\n"
    )
    (flat / "model.json").write_text(
        json.dumps(
            {
                "chi_iron": 0.9,
                "chi_myelin": -150,
                "r2star_iron": 0.12,
                "r2star_myelin": 40,
                "chi_rest": 0,
                "r2star_rest": 5,
            }
        )
    )
    _call(["calibrate", "fit", flat / "fit", "--chi", flat / "chi.nii.gz", "--labels", flat / "labels.nii.gz", "--vials",
           flat / "vials.tsv", "--molar", "0.3", "--erode", "0", "--b0", "3", "--angle", "0"])  # fmt: skip
    shutil.copy(flat / "fit" / "correction.json", flat / "correction.json")
    shutil.rmtree(flat / "fit")
    people = root / "people"
    people.mkdir()
    shutil.copy(root / "bids" / "dataset_description.json", people)
    for name in ("01", "02"):
        for file in (root / "bids" / "sub-01" / "anat").iterdir():
            target = people / f"sub-{name}" / "anat" / file.name.replace("sub-01", f"sub-{name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        target = root / "dseg" / f"sub-{name}" / "anat" / f"sub-{name}_dseg.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(flat / "labels.nii.gz", target)
    text = "participant_id\tage\tsex\nsub-01\t40\tF\nsub-02\t61\tM\n"
    for folder in (people, flat):
        (folder / "participants.tsv").write_text(text)
    _call(["run", people, root / "results", "--preset", "fast", "--quiet", "--labels", root / "dseg"])


def _call(argv: list[object]) -> None:
    assert main([str(a) for a in argv]) == 0
