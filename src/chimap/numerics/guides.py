"""Where edges are expected and which way they run: directions from images of the same head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from chimap.numerics.echoes import root_sum_of_squares
from chimap.numerics.threads import jit, slabs
from chimap.types import Mask, Volume

LEAST = 0.05
"""What is left of the penalty across the clearest edge of a guide."""

BLUR = 0.5
"""Standard deviation in voxels of the smoothing of the guides: differences of neighbours are mostly noise without it."""

TURNS = 6
"""Power iterations for the direction that fits all guides best."""


def edge_directions(
    images: Sequence[Volume], mask: Mask, voxel_size: Sequence[float], contrast: float
) -> np.ndarray:
    r"""Vectors ``v`` along the common gradient of the images, for `chimap.numerics.directional`.

    Each image's gradient is divided by `contrast` times its median norm over the mask. With :math:`\lambda` the largest
    eigenvalue of the sum of their outer products, ``v`` is its eigenvector with :math:`1 - |v|^2 = 1 / (1 + \lambda)`: what
    is left of the penalty across an edge, at least `LEAST`.

    Parameters
    ----------
    images : sequence of (x, y, z) float32
        Guides; only their edges matter, neither sign nor scale.
    mask : (x, y, z) bool
        Gradients to voxels outside it do not count.
    voxel_size : 3 float
        In mm.
    contrast : float
        Relative to an image's median gradient: below it edges are taken for noise.

    Returns
    -------
    (3, x, y, z) float32
    """
    inverse_h = (1 / np.asarray(voxel_size)).astype(np.float32)
    out = np.zeros((3, *mask.shape), np.float32)
    share = gaussian_filter(mask.astype(np.float32), BLUR)
    share[~mask] = 1
    stack = [gaussian_filter(np.where(mask, image, np.float32(0)), BLUR) / share for image in images]
    del share
    scales = []
    for image in stack:
        norm = np.zeros(mask.shape, np.float32)
        slabs(_norm, mask.shape[0], image, mask, inverse_h, norm)
        typical = float(np.median(norm[mask]))
        scales.append(1 / (contrast * typical) if typical > 0 else 0.0)
    # Two guides are what there is: the kernel takes exactly two, the second may be silent.
    first, second = stack[0], stack[-1]
    weights = np.array([scales[0], scales[-1] if len(stack) > 1 else 0.0], np.float32)
    slabs(_directions, mask.shape[0], first, second, mask, inverse_h, weights, out)
    return out


def log_magnitude(magnitude: Volume, mask: Mask) -> Volume | None:
    """Logarithm of a magnitude from a thousandth of its largest value in the mask on; None where it is 0 throughout.

    Echoes (x, y, z, echo) are combined as the root of their sum of squares.
    """
    magnitude = root_sum_of_squares(magnitude)
    largest = float(magnitude[mask].max())
    return np.log(np.maximum(magnitude, np.float32(1e-3 * largest))) if largest > 0 else None


def standardised(image: Volume, mask: Mask, least: float = 0.0) -> Volume:
    """An image with mean 0 and standard deviation 1 over the mask, within +-6, 0 outside and where it is constant.

    A smaller deviation than `least` counts as that.
    """
    inside = image[mask]
    spread = max(float(inside.std(dtype=np.float64)), least)
    if spread == 0:
        return np.zeros_like(image)
    out = (image - np.float32(inside.mean(dtype=np.float64))) / np.float32(spread)
    return np.where(mask, np.clip(out, -6, 6), np.float32(0))


@jit("UniTuple(f4, 3)(f4[:,:,::1], b1[:,:,::1], f4[::1], i8, i8, i8)")
def _gradient(x, mask, ih, i, j, k):
    g0 = g1 = g2 = np.float32(0)
    c = x[i, j, k]
    if i + 1 < x.shape[0] and mask[i + 1, j, k]:
        g0 = (x[i + 1, j, k] - c) * ih[0]
    if j + 1 < x.shape[1] and mask[i, j + 1, k]:
        g1 = (x[i, j + 1, k] - c) * ih[1]
    if k + 1 < x.shape[2] and mask[i, j, k + 1]:
        g2 = (x[i, j, k + 1] - c) * ih[2]
    return g0, g1, g2


@jit("void(i8, i8, f4[:,:,::1], b1[:,:,::1], f4[::1], f4[:,:,::1])")
def _norm(start, stop, x, mask, ih, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                if mask[i, j, k]:
                    g0, g1, g2 = _gradient(x, mask, ih, i, j, k)
                    out[i, j, k] = np.sqrt(g0 * g0 + g1 * g1 + g2 * g2)


@jit("void(i8, i8, f4[:,:,::1], f4[:,:,::1], b1[:,:,::1], f4[::1], f4[::1], f4[:,:,:,::1])")
def _directions(start, stop, x, y, mask, ih, scale, out):
    one = np.float32(1)
    for i in range(start, stop):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                if not mask[i, j, k]:
                    continue
                a0, a1, a2 = _gradient(x, mask, ih, i, j, k)
                b0, b1, b2 = _gradient(y, mask, ih, i, j, k)
                a0, a1, a2 = a0 * scale[0], a1 * scale[0], a2 * scale[0]
                b0, b1, b2 = b0 * scale[1], b1 * scale[1], b2 * scale[1]
                na, nb = a0 * a0 + a1 * a1 + a2 * a2, b0 * b0 + b1 * b1 + b2 * b2
                if na + nb <= np.float32(1e-12):
                    continue
                v0, v1, v2 = (a0, a1, a2) if na >= nb else (b0, b1, b2)
                power = np.float32(0)
                for _ in range(TURNS):
                    n = one / np.sqrt(v0 * v0 + v1 * v1 + v2 * v2)
                    v0, v1, v2 = v0 * n, v1 * n, v2 * n
                    p, q = a0 * v0 + a1 * v1 + a2 * v2, b0 * v0 + b1 * v1 + b2 * v2
                    power = p * p + q * q
                    v0, v1, v2 = p * a0 + q * b0, p * a1 + q * b1, p * a2 + q * b2
                left = max(one / (one + power), np.float32(LEAST))
                n = np.sqrt((one - left) / (v0 * v0 + v1 * v1 + v2 * v2))
                out[0, i, j, k], out[1, i, j, k], out[2, i, j, k] = v0 * n, v1 * n, v2 * n
