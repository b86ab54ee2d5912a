"""Referencing to the mean of a region."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.registry import method
from chimap.results import Susceptibility
from chimap.types import Mask, Volume


@method("reference", reference="10.1002/mrm.30006")
def mean(chi: Volume, mask: Mask, acq: Acquisition, *, region: Mask | None = None) -> Susceptibility:
    """Susceptibility relative to the mean of a region, by default of the whole mask.

    QSM knows susceptibility up to one constant. The consensus asks to name the reference and to report its mean and
    standard deviation under whole-brain referencing, which `reference` of the result holds.

    Parameters
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm with any constant.
    mask : (x, y, z) bool
        The object.
    acq : Acquisition
        Not used; every method of a stage has the same first arguments.
    region : (x, y, z) bool, optional
        Voxels whose mean becomes 0; only those inside `mask` count.

    Returns
    -------
    Susceptibility
        ``reference`` holds ``name`` ("whole brain" or "region"), ``voxels``, and ``mean_ppm`` and ``sd_ppm`` of the
        reference region under whole-brain referencing.

    Notes
    -----
    QSM Consensus Organization Committee 2024, doi:10.1002/mrm.30006.
    """
    whole = float(chi[mask].mean(dtype=np.float64))
    used = mask if region is None else mask & (np.asarray(region) > 0)
    if not used.any():
        raise InputError(
            "the reference region has no voxel inside the mask", fix="Give a region that overlaps it"
        )
    values = chi[used].astype(np.float64)
    constant = float(values.mean())
    return Susceptibility(
        chi_ppm=np.where(mask, chi - np.float32(constant), np.float32(0)),
        mask=mask,
        reference={
            "name": "whole brain" if region is None else "region",
            "voxels": int(used.sum()),
            "mean_ppm": constant - whole,
            "sd_ppm": float(values.std()),
        },
    )
