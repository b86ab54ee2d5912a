"""A small scan with everything that any method takes, for tests that run over every registered method."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.numerics.dipole import forward_field
from chimap.registry import Method, methods

EVERY = [m for of_stage in methods().values() for m in of_stage.values()]
OF_MASK = [m for m in EVERY if m.stage.takes_mask]

R2STAR = 25.0
"""The decay of the example, in 1/s."""

GRIDS = {
    "odd": ((31, 33, 27), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
    "anisotropic oblique": ((30, 28, 19), (1.0, 1.2, 2.0), (0.2, -0.3, 0.93)),
}


def name(m: Method) -> str:
    """How a test of a method is called."""
    return f"{m.stage.name}-{m.name}"


@dataclasses.dataclass(frozen=True)
class Example:
    """An ellipsoid of tissue with a few sources inside and one outside, and its scan."""

    acq: Acquisition
    mask: np.ndarray
    arrays: dict[str, np.ndarray]
    seen: dict[str, tuple[dict[str, np.ndarray], bool]] = dataclasses.field(default_factory=dict)

    def first(self, m: Method) -> dict[str, np.ndarray]:
        """What the method gives for the scan as it is, run once however many tests look at it."""
        key = name(m)
        if key not in self.seen:
            before = {k: v.copy() for k, v in (*self.arrays.items(), ("mask", self.mask))}
            result = self.run(m)
            after = {**self.arrays, "mask": self.mask}
            self.seen[key] = result, all(np.array_equal(before[k], after[k]) for k in before)
        return self.seen[key][0]

    def left_alone(self, m: Method) -> bool:
        """Whether that run has changed nothing that it was given."""
        self.first(m)
        return self.seen[name(m)][1]

    def inputs(self, m: Method) -> dict[str, Any]:
        """The optional inputs of a method that there are."""
        return {k: self.arrays[k] for k in m.inputs if k in self.arrays}

    def data(self, m: Method) -> np.ndarray:
        """The first argument of a method."""
        key = "local" if m.stage.name in ("inversion", "separation") and m.of is None else m.data
        return self.arrays[{"field": "total", "total_field": "total"}.get(key, key)]

    def run(self, m: Method, **replace: Any) -> dict[str, np.ndarray]:
        """What the method gives; data, acq, mask and single inputs can be replaced."""
        data = replace.pop("data", self.data(m))
        acq = replace.pop("acq", self.acq)
        inputs = {**self.inputs(m), **replace.pop("inputs", {})}
        if m.stage.takes_mask:
            return arrays_of(m(data, replace.pop("mask", self.mask), acq, **inputs))
        # Brain extraction knows how large a head is.
        head = acq.with_(voxel_size_mm=tuple(6 * v for v in acq.voxel_size_mm))
        return arrays_of(m(data, head, **inputs))


def arrays_of(result: Any) -> dict[str, np.ndarray]:
    """The arrays of a result by name."""
    if dataclasses.is_dataclass(result):
        return {
            f.name: v
            for f in dataclasses.fields(result)
            if isinstance(v := getattr(result, f.name), np.ndarray)
        }
    return {"result": result}


@functools.cache
def whole_example(grid: str) -> Example:
    """The scan on one of `GRIDS`, the same object for all tests."""
    return make_example(grid)


def make_example(
    grid: str,
    touch: bool = False,
    parts: int = 1,
    te_s: Sequence[float] = (0.004, 0.009, 0.014, 0.019),
    keep: tuple[slice, ...] = (),
) -> Example:
    """The scan on one of `GRIDS`: mask up to the border of the image (`touch`), or in two parts.

    Of the image only the part `keep` was taken.
    """
    shape, voxel, b0_dir = GRIDS[grid]
    rng = np.random.default_rng(3)
    acq = Acquisition(te_s=tuple(te_s), b0_t=3.0, b0_dir=b0_dir, voxel_size_mm=voxel)
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) / ((n - 1) / 2) for n in shape), indexing="ij")
    size = 1.01 if touch else 0.8
    mask = x**2 + y**2 + z**2 < size**2
    if parts == 2:
        mask &= np.abs(x) > 0.12
    chi = np.zeros(shape, np.float32)
    for centre, radius, value in (((0.3, 0.1, 0), 0.2, 0.15), ((-0.3, -0.2, 0.1), 0.25, -0.08)):
        chi[sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True)) < radius**2] = value
    outside = np.where((x - 0.95) ** 2 + y**2 + (z - 0.5) ** 2 < 0.02, np.float32(1.0), np.float32(0))
    local = forward_field(chi, acq)
    total = local + forward_field(outside, acq) + np.float32(0.02)
    offset = (0.4 + 0.5 * x - 0.3 * y).astype(np.float32)
    signal = np.stack(
        [
            (100 * (0.3 + 0.7 * mask))
            * np.exp(-R2STAR * t)
            * np.exp(1j * (offset + acq.rad_per_ppm(t) * total))
            for t in acq.te_s
        ],
        axis=-1,
    )
    signal += rng.normal(0, 0.7, signal.shape) + 1j * rng.normal(0, 0.7, signal.shape)
    noise = np.full(shape, 0.003, np.float32)
    arrays = {
        "phase": np.angle(signal).astype(np.float32),
        "magnitude": np.abs(signal).astype(np.float32),
        "total": total,
        "field": total,
        "local": local,
        "noise": noise,
        "chi": chi,
        "chi_echoes": np.stack([chi] * acq.echoes, axis=-1),
        "r2star": np.where(mask, 25 + 100 * np.abs(chi), 0).astype(np.float32),
        "r2prime": np.where(mask, 2 + 100 * np.abs(chi), 0).astype(np.float32),
        "receiver": offset,
        "region": mask & (x > 0),
    }
    return Example(acq, mask[keep], {k: np.ascontiguousarray(v[keep]) for k, v in arrays.items()})
