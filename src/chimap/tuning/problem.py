"""A scan to invert with one parameter open: runs of the method, and what they tell about the value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.dipole import dipole_kernel
from chimap.numerics.fft import irfftn, rfftn
from chimap.types import Mask, Progress, Volume, silent

PAD_MM = 20.0
CROP_VOXELS = 400_000
"""Most voxels of the part of the scan that is searched on: about a cube of 74 mm at 1 mm."""
CROP_MM = 50.0
"""Least side of that part."""
OPEN = ("lam", "alpha", "threshold", "iterations")
"""Parameters that rules tune if none is named, the first that a method has."""
LIMITS = {"threshold": (0.01, 0.6)}
"""Smallest and largest value that makes sense, by parameter."""


@dataclass
class Problem:
    """Field, mask and method; `run` gives the map for a value of the parameter, computed once.

    Attributes
    ----------
    field_ppm : (x, y, z) float32
        Local field in ppm, 0 outside the mask.
    noise : (x, y, z) float32
        Its standard deviation in ppm (estimated from the field where it was not given).
    known_noise : bool
        Whether `noise` was given.
    arrays : mapping
        Optional inputs that the method uses.
    fixed : mapping
        The method's other parameters.
    """

    method: registry.Method
    parameter: str
    field_ppm: Volume
    mask: Mask
    acq: Acquisition
    noise: Volume
    known_noise: bool
    arrays: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = silent
    expected: int = 13
    runs: int = 0
    _maps: dict[float, Volume] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pad = [int(np.ceil(PAD_MM / v)) for v in self.acq.voxel_size_mm]
        self.box = Box.around(self.mask, pad)
        self.kernel = dipole_kernel(self.box.shape, self.acq.voxel_size_mm, self.acq.b0_dir)

    # -- the parameter -----------------------------------------------------------------------------------

    @property
    def default(self) -> float:
        """The value that the method would run with."""
        return float(next(p.default for p in self.method.parameters if p.name == self.parameter))

    @property
    def whole(self) -> bool:
        """Whether the parameter is a whole number."""
        kinds = next(p.type for p in self.method.parameters if p.name == self.parameter)
        return float not in registry.union_members(kinds)

    def grid(self, count: int = 13, decades: float = 1.5) -> list[float]:
        """`count` values around the default, evenly spaced on a logarithmic axis over `decades` each way."""
        low, high = LIMITS.get(self.parameter, (0.0, np.inf))
        steps = np.linspace(-decades, decades, count)
        return sorted({self.tidy(float(np.clip(self.default * 10**s, low, high))) for s in steps})

    def tidy(self, value: float) -> float:
        """A value with three digits, whole where the parameter is, inside its limits."""
        low, high = LIMITS.get(self.parameter, (0.0, np.inf))
        value = float(f"{min(max(value, low), high):.3g}")
        return float(max(1, round(value))) if self.whole else value

    # -- runs --------------------------------------------------------------------------------------------

    def run(self, value: float) -> Volume:
        """Susceptibility in the mask, (n,), for a value of the parameter."""
        if value not in self._maps:
            self._maps[value] = self.invert(self.field_ppm, value)[self.mask]
        return self._maps[value]

    def invert(self, field_ppm: Volume, value: float, **arrays: Any) -> Volume:
        """Susceptibility of another field of the same grid, not remembered."""
        given = {**self.arrays, **{k: v for k, v in arrays.items() if k in self.arrays}}
        number: float | int = int(value) if self.whole else value
        out = self.method(field_ppm, self.mask, self.acq, **given, **self.fixed, **{self.parameter: number})
        self.runs += 1
        self.progress(min(self.runs, self.expected), self.expected, tuning=self.parameter, value=value)
        return out

    # -- what a map tells --------------------------------------------------------------------------------

    def field_of(self, chi: Volume) -> Volume:
        """The field in ppm in the mask, (n,), of susceptibility (x, y, z) or in the mask, (n,)."""
        return self.box.restore(irfftn(self._spectrum(chi) * self.kernel, self.box.shape))[self.mask]

    def residual(self, chi: Volume) -> Volume:
        """Misfit of the field over its standard deviation, (n,), where that is known."""
        known = self.noise[self.mask] > 0
        r = (self.field_of(chi) - self.field_ppm[self.mask])[known] / self.noise[self.mask][known]
        return r - np.median(r)

    def seminorm(self, chi: Volume, power: int) -> float:
        """Mean of the gradient's modulus in ppm/mm, or of its square, over differences inside the mask."""
        volume = self._volume(chi)
        total, inside = np.zeros(volume.shape, np.float32), self.mask
        for axis, h in enumerate(self.acq.voxel_size_mm):
            d = np.diff(volume, axis=axis) / np.float32(h)
            first: list[slice] = [slice(None)] * 3
            second: list[slice] = [slice(None)] * 3
            first[axis], second[axis] = slice(0, -1), slice(1, None)
            d *= inside[tuple(first)] & inside[tuple(second)]
            total[tuple(first)] += d * d
        values = total[inside]
        return float(values.mean(dtype=np.float64) if power == 2 else np.sqrt(values).mean(dtype=np.float64))

    def homogeneous(self, value: float) -> bool:
        """Whether doubling the field doubles the map, as it does for linear methods (one run)."""
        once = self.run(value)
        twice = self.invert(2 * self.field_ppm, value)[self.mask]
        return float(np.linalg.norm(twice - 2 * once)) < 1e-3 * float(np.linalg.norm(twice))

    def _volume(self, chi: Volume) -> Volume:
        if chi.ndim == 3:
            return chi
        out = np.zeros(self.mask.shape, np.float32)
        out[self.mask] = chi
        return out

    def _spectrum(self, chi: Volume) -> np.ndarray:
        return rfftn(self.box.crop(self._volume(chi)))

    def power(self, chi: Volume) -> Volume:
        """Power spectrum (half-spectrum) of the map on the padded grid."""
        s = self._spectrum(chi)
        return s.real**2 + s.imag**2


def open_parameter(method: registry.Method, name: str | None = None) -> str:
    """The parameter to tune: `name`, or the first usual one that the method has.

    Raises
    ------
    InputError
        If the method has no such number.
    """
    numbers = [p.name for p in method.parameters if {int, float} & set(registry.union_members(p.type))]
    if name is None:
        name = next((n for n in OPEN if n in numbers), None)
        if name is None:
            raise InputError(f"method {method.name} has no parameter that is usually tuned", fix="Name one")
    if name not in numbers:
        raise InputError(
            f"method {method.name} has no number {name!r} to tune",
            fix=f"It has: {', '.join(numbers) or 'none'}",
        )
    default = next(p.default for p in method.parameters if p.name == name)
    if isinstance(default, bool) or not isinstance(default, int | float) or not default > 0:
        raise InputError(f"parameter {name} of method {method.name} has no positive default to search around")
    return name


def make_problem(
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    *,
    method: str | registry.Method | None,
    parameter: str | None,
    noise: Any,
    arrays: Mapping[str, Any],
    fixed: Mapping[str, Any],
    crop: int,
    progress: Progress,
) -> Problem:
    """The problem that rules work on, cut to about `crop` voxels in the middle of the object where it has more (0: never)."""
    m = method if isinstance(method, registry.Method) else registry.get("inversion", method)
    if m.stage.name != "inversion" or m.of is not None:
        raise InputError(
            f"method {m.name} does not start from the local field, so its parameters cannot be chosen automatically",
            fix="Give a number",
        )
    name = open_parameter(m, parameter)
    data = registry.as_volume(field_ppm, "field", 3)
    inside = registry.as_mask(mask, data.shape)
    data = registry.inside(data, inside, "field")
    known = noise is not None
    sd = (
        registry.inside(registry.as_volume(noise, "noise", 3), inside, "noise")
        if known
        else inside * np.float32(noise_level(data, inside))
    )
    # Arrays may come among the parameters, too (a mask of CSF).
    given = m.takes(**{**arrays, "noise": noise, **{k: v for k, v in fixed.items() if k in m.inputs}})
    fixed = {k: v for k, v in fixed.items() if k not in m.inputs}
    if crop:
        cut = middle(inside, acq, crop)
        if any(s.stop - s.start < n for s, n in zip(cut, inside.shape, strict=True)):
            data = _without_rest(data, inside, acq, cut)
            inside, sd = np.ascontiguousarray(inside[cut]), sd[cut]
            given = {k: np.ascontiguousarray(np.asarray(v)[cut]) for k, v in given.items()}
    return Problem(
        m, name, data, inside, acq, sd.astype(np.float32), known, given, dict(fixed), progress=progress
    )


def noise_level(field_ppm: Volume, mask: Mask) -> float:
    """Standard deviation of white noise in a field: of second differences across the finest scale, by their median."""
    values = []
    for axis in range(3):
        if field_ppm.shape[axis] < 3:
            continue
        d, ok = field_ppm, mask
        at = [[slice(None)] * 3 for _ in range(3)]
        for n, s in enumerate((slice(0, -2), slice(1, -1), slice(2, None))):
            at[n][axis] = s
        a, b, c = (tuple(s) for s in at)
        inner = ok[a] & ok[b] & ok[c]
        values.append(np.abs(d[a] - 2 * d[b] + d[c])[inner] / np.sqrt(6))
    found = np.concatenate(values) if values else np.zeros(0)
    sd = 1.4826 * float(np.median(found)) if found.size else 0.0
    return sd or 1e-3


def middle(mask: Mask, acq: Acquisition, voxels: int) -> tuple[slice, ...]:
    """A box of about `voxels` voxels in the middle of the mask; the whole grid where that saves little."""
    whole = tuple(slice(0, n) for n in mask.shape)
    voxel = np.asarray(acq.voxel_size_mm)
    side = max((voxels * float(voxel.prod())) ** (1 / 3), CROP_MM if voxels >= CROP_VOXELS else 0.0)
    index = np.argwhere(mask)
    low, high = index.min(0), index.max(0) + 1
    want = np.minimum(np.ceil(side / voxel).astype(int), high - low)
    if want.prod() > 0.6 * (high - low).prod():
        return whole
    start = np.clip((index.mean(0) - want / 2).round().astype(int), low, high - want)
    cut = tuple(slice(int(a), int(a + n)) for a, n in zip(start, want, strict=True))
    return cut if int(mask[cut].sum()) > 0.3 * want.prod() else whole


def _without_rest(data: Volume, mask: Mask, acq: Acquisition, cut: tuple[slice, ...]) -> Volume:
    """The field in a box as if the box were all there is: that of what lies around it is taken off.

    A quick inversion (TKD) tells what that field is; it is smooth in the box, where small errors of it do not matter.
    """
    around = registry.get("inversion", "tkd")(data, mask, acq)
    around[cut] = 0
    box = Box.around(mask, [int(np.ceil(PAD_MM / v)) for v in acq.voxel_size_mm])
    spectrum = rfftn(box.crop(around))
    spectrum *= dipole_kernel(box.shape, acq.voxel_size_mm, acq.b0_dir)
    rest = box.restore(irfftn(spectrum, box.shape))
    return np.where(mask[cut], data[cut] - rest[cut], np.float32(0)).astype(np.float32)


def with_field(
    problem: Problem, field_ppm: Volume, mask: Mask, noise: Volume, arrays: dict[str, Any]
) -> Problem:
    """The same question for other data on a grid of the same voxels."""
    given = {k: v for k, v in arrays.items() if k in problem.arrays}
    return replace(problem, field_ppm=field_ppm, mask=mask, noise=noise, arrays=given, runs=0, _maps={})
