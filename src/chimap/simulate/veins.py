"""Straight veins of known angle, diameter and oxygen saturation in a piece of tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chimap.errors import InputError
from chimap.numerics.blood import HAEMATOCRIT, blood_chi
from chimap.simulate.phantom import Phantom
from chimap.simulate.shapes import ellipsoid
from chimap.simulate.tissue import AIR_PPM, TISSUES

_PARTS = 5
_FORM = (1.0, 0.97, 0.86)


@dataclass(frozen=True)
class Vein:
    """A straight tube with flat ends, filled with venous blood.

    Attributes
    ----------
    centre_mm : 3 float
        Its middle in mm along the axes of the grid, from the grid's centre.
    axis : 3 float
        Direction along the voxel axes, of any length but 0.
    diameter_mm, length_mm : float
    svo2 : float
        Saturation with oxygen, 0 to 1.
    haematocrit : float
        Of the blood.
    """

    centre_mm: tuple[float, float, float]
    axis: tuple[float, float, float]
    diameter_mm: float
    length_mm: float
    svo2: float
    haematocrit: float = HAEMATOCRIT

    @property
    def chi_ppm(self) -> float:
        """Susceptibility in ppm against the tissue around, which is as fully oxygenated blood."""
        return blood_chi(self.svo2, self.haematocrit)


def vein_grid(
    angles_deg: Sequence[float],
    diameters_mm: Sequence[float],
    svo2: Sequence[float],
    *,
    b0_dir: Sequence[float] = (0.0, 0.0, 1.0),
    spacing_mm: float = 27.0,
    length_mm: float = 24.0,
    seed: int = 0,
) -> list[Vein]:
    """Veins one beside the other, in rows of three, each at an angle to B0.

    Parameters
    ----------
    angles_deg : sequence of float
        Angle of each vein to B0, 0 to 90.
    diameters_mm, svo2 : sequence of float
        Of each vein; a single value serves for all.
    b0_dir : 3 float
        Direction of B0 in voxel axes.
    spacing_mm, length_mm : float
        Between neighbours' middles, and of each vein; the spacing must be the larger.
    seed : int
        Veins lie up to half a mm beside the middles of their places, so that voxels cut them in all ways, and are turned about B0.

    Returns
    -------
    list of Vein
    """
    rng = np.random.default_rng([seed, 21])
    n = len(angles_deg)
    diameters = list(diameters_mm) * (n if len(diameters_mm) == 1 else 1)
    saturations = list(svo2) * (n if len(svo2) == 1 else 1)
    if not len(diameters) == len(saturations) == n or not length_mm < spacing_mm:
        raise InputError(f"{n} angles, {len(diameters)} diameters and {len(saturations)} saturations do not make veins",
                         fix="Give one of each a vein, and a spacing above the length")  # fmt: skip
    b = np.asarray(b0_dir, float) / np.linalg.norm(b0_dir)
    side = np.cross(b, (0.0, 1.0, 0.0) if abs(b[1]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    other = np.cross(b, side)
    out = []
    for k, (angle, d, y) in enumerate(zip(angles_deg, diameters, saturations, strict=True)):
        columns = min(3, n)
        rows = -(-n // columns)
        place = (k % columns - (columns - 1) / 2, k // columns - (rows - 1) / 2)
        turn, tilt = rng.uniform(0, 2 * np.pi), np.deg2rad(angle)
        axis = np.cos(tilt) * b + np.sin(tilt) * (np.cos(turn) * side + np.sin(turn) * other)
        centre = np.array([place[0], place[1], 0.0]) * spacing_mm + rng.uniform(-0.5, 0.5, 3)
        out.append(
            Vein(tuple(centre.tolist()), tuple(axis.tolist()), float(d), length_mm, float(y))  # type: ignore[arg-type]
        )
    return out


def vein_phantom(
    veins: Sequence[Vein],
    *,
    radius_mm: float,
    voxel_size_mm: Sequence[float] = (0.5, 0.5, 0.5),
    b0_t: float = 3.0,
    texture_ppm: float = 0.01,
    seed: int = 0,
) -> Phantom:
    """An ellipsoid of grey matter in air with veins in it.

    A voxel that a vein's wall or the outer surface cuts gets the mean of both materials by their share.

    Parameters
    ----------
    veins : sequence of Vein
        Vein n has label n and the name ``vein n``; tissue has the label behind the last vein's.
    radius_mm : float
        Semi-axis along x; along y and z 0.97 and 0.86 of it (a ball would focus the ringing of its wall in its middle). The grid is 4 mm
        wider on each side.
    voxel_size_mm : 3 float
        Of the phantom, finer than the image's.
    b0_t : float
        Field strength for the relaxation rates, which are those of `chimap.simulate.tissue.TISSUES`. R2* of blood follows
        its deoxygenation: the table's value at a saturation of 0.6, less with more oxygen (square law).
    texture_ppm : float
        Standard deviation of the tissue's smooth susceptibility (details of about 5 mm).
    seed : int
        Of the texture.

    Returns
    -------
    Phantom

    Raises
    ------
    InputError
        If a vein does not lie in it.
    """
    voxel = np.asarray(voxel_size_mm, float)
    size = radius_mm * np.array(_FORM)
    shape = tuple(int(2 * np.ceil((r + 4) / v)) for r, v in zip(size, voxel, strict=True))
    axes = [(np.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel, strict=True)]
    p = np.meshgrid(*axes, indexing="ij", sparse=True)
    depth = -ellipsoid(p, (0.0, 0.0, 0.0), size.tolist()) / float(np.prod(voxel) ** (1 / 3))
    ball = np.clip(0.5 + depth, 0, 1).astype(np.float32)
    tissue, blood = TISSUES["grey matter"], TISSUES["veins"]
    growth = b0_t / 3.0
    rng = np.random.default_rng([seed, 22])
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 2.0 / voxel)
    chi = texture * np.float32(texture_ppm / max(float(texture.std()), 1e-9))
    r1 = np.full(shape, tissue.r1 * growth ** (-1 / 3), np.float32)
    r2star = np.full(shape, tissue.r2 + tissue.r2_field * growth, np.float32)
    m0 = np.full(shape, tissue.m0, np.float32)
    mask = ball > 0.999
    labels = np.where(mask, len(veins) + 1, 0).astype(np.uint8)
    table = {"air": (0, AIR_PPM)}
    for n, vein in enumerate(veins, 1):
        box, share = _share(vein, axes, voxel)
        if not mask[box][share > 0].all():
            raise InputError(f"vein {n} at {vein.centre_mm} mm is not wholly in tissue of {radius_mm:g} mm")
        rate = blood.r2 + blood.r2_field * growth * ((1 - vein.svo2) / 0.4) ** 2
        for volume, value in (
            (chi, vein.chi_ppm),
            (r1, blood.r1 * growth ** (-1 / 3)),
            (r2star, rate),
            (m0, blood.m0),
        ):
            part = volume[box]
            part += share * (np.float32(value) - part)
        labels[box][share >= 0.5] = n
        table[f"vein {n}"] = (n, vein.chi_ppm)
    table["tissue"] = (len(veins) + 1, 0.0)
    chi = ball * chi + (1 - ball) * np.float32(AIR_PPM)
    return Phantom(
        chi, m0 * ball, r1, r2star, labels, table, mask, (float(voxel[0]), float(voxel[1]), float(voxel[2])), b0_t
    )  # fmt: skip


def _share(
    vein: Vein, axes: Sequence[np.ndarray], voxel: np.ndarray
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The part of each voxel that a vein fills, in the box around it."""
    axis = np.asarray(vein.axis, float)
    axis = axis / np.linalg.norm(axis)
    r, half = vein.diameter_mm / 2, vein.length_mm / 2
    reach = half * np.abs(axis) + r * np.sqrt(np.maximum(1 - axis**2, 0)) + voxel
    box = []
    steps = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    for a, c, w in zip(axes, vein.centre_mm, reach, strict=True):
        low, high = np.searchsorted(a, (c - w, c + w))
        box.append(slice(int(low), int(high)))
    # Only voxels near the wall or the ends need the finer points.
    q = np.meshgrid(*(a[b] - c for a, b, c in zip(axes, box, vein.centre_mm, strict=True)), indexing="ij")
    inside, cut = _side(q, axis, r, half, float(np.linalg.norm(voxel)) / 2)
    share = inside.astype(np.float32)
    count = np.zeros(int(cut.sum()))
    near = [x[cut] for x in q]
    for i in steps * voxel[0]:
        for j in steps * voxel[1]:
            for k in steps * voxel[2]:
                count += _side([near[0] + i, near[1] + j, near[2] + k], axis, r, half, 0.0)[0]
    share[cut] = count / _PARTS**3
    return (box[0], box[1], box[2]), share


def _side(
    q: Sequence[np.ndarray], axis: np.ndarray, radius: float, half: float, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether points lie in the tube, and whether they lie within a margin of its surface."""
    t = q[0] * axis[0] + q[1] * axis[1] + q[2] * axis[2]
    rho = np.sqrt(np.maximum(q[0] ** 2 + q[1] ** 2 + q[2] ** 2 - t * t, 0))
    depth = np.minimum(radius - rho, half - np.abs(t))
    return depth >= 0, np.abs(depth) <= margin
