"""Temporal unwrapping: voxel by voxel along the echoes, for short echo spacing."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.phase._echoes import unwrap_by
from chimap.phase._graph import TWO_PI, Graph
from chimap.phase.romeo import unwrap_packed
from chimap.registry import method
from chimap.types import Mask, Progress, Volume


@method("unwrap", reference="10.1002/nbm.3601")
def temporal(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    offset: Volume | None = None,
    spatial: bool = True,
    progress: Progress | None = None,
) -> Volume:
    """Temporal: each voxel by itself along its echoes, from the shortest time between two of them.

    The phase that evolves in the shortest interval dTE (between neighbouring echoes, or from the excitation to
    the first echo, its offset removed) is taken within pi of its mean over the mask. It predicts the phase of the
    later of the two echoes, and the weighted slope of the echoes done so far predicts each next one; every echo gets
    the multiple of 2 pi nearest to its prediction.

    The limit: a voxel is right if its field is within 1 / (2 dTE) of the mean (in Hz: 62 Hz for dTE = 8 ms; 0.5 ppm at 3 T
    needs dTE < 8 ms, at 7 T < 3.4 ms) and the noise of the shortest interval, which grows by TE / dTE in the prediction,
    stays below pi. With `spatial` the shortest interval is unwrapped in space (as ROMEO does), but only if neighbours in the mask
    differ by more than pi, so that the first part of the limit falls and the second remains.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Phase in rad, wrapped.
    mask : (x, y, z) bool
        Where to unwrap.
    acq : Acquisition
        Echo times.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: weights the echoes.
    offset : (x, y, z) float32, optional
        Phase in rad at TE = 0. Without it, it is estimated by MCPC-3D-S where there are two echoes or more.
    spatial : bool
        Unwrap the shortest interval in space where it needs it; otherwise strictly voxel by voxel.
    progress : callable, optional
        Called at the end.

    Returns
    -------
    (x, y, z, echo) float32
        Unwrapped phase in rad, 0 outside the mask. A single echo has only its own interval from TE = 0.

    References
    ----------
    Robinson et al., NMR Biomed 2017, doi 10.1002/nbm.3601.
    """
    te = (0.0, *acq.te_s)
    # Rounded to 0.1 us: of equal intervals the first has most signal.
    spacing = [round(b - a, 7) for a, b in zip(te, te[1:])]
    last = spacing.index(min(spacing))

    def evolution(graph: Graph, phases: np.ndarray, weights: np.ndarray, echo: int) -> np.ndarray:
        moved = phases[echo] - phases[echo - 1] if echo else phases[0]
        weight = np.minimum(weights[echo], weights[echo - 1]) if echo else weights[0]
        mean = np.float32(np.angle(np.sum(np.exp(1j * moved), dtype=np.complex128)))
        moved = moved - np.float32(TWO_PI) * np.rint((moved - mean) / np.float32(TWO_PI))
        if spatial and wraps(graph, moved):
            moved += np.float32(TWO_PI) * unwrap_packed(graph, moved, weight)
        predicted = moved * np.float32(acq.te_s[echo] / (te[echo + 1] - te[echo]))
        return np.rint((predicted - phases[echo]) / TWO_PI).astype(np.int32)

    return unwrap_by(evolution, phase, mask, acq, magnitude, offset, last + 1, False, progress)


def wraps(graph: Graph, phase: np.ndarray) -> bool:
    """Whether any two neighbours differ by more than pi."""
    for a in range(3):
        v = np.flatnonzero(graph.after[:, a] >= 0)
        if (np.abs(phase[graph.after[v, a]] - phase[v]) > np.pi).any():
            return True
    return False
