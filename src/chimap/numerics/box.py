"""Working on the part of the grid that holds the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.fft import next_fast_shape
from chimap.types import Mask

PAD_MM = 20.0
"""Empty space between the object and its periodic copies; the dipole field has then fallen well below 1 %."""


@dataclass(frozen=True)
class Box:
    """The bounding box of a mask, placed in the corner of a (larger, fast to transform) grid.

    `crop` takes a volume to that grid, zero-filled; `restore` brings a result back to the full grid.
    """

    full: tuple[int, ...]
    inner: tuple[slice, ...]
    shape: tuple[int, ...]

    @classmethod
    def around(cls, mask: Mask, pad: Sequence[int] | int = 0, *, fast: bool = True) -> Box:
        """Box around `mask` with at least `pad` empty voxels behind it on each axis (wrap-around distance)."""
        pad = [pad] * 3 if isinstance(pad, int) else list(pad)
        inner = []
        for axis in range(3):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            inner.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, mask.shape[axis]))
        size = [s.stop - s.start + p for s, p in zip(inner, pad, strict=True)]
        return cls(tuple(mask.shape), tuple(inner), next_fast_shape(size) if fast else tuple(size))

    @property
    def corner(self) -> tuple[slice, ...]:
        """Where the cropped data lie in the working grid."""
        return tuple(slice(0, s.stop - s.start) for s in self.inner)

    def crop(self, volume: np.ndarray) -> np.ndarray:
        """The box's part of `volume` on the working grid, zeros elsewhere (a new array)."""
        out = np.zeros(self.shape, volume.dtype)
        out[self.corner] = volume[self.inner]
        return out

    def restore(self, volume: np.ndarray) -> np.ndarray:
        """A result on the working grid put back into the full grid, zeros elsewhere (a new array)."""
        out = np.zeros(self.full, volume.dtype)
        out[self.inner] = volume[self.corner]
        return out


def whole_voxels(length_mm: float, voxel_mm: float) -> int:
    """The least number of voxels that a length fits into.

    A thousandth more is let pass: voxel sizes from an affine are 1.9999999 or 2.0000001 mm, and the grid must not depend on that.
    """
    return int(np.ceil(length_mm / voxel_mm - 1e-3))


def working_box(mask: Mask, acq: Acquisition, pad_mm: float = PAD_MM) -> Box:
    """The mask's bounding box with `pad_mm` of empty space behind it, on a grid that transforms fast."""
    return Box.around(mask, [whole_voxels(pad_mm, v) for v in acq.voxel_size_mm])
