"""One Bayesian fit of the sources on both sides of a mask's edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from chimap.numerics.box import Box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import convolve, frequencies, next_fast_shape
from chimap.numerics.sums import dot, weighted_energy
from chimap.types import Mask, Progress, Volume, silent

COARSE_DISTANCE_MM = 2.2
"""Distances from the mask need not be finer than this."""

WHITE = 0.3
"""Share of the amplitude without any correlation between voxels: vessels, edges, single voxels."""


@dataclass
class Prior:
    """What is believed of the susceptibility before the field is seen: :math:`\\chi = B (s x)`, x white of unit SD.

    `sd` is s, the amplitude at every voxel; `field` the half-spectrum of D B.
    """

    sd: Volume
    field: Volume

    @classmethod
    def of(
        cls,
        inside: Mask,
        box: Box,
        voxel: Sequence[float],
        b0_dir: Sequence[float],
        tissue_ppm: float,
        rim_ppm: float,
        source_ppm: float,
        gap_mm: float,
        smooth_mm: float,
    ) -> Prior:
        """Sources of SD `tissue_ppm` inside; outside rising from `rim_ppm` to `source_ppm` over about `gap_mm`."""
        distance = distance_from(inside, box, voxel)
        distance /= np.float32(gap_mm)
        distance **= 4
        np.negative(distance, out=distance)
        np.expm1(distance, out=distance)
        distance *= np.float32(rim_ppm - source_ppm)
        distance += np.float32(rim_ppm)
        distance[inside] = tissue_ppm
        # White noise smoothed by a Gaussian loses (4 pi)^(3/2) sigma^3 / V of its variance: with this factor the
        # SD is that of the smoothed map, whatever the size V of the voxels.
        distance *= np.float32((4 * np.pi) ** 0.75 * smooth_mm**1.5 / np.sqrt(np.prod(voxel)))
        return cls.with_kernels(distance, voxel, b0_dir, smooth_mm)

    @classmethod
    def with_kernels(
        cls, sd: Volume, voxel: Sequence[float], b0_dir: Sequence[float], smooth_mm: float
    ) -> Prior:
        """The prior of amplitude `sd` on its own grid."""
        field = dipole_kernel(sd.shape, voxel, b0_dir)
        field *= smoothing(sd.shape, voxel, smooth_mm)
        return cls(sd, field)


def smoothing(shape: Sequence[int], voxel: Sequence[float], smooth_mm: float) -> Volume:
    """Half-spectrum of B: a Gaussian and a share of the identity."""
    f = frequencies(shape, voxel)
    c = np.float32(-2 * (np.pi * smooth_mm) ** 2)
    smooth = np.exp(c * f[0] ** 2) * np.exp(c * f[1] ** 2) * np.exp(c * f[2] ** 2)
    smooth += np.float32(WHITE)
    return smooth


def even_box(mask: Mask, pad: Sequence[int]) -> Box:
    """A box around the mask whose grid can be halved."""
    tight = Box.around(mask, pad, fast=False)
    half = next_fast_shape([-(-n // 2) for n in tight.shape])
    return Box(tight.full, tight.inner, tuple(2 * n for n in half))


def cell_mean(volume: Volume) -> Volume:
    """Means over cells of 2 x 2 x 2 voxels."""
    x = volume[:, :, 0::2] + volume[:, :, 1::2]
    x = x[:, 0::2] + x[:, 1::2]
    x = x[0::2] + x[1::2]
    x *= np.float32(0.125)
    return x


def spread_out(volume: Volume) -> Volume:
    """The volume on the grid twice as fine, every value eight times."""
    return volume.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)


def distance_from(inside: Mask, box: Box, voxel: Sequence[float]) -> Volume:
    """Distance in mm from the mask, on the periodic grid in whose corner the mask's box lies."""
    # With the empty space shared out to both sides, plain distances are right. Where voxels are small, cells of
    # 2 x 2 x 2 do: exact distances take a dozen volumes of memory.
    cells = max(voxel) <= COARSE_DISTANCE_MM / 2
    known = (cell_mean(inside.astype(np.float32)) > 0) if cells else inside
    step = [2 * v for v in voxel] if cells else voxel
    shift = tuple(
        (n - (s.stop - s.start)) // (4 if cells else 2) for n, s in zip(box.shape, box.inner, strict=True)
    )
    far = distance_transform_edt(~np.roll(known, shift, (0, 1, 2)), sampling=step).astype(np.float32)
    far = np.roll(far, tuple(-n for n in shift), (0, 1, 2))
    return spread_out(far) if cells else far


@dataclass
class Fit:
    """Conjugate gradients for :math:`\\min_{x, c} \\|W (f - c - D B s x)\\|^2 + \\|x\\|^2`, to be continued with other weights.

    `residual` is f - c - D B s x at every moment, and `weight` is W squared.
    """

    residual: Volume
    weight: Volume
    prior: Prior
    x: Volume
    change: float = np.inf

    @classmethod
    def start(cls, field: Volume, weight: Volume, prior: Prior) -> Fit:
        """From no sources. `field` is changed."""
        fit = cls(field, weight, prior, np.zeros_like(field))
        fit.centre(field)
        return fit

    def coarse(
        self, voxel: Sequence[float], b0_dir: Sequence[float], smooth_mm: float, iterations: int
    ) -> Volume:
        """A guess of x from the same problem on the grid of half the resolution, an eighth of the work."""
        weight = cell_mean(self.weight)
        field = cell_mean(self.residual * self.weight)
        np.divide(field, weight, out=field, where=weight > 0)
        # White noise: the mean of eight voxels has an eighth of the variance.
        sd = np.sqrt(cell_mean(self.prior.sd**2) / np.float32(8))
        prior = Prior.with_kernels(sd, [2 * v for v in voxel], b0_dir, smooth_mm)
        fit = Fit.start(field, weight, prior)
        fit.run(iterations, 0.0)
        fit.x *= np.float32(8**-0.5)
        return spread_out(fit.x)

    def field_of(self, x: Volume) -> Volume:
        """The field that x makes, less its mean."""
        field = convolve(x * self.prior.sd, self.prior.field)
        self.centre(field)
        return field

    def begin(self, x: Volume) -> None:
        """Set the first guess."""
        self.x = x
        self.residual -= self.field_of(x)

    def centre(self, field: Volume) -> None:
        """Take the weighted mean off, in place: the constant c is fitted without prior."""
        total = sum(float(w.sum(dtype=np.float64)) for w in self.weight)
        field -= np.float32(dot(field, self.weight) / total)

    def run(self, iterations: int, tolerance: float, progress: Progress = silent) -> int:
        """At most so many iterations, fewer once one changes the field by less than `tolerance` SD; how many."""
        self.centre(self.residual)  # the weights may be new
        known = int(np.count_nonzero(self.weight))
        g = self._gradient()
        p = g
        norm = dot(g, g)
        del g
        for n in range(iterations):
            if norm == 0:
                return n
            field = self.field_of(p)
            energy = weighted_energy(field, self.weight)
            step = norm / (energy + dot(p, p))
            self.change = step * float(np.sqrt(energy / known))
            field *= np.float32(step)
            self.residual -= field
            np.multiply(p, np.float32(step), out=field)
            self.x += field
            del field
            progress(n + 1, iterations, change=self.change, converged=self.change < tolerance)
            if self.change < tolerance:
                return n + 1
            if n < iterations - 1:
                g = self._gradient()
                norm, last = dot(g, g), norm
                p *= np.float32(norm / last)
                p += g
                del g
        return iterations

    def _gradient(self) -> Volume:
        g = convolve(self.residual * self.weight, self.prior.field)
        g *= self.prior.sd
        g -= self.x
        return g


def robust_sd(values: Volume) -> np.float32:
    """Standard deviation from the median distance to the median."""
    return np.float32(1.4826 * np.median(np.abs(values - np.median(values))))
