"""One susceptibility map from the local fields of several head orientations (COSMOS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.orientation._solvers import closed_form, least_squares, total_variation
from chimap.orientation._stack import Stack
from chimap.orientation.conditioning import Conditioning, conditioning
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Mask, Progress, Volume, silent

Regularisation = Literal["tv", "l2", "none"]
REFERENCES = ("10.1002/mrm.21828", "10.1002/mrm.27073")
WELL_CONDITIONED = 10.0
"""Condition number up to which a map needs no prior: the worst-known part of k-space then has a tenth of the best one's signal."""
SAME_DEG = 2.0
"""Directions of B0 closer than this are one orientation."""


@dataclass(frozen=True)
class Cosmos:
    """A susceptibility map of several orientations.

    Attributes
    ----------
    chi_ppm : (x, y, z) float32
        0 outside the mask; its mean is arbitrary.
    mask : (x, y, z) bool
        Where more than half of the orientations have a field.
    conditioning : Conditioning
        Of the directions of B0.
    regularisation : {"tv", "l2", "none"}
        What was used.
    warnings : tuple of str
        What the user should know.
    """

    chi_ppm: Volume
    mask: Mask
    conditioning: Conditioning
    regularisation: Regularisation
    warnings: tuple[str, ...]


def cosmos(
    fields: Sequence[Any],
    masks: Sequence[Any],
    acqs: Sequence[Acquisition],
    *,
    noise: Sequence[Any] | None = None,
    regularisation: Regularisation = "tv",
    lam: float = 4.0,
    smoothness: float = 0.005,
    noise_ppm: float = 0.004,
    noise_floor: float = 2.0,
    outliers: float = 1.0,
    outside_ppm: float = 0.1,
    tau: float = 0.004,
    tolerance: float = 0.002,
    iterations: int = 60,
    progress: Progress = silent,
) -> Cosmos:
    r"""Calculation of susceptibility through multiple orientation sampling (COSMOS): weighted least squares over all scans.

    .. math::
        \min_\chi \; \tfrac12 \sum_i \sum_{\mathrm{mask}_i} \frac{(D_i \chi - f_i)^2}{\sigma_i^2} + R(\chi)

    Each orientation has its own mask, noise and dipole :math:`D_i`; what one cannot see near its cone, another one does.

    Parameters
    ----------
    fields : sequence of (x, y, z) float32
        Local fields in ppm, all in one frame of the head (`chimap.orientation.resample`). Two or more.
    masks : sequence of (x, y, z) bool
        Where each is valid.
    acqs : sequence of Acquisition
        One a field: the same voxel size, and B0 along the voxel axes of the common frame.
    noise : sequence of (x, y, z) float32, optional
        Standard deviations of the fields in ppm.
    regularisation : {"tv", "l2", "none"}
        "tv": total variation as in the method `tv`; the data outweigh it more with each orientation. "none": least squares alone, the
        original method; "l2": with the squared gradient. Directions whose condition number passes 10 are regularised in any case.
    lam : float
        Weight of the total variation in mm/ppm.
    smoothness : float
        Weight of the squared gradient in mm^2, the variance of the field's noise over that of the susceptibility's gradient per mm.
    noise_ppm : float
        Standard deviation of the fields in ppm without `noise`.
    noise_floor : float
        Error of the fields that `noise` does not contain, as a multiple of its median, added in quadrature.
    outliers : float
        For "tv": voxels whose residual passes this many standard deviations lose their weight. 0: never.
    outside_ppm : float
        Standard deviation in ppm of what susceptibility there may be outside the masks, left over from background removal.
    tau : float
        Shrinkage threshold of "tv" in ppm/mm; it changes the path, not the end.
    tolerance : float
        For "tv", stop when the map changes by less than this share; else when the residual of the normal equations falls below it.
    iterations : int
        Most iterations.

    Returns
    -------
    Cosmos

    Raises
    ------
    InputError
        If there are fewer than two orientations, or arrays do not fit each other.

    Notes
    -----
    Liu et al. 2009, doi:10.1002/mrm.21828. Fields that are known with one noise on the whole grid (no masks) are inverted in closed form
    by a division in k-space, the grid taken as periodic; else by conjugate gradients, or for "tv" by ADMM with every field split from
    the map as in Milovic et al. 2018, doi:10.1002/mrm.27073. Susceptibility is taken as isotropic: white matter is not, and
    differs by some 10 ppb between methods and orientations (`chimap.orientation.sti`).
    """
    values = (lam, smoothness, noise_ppm, outside_ppm, tau, tolerance)
    if min(values) <= 0 or min(noise_floor, outliers) < 0 or iterations < 1:
        raise InputError(
            "lam, smoothness, noise_ppm, outside_ppm, tau, tolerance and iterations must be positive,"
            " noise_floor and outliers not negative"
        )
    if regularisation not in ("tv", "l2", "none"):
        raise InputError(f"there is no regularisation {regularisation!r}", fix="Use tv, l2 or none")
    volumes, valid, noises = _checked(fields, masks, acqs, noise)
    told = conditioning([np.asarray(a.b0_dir) for a in acqs])
    used, warnings = _settled(told, acqs, regularisation)
    stack = Stack.of(volumes, valid, acqs, noises, noise_ppm, noise_floor)
    del volumes, noises
    weight = smoothness if used == "l2" else 0.0
    outside = (stack.typical / outside_ppm) ** 2
    if used == "tv":
        chi = total_variation(
            stack,
            weight=lam * stack.typical**2,
            outside=outside,
            misfit=outliers * stack.typical or np.inf,
            tau=tau,
            tolerance=tolerance,
            iterations=iterations,
            progress=progress,
        )
    elif stack.uniform:
        chi = closed_form(stack, weight)
        progress(1, 1)
    else:
        chi = least_squares(
            stack,
            smoothness=weight,
            outside=outside,
            tolerance=tolerance,
            iterations=iterations,
            progress=progress,
        )
    mask = np.sum(valid, axis=0) > len(valid) / 2
    out = stack.box.restore(chi)
    out *= mask
    return Cosmos(out, mask, told, used, tuple(warnings))


def _checked(
    fields: Sequence[Any], masks: Sequence[Any], acqs: Sequence[Acquisition], noise: Sequence[Any] | None
) -> tuple[list[Volume], list[Mask], list[Volume | None]]:
    """Float32 fields that are 0 outside their masks, masks, and noise of one shape."""
    count = len(fields)
    if count < 2:
        raise InputError(
            f"{count} orientation given; two or more are needed", fix="Use an inversion method for one"
        )
    for what, given in (("masks", masks), ("acquisitions", acqs), ("noise maps", noise)):
        if given is not None and len(given) != count:
            raise InputError(f"{count} fields but {len(given)} {what}", fix="Give one a field")
    shape = np.shape(fields[0])
    if any(not np.allclose(a.voxel_size_mm, acqs[0].voxel_size_mm, rtol=1e-3) for a in acqs):
        raise InputError("the voxel sizes differ", fix="Bring the fields into one frame first")
    valid = [as_mask(m, shape) for m in masks]
    volumes: list[Volume] = []
    noises: list[Volume | None] = []
    for n, m in enumerate(valid):
        volume = as_volume(fields[n], f"field {n + 1}", 3)
        if volume.shape != shape:
            raise InputError(f"field {n + 1} has shape {volume.shape}, the first one {shape}")
        volumes.append(inside(volume, m, f"field {n + 1}"))
        noises.append(
            None if noise is None or noise[n] is None else inside(as_volume(noise[n], "noise", 3), m, "noise")
        )
    return volumes, valid, noises


def _settled(
    told: Conditioning, acqs: Sequence[Acquisition], wanted: Regularisation
) -> tuple[Regularisation, list[str]]:
    """The regularisation to use, and what to warn of."""
    warnings = []
    b = np.array([a.b0_dir for a in acqs])
    apart = np.rad2deg(np.arccos(np.clip(np.abs(b @ b.T), 0, 1)))
    twins = int(np.sum(np.triu(apart < SAME_DEG, 1)))
    if twins:
        warnings.append(
            f"{twins} pair{'s' if twins > 1 else ''} of the {len(b)} scans have B0 within {SAME_DEG:g} degrees of the same"
            " direction: they average noise and add no orientation"
        )
    if told.number <= WELL_CONDITIONED:
        return wanted, warnings
    number = f"{told.number:.3g}" if np.isfinite(told.number) else "infinite"
    used: Regularisation = "l2" if wanted == "none" else wanted
    name = {"tv": "total variation", "l2": "the squared gradient"}[used]
    warnings.append(
        f"the orientations are ill-conditioned (condition number {number}; {100 * told.badly_known:.1f} % of k-space badly"
        f" known): the map is regularised by {name} and rests on it there"
    )
    return used, warnings
