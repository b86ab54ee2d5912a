"""iSMV: the background as the fixed point of repeated spherical means."""

from __future__ import annotations

from chimap.acquisition import Acquisition
from chimap.background._smv import spheres
from chimap.errors import InputError
from chimap.numerics.cg import conjugate_gradients
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent


@method("background", reference="10.1002/mrm.24998")
def ismv(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    radius_mm: float = 5.0,
    tolerance: float = 1e-3,
    iterations: int = 80,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    r"""iSMV, the iterative spherical mean value method.

    The background :math:`b` is what no longer changes when every voxel is replaced by the mean over the sphere around
    it, :math:`b = S b`, while the shell along the edge of the mask, where spheres do not fit, keeps
    the total field. No deconvolution is needed: the local field is :math:`f - b`.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm; gives that of the local field, and the `unreliable` voxels.
    radius_mm : float
        Radius of the spheres in mm, at most 0.6 times the depth of the mask, which loses this much at its edge.
    tolerance : float
        Stop when the residual has fallen to this share of that of the first mean.
    iterations : int
        Most iterations; one transform pair each.
    unreliable : float
        Voxels whose noise exceeds this many times the median are first filled harmonically from around them.
        0: never.

    Returns
    -------
    LocalField
        Local field in ppm and the mask where it is valid, eroded by the radius.

    Notes
    -----
    Repeating the mean converges slowly (the slowest pattern across a brain takes some thousand steps). The fixed point
    solves the symmetric system :math:`M (1 - S) M h = M (1 - S) f`, which conjugate gradients do in some tens.
    The local field in the shell counts as background and reaches inwards as far as a harmonic function does.

    Wen, Zhou, Liu, Spincemaille and Wang 2014, doi:10.1002/mrm.24998.
    """
    if iterations < 1:
        raise InputError(f"iSMV needs at least one iteration; got {iterations}")
    s = spheres("iSMV", total_field, mask, acq, noise, radius_mm, unreliable)

    def operator(h: Volume) -> Volume:
        out = s.deviation(h)
        out *= s.inner
        return out

    solution = conjugate_gradients(
        operator, operator(s.field), tolerance=tolerance, iterations=iterations, progress=progress
    )
    return LocalField(
        field_ppm=s.box.restore(solution.x * s.inner),
        noise_ppm=s.noise(noise, s.inner),
        mask=s.box.restore(s.inner),
    )
