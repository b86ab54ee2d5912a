"""Choosing between brain extraction and a threshold by what the volume shows."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.masking import _intensity
from chimap.masking.bet import Coarse, coarse_head, extract
from chimap.masking.threshold import threshold
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

_SMALLEST_HEAD_MM = 90.0
_SMALLEST_BRAIN_ML = 150.0
_LAYERED = 0.3


@method("mask", reference="10.1002/hbm.10062")
def auto(
    magnitude: Volume,
    acq: Acquisition,
    *,
    fraction: float = 0.5,
    level: float = 0.3,
    csf_mm: float = 20.0,
    progress: Progress = silent,
) -> Mask:
    """`bet` for a head, `threshold` for anything else (phantoms, crops, body parts, brains already extracted).

    A head is a volume that spans at least 90 mm in two directions, whose bulkiest part holds at least 150 mL, and
    around it, over at least 30 % of its surface, comes something dark (the skull) and then something bright
    (the scalp). The choice and the figures are in the progress facts: `method`, `layered`, `volume_ml`.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Arbitrary units.
    acq : Acquisition
        Voxel size and echo times.
    fraction : float
        For a head: the threshold of `bet` between local minimum and maximum, 0 to 1; smaller gives a larger brain.
    level : float
        For anything else: the level of `threshold` between noise floor (0) and local signal (1).
    csf_mm : float
        For a head: width in mm of the CSF kept around the brain, as in `bet`; from 20 mm on the whole cranial cavity.

    Returns
    -------
    (x, y, z) bool

    Raises
    ------
    InputError
        As the method that is chosen.

    Notes
    -----
    Brain extraction: Smith 2002, doi:10.1002/hbm.10062.
    """
    volume = _intensity.combined(magnitude)
    head, facts = looks_like_head(volume, acq)

    def said(done: int, total: int, **more: object) -> None:
        progress(done, total, **facts, **more)

    if head is not None:
        return extract(magnitude, acq, volume, head, fraction, csf_mm, said)
    return threshold.function(magnitude, acq, level=level, progress=said)


def looks_like_head(volume: Volume, acq: Acquisition) -> tuple[Coarse | None, dict[str, object]]:
    """The coarse head if `bet` applies to the combined echoes, and why.

    The facts: the method chosen, volume of the bulkiest part, share of it within skull and scalp.
    """
    voxel = acq.voxel_size_mm
    extent = sorted(n * h for n, h in zip(volume.shape, voxel, strict=True))
    facts: dict[str, object] = {"method": "threshold", "layered": 0.0, "volume_ml": 0.0}
    if extent[1] < _SMALLEST_HEAD_MM:
        return None, facts
    head = coarse_head(volume, voxel)
    volume_ml = float(head.unpadded(head.brain).sum() * head.voxel.prod() / 1000)
    facts.update(layered=round(head.layered, 3), volume_ml=round(volume_ml, 1))
    if volume_ml < _SMALLEST_BRAIN_ML or head.layered < _LAYERED:
        return None, facts
    facts["method"] = "bet"
    return head, facts
