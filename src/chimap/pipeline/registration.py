"""Labels of another image brought to a scan by registration, with antspyx (an extra)."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from chimap.errors import ChimapError, InputError
from chimap.numerics.threads import get_threads


def ants_module() -> Any:
    """The module ants, None where antspyx is not installed."""
    # ITK reads this when it is loaded.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(get_threads()))
    try:
        return importlib.import_module("ants")
    except ImportError:
        return None


def labels_by_registration(image: Path, template: Path, labels: Path, *, kind: str = "SyN") -> np.ndarray:
    """Register `template` to `image` and carry its `labels` over.

    Parameters
    ----------
    image : path
        An image on the scan's grid with the contrast of the template, such as the magnitude.
    template, labels : path
        An image and its labels in the same space, such as the subject's T1-weighted image, or a template of your own (none comes
        with chimap).
    kind : str
        ANTs' type of transform: ``SyN`` (affine and deformable), ``Affine``, or ``Rigid`` for an image of the same head. After a rigid
        one each voxel gets the label that has most weight there by linear interpolation, else that of the nearest voxel.

    Returns
    -------
    (x, y, z) int32
        Labels on the grid of `image`.

    Raises
    ------
    InputError
        If antspyx is not installed, or a file is missing.

    Notes
    -----
    Avants et al. 2011, doi:10.1016/j.neuroimage.2010.09.025. Registration errors move borders by a voxel or more; look at the result.
    """
    for path in (image, template, labels):
        if not path.is_file():
            raise InputError("there is no such file", file=path)
    ants = ants_module()
    if ants is None:
        raise InputError(
            "registration needs antspyx, which is not installed",
            fix='Install it with: pip install "chimap[registration]"; or give the affine with --transform',
        )
    fixed, moving = ants.image_read(str(image)), ants.image_read(str(template))
    try:
        found = ants.registration(fixed, moving, type_of_transform=kind, random_seed=1)
        carried = ants.apply_transforms(
            fixed,
            ants.image_read(str(labels)),
            found["fwdtransforms"],
            interpolator="genericLabel" if kind == "Rigid" else "nearestNeighbor",
        )
    except (RuntimeError, ValueError) as e:
        raise ChimapError(f"the registration failed ({e})", file=template) from e
    return np.rint(carried.numpy()).astype(np.int32)
