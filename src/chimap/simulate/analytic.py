"""Phantoms whose field has a closed form: a sphere, and an infinitely long cylinder at an angle to B0."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.simulate.phantom import Phantom
from chimap.simulate.tissue import AIR_PPM
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class AnalyticPhantom:
    """A susceptibility map and its exact field.

    Attributes
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm, voxels on the surface by their share of the object.
    field_ppm : (x, y, z) float32
        Closed-form relative field at the voxel centres in ppm, with the Lorentz correction.
    inside : (x, y, z) bool
        Voxels that lie in the object as a whole.
    surface : (x, y, z) bool
        Voxels that the surface cuts, where a point value and a voxel mean differ.
    """

    chi_ppm: Volume
    field_ppm: Volume
    inside: Mask
    surface: Mask


def sphere(
    shape: Sequence[int],
    acq: Acquisition,
    *,
    radius_mm: float,
    chi_ppm: float = 1.0,
    centre_mm: Sequence[float] = (0.0, 0.0, 0.0),
    supersample: int = 5,
) -> AnalyticPhantom:
    r"""A sphere: no field inside, a dipole's outside.

    :math:`B = \chi/3\,(a/r)^3\,(3\cos^2\theta - 1)` outside, 0 inside (Lorentz-corrected, in the limit of small
    :math:`\chi`), theta being the angle to B0. Marques and Bowtell 2005, doi:10.1002/cmr.b.20034.

    Parameters
    ----------
    shape : 3 int
        Grid.
    acq : Acquisition
        Voxel size and B0 direction.
    radius_mm : float
        Radius in mm, > 0.
    chi_ppm : float
        Susceptibility against the surroundings in ppm.
    centre_mm : 3 float
        Where the centre lies from the middle of the grid (index (n - 1) / 2), along the voxel axes.
    supersample : int
        Points per axis that decide on the share of a voxel cut by the surface.
    """
    _check(shape, radius_mm, supersample)
    p = _coordinates(shape, acq, centre_mm)
    r2 = p[0] ** 2 + p[1] ** 2 + p[2] ** 2
    along = sum(x * b for x, b in zip(p, acq.b0_dir, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        field = chi_ppm / 3 * radius_mm**3 * (3 * along**2 - r2) / r2**2.5
    field = np.where(r2 > radius_mm**2, field, 0)
    share = _share(p, acq, radius_mm, supersample, lambda q: np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2))
    return _phantom(share, field, chi_ppm)


def cylinder(
    shape: Sequence[int],
    acq: Acquisition,
    *,
    radius_mm: float,
    axis: Sequence[float],
    chi_ppm: float = 1.0,
    centre_mm: Sequence[float] = (0.0, 0.0, 0.0),
    supersample: int = 5,
) -> AnalyticPhantom:
    r"""An infinitely long cylinder along `axis` (in voxel axes, any length but 0).

    With theta the angle of the axis to B0 and phi the angle in the cross-section from the projection of B0:
    :math:`B = \chi/6\,(3\cos^2\theta - 1)` inside and
    :math:`B = \chi/2\,(a/\rho)^2\,\sin^2\theta\,\cos 2\phi` outside. Marques and Bowtell 2005,
    doi:10.1002/cmr.b.20034. Other parameters as for `sphere`.

    Notes
    -----
    A map on a grid holds only a piece of an infinite cylinder: numerical fields agree far from its ends, or
    exactly in a periodic grid that the axis runs along.
    """
    _check(shape, radius_mm, supersample)
    a = np.asarray(axis, float)
    if a.shape != (3,) or not np.isfinite(a).all() or np.linalg.norm(a) < 1e-9:
        raise InputError(f"cylinder axis {axis} is not a vector of three numbers, not all zero")
    a = a / np.linalg.norm(a)
    b = np.asarray(acq.b0_dir)
    cos = float(a @ b)
    across = b - cos * a  # the part of B0 that is perpendicular to the axis
    sin2 = float(across @ across)
    unit = across / np.sqrt(sin2) if sin2 > 1e-12 else np.zeros(3)

    def from_axis(q: list[np.ndarray]) -> np.ndarray:
        t = q[0] * a[0] + q[1] * a[1] + q[2] * a[2]
        return np.sqrt(np.maximum(q[0] ** 2 + q[1] ** 2 + q[2] ** 2 - t**2, 0))

    p = _coordinates(shape, acq, centre_mm)
    rho2 = from_axis(p) ** 2
    u = sum(x * n for x, n in zip(p, unit, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        outside = chi_ppm / 2 * radius_mm**2 * sin2 * (2 * u**2 - rho2) / rho2**2
    field = np.where(rho2 > radius_mm**2, outside, chi_ppm / 6 * (3 * cos**2 - 1))
    return _phantom(_share(p, acq, radius_mm, supersample, from_axis), field, chi_ppm)


def flask(content: AnalyticPhantom, acq: Acquisition, *, radius_mm: float | None = None) -> Phantom:
    """A spherical flask of water, in air, that holds a sphere or cylinder: something to scan.

    The flask itself makes no field inside (it is a sphere), so that a sphere in its middle keeps its closed form up to
    the shim. Labels: 0 air, 1 the object (more than half of the voxel), 2 water. R1 0.8/s, R2* 20/s.

    Parameters
    ----------
    content : AnalyticPhantom
        What `sphere` or `cylinder` returned.
    acq : Acquisition
        Its voxel size and field strength.
    radius_mm : float, optional
        Default: 0.47 of the shortest side of the grid.
    """
    shape = content.chi_ppm.shape
    side = min(n * d for n, d in zip(shape, acq.voxel_size_mm, strict=True))
    # The share of water in the voxels at the wall keeps the flask round: a staircase of air makes field inside.
    share = sphere(shape, acq, radius_mm=radius_mm or 0.47 * side).chi_ppm
    mask = share > 0.999
    core = mask & (content.chi_ppm / (_extreme(content.chi_ppm) or 1.0) >= 0.5)
    labels = np.where(core, 1, np.where(mask, 2, 0)).astype(np.uint8)
    return Phantom(
        chi_ppm=share * content.chi_ppm + (1 - share) * np.float32(AIR_PPM),
        m0=share,
        r1=np.full(shape, 0.8, np.float32),
        r2star=np.full(shape, 20.0, np.float32),
        labels=labels,
        table={"air": (0, AIR_PPM), "object": (1, _extreme(content.chi_ppm)), "water": (2, 0.0)},
        mask=mask,
        voxel_size_mm=acq.voxel_size_mm,
        b0_t=acq.b0_t,
    )


def _extreme(chi: Volume) -> float:
    return float(max(chi.max(), chi.min(), key=abs))


def _check(shape: Sequence[int], radius_mm: float, supersample: int) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"grid {tuple(shape)} is not three positive sizes")
    if not radius_mm > 0:
        raise InputError(f"radius {radius_mm} mm is not positive")
    if supersample < 1:
        raise InputError(f"{supersample} points per voxel asked for", fix="Give 1 or more")


def _coordinates(shape: Sequence[int], acq: Acquisition, centre_mm: Sequence[float]) -> list[np.ndarray]:
    axes = [
        (np.arange(n) - (n - 1) / 2) * d - c
        for n, d, c in zip(shape, acq.voxel_size_mm, centre_mm, strict=True)
    ]
    return list(np.meshgrid(*axes, indexing="ij"))


def _share(
    p: list[np.ndarray],
    acq: Acquisition,
    radius: float,
    supersample: int,
    distance: Callable[[list[np.ndarray]], np.ndarray],
) -> np.ndarray:
    """Part of each voxel whose `distance` is below `radius`; only voxels near the surface are sampled."""
    r = distance(p)
    half = float(np.linalg.norm(acq.voxel_size_mm)) / 2
    share = (r <= radius).astype(np.float64)
    cut = np.abs(r - radius) <= half
    near = [x[cut] for x in p]
    count = np.zeros(near[0].shape)
    offsets = (np.arange(supersample) + 0.5) / supersample - 0.5
    for shift in itertools.product(*(offsets * d for d in acq.voxel_size_mm)):
        count += distance([x + s for x, s in zip(near, shift, strict=True)]) <= radius
    share[cut] = count / supersample**3
    return share


def _phantom(share: np.ndarray, field: np.ndarray, chi_ppm: float) -> AnalyticPhantom:
    return AnalyticPhantom(
        (share * chi_ppm).astype(np.float32),
        field.astype(np.float32),
        share >= 1,
        (share > 0) & (share < 1),
    )
