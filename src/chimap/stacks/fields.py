"""Field maps of thick-slice stacks joined into one isotropic map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimap.errors import InputError
from chimap.stacks._model import model
from chimap.stacks._solve import solve
from chimap.stacks.scan import Grid, Motion
from chimap.types import Progress, Volume, silent


def join_fields(
    fields: Sequence[Volume],
    noises: Sequence[Volume],
    affines: Sequence[np.ndarray],
    shape: Sequence[int],
    affine: np.ndarray,
    *,
    motion: Sequence[Motion] | None = None,
    profiles: Sequence[Sequence[str]] | None = None,
    regularisation: float = 0.3,
    rounds: int = 4,
    iterations: int = 12,
    progress: Progress = silent,
) -> Volume:
    """Join the fields of several stacks, in ppm and free of 2 pi steps, into one isotropic field by the model of `join_stacks`.

    For stacks whose phases cannot be joined, after the offset and the background of each were removed. The field of a
    thick voxel is taken for the mean of the field in it, which holds where the signal in it is even and not dephased: where there is a
    choice, join the complex images.

    Parameters
    ----------
    fields, noises : sequences of (x, y, z) float32
        Field and its standard deviation in ppm of each stack; 0 or less where nothing is known.
    affines : sequence of (4, 4)
        Of the stacks.
    shape, affine
        The new grid, of cubic voxels.
    motion : sequence of Motion, optional
        Where the head lay in each stack (`Joined.motion`); by default the affines are trusted.
    profiles : sequence of 3 str, optional
        Profiles of the voxels as in `Stack`; "kspace" along all axes by default.
    regularisation : float
        Weight of the Huber total variation in standard deviations of the noise.
    rounds, iterations : int
        As in `join_stacks`.
    progress : callable

    Returns
    -------
    (x, y, z) float32
        Field in ppm on the new grid.

    Raises
    ------
    InputError
        If the lists differ in length, the voxels are not cubic, or no noise is known.

    Notes
    -----
    Gholipour, Estroff and Warfield 2010, doi:10.1109/TMI.2010.2051680.
    """
    n = len(fields)
    if not n == len(noises) == len(affines) or n < 1:
        raise InputError(f"{n} fields, {len(noises)} noise maps and {len(affines)} affines are given")
    size = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    if np.ptp(size) > 1e-3 * size[0]:
        raise InputError(f"the new voxels of {size} mm are not cubic", fix="Give an affine of cubic voxels")
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), np.asarray(affine, float))
    motion = motion or [Motion(centre_mm=(0.0, 0.0, 0.0))] * n
    profiles = profiles or [("kspace",) * 3] * n
    known = [np.asarray(s) > 0 for s in noises]
    if not all(k.any() for k in known):
        raise InputError(
            "a noise map has no value above 0", fix="Give the standard deviation of each field in ppm"
        )
    models = [model(f.shape, a, p, grid, m) for f, a, p, m in zip(fields, affines, profiles, motion)]
    typical = [float(np.median(s[k])) for s, k in zip(noises, known)]
    fraction = [float(np.prod(size) / abs(np.linalg.det(np.asarray(a)[:3, :3]))) for a in affines]
    level = float(np.sum([q / t**2 for q, t in zip(fraction, typical)])) ** -0.5
    shares: list[Volume] = []
    for s, k in zip(noises, known):
        shares.append(np.where(k, (level / np.where(k, s, 1)) ** 2, 0).astype(np.float32))
    data = [np.where(k, f, 0).astype(np.complex64) for f, k in zip(fields, known)]
    start = sum((m.lift(y) for m, y in zip(models, data)), np.zeros(grid.shape, np.complex64)) / np.float32(n)
    found = solve(
        models, data, [None] * n, shares, start, lam=regularisation * level, delta=0.5 * level, rounds=rounds,
        iterations=iterations, tolerance=1e-3, told=lambda done: progress(done, rounds, stage="join"),
    )  # fmt: skip
    return np.ascontiguousarray(found.real)
