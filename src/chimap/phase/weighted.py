"""Signal-weighted combination of the echoes."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.threads import jit, slabs
from chimap.phase._graph import Graph
from chimap.phase.romeo import packed_magnitude
from chimap.registry import get, method
from chimap.results import Field
from chimap.types import Mask, Progress, Volume, silent


@method("field", reference=("10.1002/mrm.28563", "10.1002/mrm.26963"))
def weighted(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    unwrapping: str = "romeo",
    offset: str = "mcpc3ds",
    keep_unwrapped: bool = False,
    progress: Progress | None = None,
) -> Field:
    """Mean of the echoes' fields, weighted by (TE_e |m_e|)^2: the inverse variance of each."""
    report = progress or silent
    graph = Graph.of(mask)
    unwrap = get("unwrap", unwrapping)
    offset_rad = None
    if acq.echoes > 1:
        offset_rad = get("offset", offset)(phase, mask, acq, magnitude=magnitude)
    report(1, 3)
    arrays = {"magnitude": magnitude, "offset": offset_rad}
    unwrapped = unwrap(phase, mask, acq, **{k: v for k, v in arrays.items() if k in unwrap.inputs})
    report(2, 3)
    free = graph.pack(unwrapped)
    if not keep_unwrapped:
        del unwrapped
    if offset_rad is not None:
        free -= graph.pack(offset_rad)
    signal = packed_magnitude(graph, magnitude, acq.echoes)
    te = np.asarray(acq.te_s) * acq.rad_per_ppm(1.0)
    out = np.empty((3, graph.size), np.float32)
    slabs(_fit, graph.size, free, signal, te, out)
    mean, information, misfit = out
    sigma = float(np.sqrt(np.median(misfit) / max(1, acq.echoes - 1) / 0.8))
    chi2 = misfit / sigma**2
    noise = sigma / np.sqrt(information) * np.sqrt(np.maximum(1, chi2 / max(1, acq.echoes - 1)))
    report(3, 3)
    return Field(
        field_ppm=graph.unpack(mean),
        noise_ppm=graph.unpack(noise),
        mask=mask,
        offset_rad=offset_rad,
        residual=graph.unpack(np.sqrt(misfit)),
        unwrapped_rad=unwrapped if keep_unwrapped else None,
    )


@jit("void(int64, int64, f4[:,::1], f4[:,::1], f8[::1], f4[:,::1])")
def _fit(start, stop, phase, magnitude, te, out):
    """Weighted mean field, its information sum (m TE)^2 and misfit sum m^2 r^2."""
    for v in range(start, stop):
        top = 0.0
        bottom = 1e-30
        for e in range(te.size):
            w = float(magnitude[e, v]) ** 2 * te[e]
            top += w * phase[e, v]
            bottom += w * te[e]
        f = top / bottom
        misfit = 0.0
        for e in range(te.size):
            misfit += (magnitude[e, v] * (phase[e, v] - f * te[e])) ** 2
        out[0, v] = f
        out[1, v] = bottom
        out[2, v] = misfit
