"""Solid shapes as signed distances, smooth random fields, and a coarse model grid that finer grids are read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from chimap.numerics.threads import jit
from chimap.types import Volume

Points = Sequence[np.ndarray]
"""Coordinates in mm: three arrays that broadcast, x to the right, y to the front, z up."""


def ellipsoid(p: Points, centre: Sequence[float], axes: Sequence[float], turn_deg: float = 0.0) -> np.ndarray:
    """Distance in mm to an ellipsoid (negative inside; exact to first order near its surface).

    `axes` are semi-axes in mm, `turn_deg` turns it about z (from x towards y).
    """
    x, y, z = (np.asarray(c, np.float32) - np.float32(o) for c, o in zip(p, centre, strict=True))
    if turn_deg:
        c, s = np.float32(np.cos(np.deg2rad(turn_deg))), np.float32(np.sin(np.deg2rad(turn_deg)))
        x, y = c * x + s * y, c * y - s * x
    a = [np.float32(1 / v) for v in axes]
    x, y, z = x * a[0], y * a[1], z * a[2]
    k1 = np.sqrt(x * x + y * y + z * z)
    k2 = np.sqrt((x * a[0]) ** 2 + (y * a[1]) ** 2 + (z * a[2]) ** 2)
    # At the centre both lengths vanish; there the distance is the shortest semi-axis.
    return np.where(k2 > 1e-9, k1 * (k1 - 1) / np.maximum(k2, np.float32(1e-9)), np.float32(-min(axes)))


def capsule(
    p: Points, a: Sequence[float], b: Sequence[float], ra: float, rb: float | None = None
) -> np.ndarray:
    """Distance in mm to a rod with round ends from `a` to `b` whose radius goes from `ra` to `rb`."""
    rb = ra if rb is None else rb
    axis = [v - u for u, v in zip(a, b, strict=True)]
    length2 = sum(v * v for v in axis)
    q = [np.asarray(c, np.float32) - np.float32(o) for c, o in zip(p, a, strict=True)]
    t = sum(c * np.float32(v / length2) for c, v in zip(q, axis, strict=True))
    t = np.clip(t, 0, 1)
    d2 = sum((c - t * np.float32(v)) ** 2 for c, v in zip(q, axis, strict=True))
    return np.sqrt(d2) - (np.float32(ra) + t * np.float32(rb - ra))


def chain(p: Points, nodes: Sequence[Sequence[float]]) -> np.ndarray:
    """Distance in mm to a bent rod through nodes (x, y, z, radius)."""
    out = None
    for a, b in zip(nodes[:-1], nodes[1:], strict=True):
        d = capsule(p, a[:3], b[:3], a[3], b[3])
        out = d if out is None else np.minimum(out, d)
    assert out is not None
    return out


def union(a: np.ndarray, b: np.ndarray, k: float = 0.0) -> np.ndarray:
    """Union of two shapes, their seam filled over about `k` mm."""
    if k <= 0:
        return np.minimum(a, b)
    h = np.maximum(k - np.abs(a - b), 0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k / 4)


def cut(a: np.ndarray, b: np.ndarray, k: float = 0.0) -> np.ndarray:
    """Intersection of two shapes, its edge rounded over about `k` mm."""
    return -union(-a, -b, k)


@jit("void(float32[:,:,::1], float32[::1], float32[::1], float32[::1], float32[::1])")
def _trilinear(f, u, v, w, out):  # type: ignore[no-untyped-def]
    nx, ny, nz = f.shape
    for n in range(out.shape[0]):
        x = min(max(u[n], np.float32(0)), np.float32(nx - 1))
        y = min(max(v[n], np.float32(0)), np.float32(ny - 1))
        z = min(max(w[n], np.float32(0)), np.float32(nz - 1))
        i = min(int(x), nx - 2)
        j = min(int(y), ny - 2)
        k = min(int(z), nz - 2)
        x -= np.float32(i)
        y -= np.float32(j)
        z -= np.float32(k)
        a = f[i, j, k] + z * (f[i, j, k + 1] - f[i, j, k])
        b = f[i, j + 1, k] + z * (f[i, j + 1, k + 1] - f[i, j + 1, k])
        c = f[i + 1, j, k] + z * (f[i + 1, j, k + 1] - f[i + 1, j, k])
        d = f[i + 1, j + 1, k] + z * (f[i + 1, j + 1, k + 1] - f[i + 1, j + 1, k])
        a += y * (b - a)
        c += y * (d - c)
        out[n] = a + x * (c - a)


@dataclass(frozen=True)
class ModelGrid:
    """A regular grid in mm on which smooth fields are made once, for whatever image grid reads them.

    The same model thus appears at any voxel size.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points on each axis."""
        n = [int(np.ceil((u - l) / self.spacing)) + 1 for l, u in zip(self.lower, self.upper, strict=True)]
        return n[0], n[1], n[2]

    def points(self) -> list[np.ndarray]:
        """Open coordinates in mm."""
        axes = [
            np.float32(l) + np.float32(self.spacing) * np.arange(n) for l, n in zip(self.lower, self.shape)
        ]
        return list(np.meshgrid(*(a.astype(np.float32) for a in axes), indexing="ij", sparse=True))

    def noise(self, wavelength_mm: float, rng: np.random.Generator, band: float = 0.3) -> Volume:
        """A random field of mean 0 and SD 1 whose details are about `wavelength_mm` long.

        `band` is the relative width of the ring in frequency space: small values give stripes and labyrinths of
        one width, 1 and more gives clouds.
        """
        white = rng.standard_normal(self.shape, dtype=np.float32)
        f = [
            (scipy.fft.rfftfreq if i == 2 else scipy.fft.fftfreq)(n, self.spacing).astype(np.float32)
            for i, n in enumerate(self.shape)
        ]
        k = np.sqrt(f[0][:, None, None] ** 2 + f[1][:, None] ** 2 + f[2] ** 2)
        ring = np.exp(-0.5 * ((k * wavelength_mm - 1) / band) ** 2).astype(np.float32)
        # One worker: the same bits whatever the number of threads.
        out = scipy.fft.irfftn(scipy.fft.rfftn(white) * ring, s=self.shape)
        out -= out.mean()
        return (out / out.std()).astype(np.float32)

    def at(self, field: Volume, p: Points) -> np.ndarray:
        """A model field at scattered points in mm, linearly interpolated."""
        u, v, w = (
            (np.ascontiguousarray(c, np.float32) - np.float32(l)) / np.float32(self.spacing)
            for c, l in zip(p, self.lower, strict=True)
        )
        out = np.empty(u.shape, np.float32)
        _trilinear(field, u, v, w, out)
        return out

    def on_axes(self, field: Volume, axes: Sequence[np.ndarray]) -> Volume:
        """A model field on the regular grid spanned by three axes in mm, linearly interpolated."""
        out = field
        # The middle axis last: there whole rows are copied, which is the fast way to make the largest array.
        for axis in (0, 2, 1):
            n = self.shape[axis]
            u = np.clip((axes[axis] - self.lower[axis]) / self.spacing, 0, n - 1)
            i = np.minimum(u.astype(int), n - 2)
            w = (u - i).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            lower = np.take(out, i, axis=axis)
            upper = np.take(out, i + 1, axis=axis)
            upper -= lower
            upper *= w
            lower += upper
            out = lower
        return out

    def gradient(self, field: Volume) -> list[Volume]:
        """Derivatives of a model field along x, y, z, per mm."""
        return [np.asarray(g, np.float32) for g in np.gradient(field, self.spacing)]
