"""Labels of a template brought to a scan by registration, with antspyx (an extra)."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from chimap.errors import ChimapError, InputError


def labels_by_registration(image: Path, template: Path, labels: Path, *, kind: str = "SyN") -> np.ndarray:
    """Register `template` to `image` and carry its `labels` over, by the nearest voxel.

    Parameters
    ----------
    image : path
        An image on the scan's grid with the contrast of the template, such as the magnitude.
    template, labels : path
        An image and its labels, on one grid. None comes with chimap: give your own.
    kind : str
        ANTs' type of transform: ``SyN`` (affine and deformable) or ``Affine``.

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
    try:
        ants = importlib.import_module("ants")
    except ImportError as e:
        raise InputError(
            "registration of a template needs antspyx, which is not installed",
            fix='Install it with: pip install "chimap[registration]"; or give the affine with --transform',
        ) from e
    fixed, moving = ants.image_read(str(image)), ants.image_read(str(template))
    try:
        found = ants.registration(fixed, moving, type_of_transform=kind)
        carried = ants.apply_transforms(
            fixed, ants.image_read(str(labels)), found["fwdtransforms"], interpolator="nearestNeighbor"
        )
    except (RuntimeError, ValueError) as e:
        raise ChimapError(f"the registration of the template failed ({e})", file=template) from e
    return np.rint(carried.numpy()).astype(np.int32)
