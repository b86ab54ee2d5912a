"""Quality-guided path following, through scikit-image."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.phase._echoes import components, settle, unwrap_by
from chimap.phase._graph import TWO_PI, Graph
from chimap.registry import method
from chimap.types import Mask, Progress, Volume


@method("unwrap", reference="10.1364/AO.41.007437")
def quality_guided(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    template_echo: int = 1,
    individual: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Volume:
    """Quality-guided: neighbours joined in the order of their reliability, by scikit-image's `unwrap_phase`.

    The reliability of a voxel is the inverse of the second differences of the phase over its 26 neighbours, that of an
    edge the sum of its two voxels'; groups of voxels are joined along the most reliable edges first. Voxels without all
    26 neighbours in the mask come last, in random order. It knows neither magnitude nor other echoes; here the
    echoes after the template follow from it in time, as ROMEO's do, and separate parts of the mask are brought to
    the multiple of 2 pi that fits their surroundings.

    Needs scikit-image (`pip install chimap[skimage]`).

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap; it may have several parts.
    acq : Acquisition
        Echo times.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: weights the echoes (not the path).
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0, for the echoes' consistency in time. Without it, it is estimated by MCPC-3D-S.
    template_echo : int
        Number of the echo unwrapped in space, from 1; the others follow by their echo times.
    individual : bool
        Unwrap each echo in space by itself, without use of the echo times.
    seed : int
        Of the random order of the voxels at the border of the mask. The same seed gives the same result.
    progress : callable, optional
        Called after each echo.

    Returns
    -------
    (x, y, z, echo) float32
        Unwrapped phase in rad, 0 outside the mask.

    Raises
    ------
    InputError
        If scikit-image is not installed, or if there is no such template echo.

    References
    ----------
    Herraez et al., Appl Opt 2002, doi 10.1364/AO.41.007437; in three dimensions Abdul-Rahman et al., Appl Opt 2007.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}", fix="Give 0 or more")
    try:
        from skimage.restoration import unwrap_phase
    except ImportError:
        raise InputError(
            "method quality_guided needs scikit-image, which is not installed",
            fix="Install it with: pip install chimap[skimage]",
        ) from None

    def guided(graph: Graph, phases: np.ndarray, _: np.ndarray, echo: int) -> np.ndarray:
        p = phases[echo]
        wrapped = p - np.float32(TWO_PI) * np.rint(p / np.float32(TWO_PI))
        # A masked border: the library would treat an axis of length 1 as if it were not there.
        image = np.ma.masked_all([n + 1 for n in graph.inside.shape], np.float64)
        image.data[...] = 0
        image.mask[:-1, :-1, :-1] = ~graph.inside
        image.data[:-1, :-1, :-1][graph.inside] = wrapped
        out = np.ma.getdata(unwrap_phase(image, rng=seed))[:-1, :-1, :-1][graph.inside]
        turns = np.rint((out - p) / TWO_PI).astype(np.int32)
        return settle(graph, p, turns, *components(graph))

    return unwrap_by(guided, phase, mask, acq, magnitude, offset, template_echo, individual, progress)
