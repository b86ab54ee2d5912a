"""How a scan was acquired, and the conversions that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chimap import textfile
from chimap.errors import InputError

GAMMA_BAR_MHZ_PER_T = 42.577478461
"""Gyromagnetic ratio of the proton over 2 pi, in MHz/T (CODATA 2022)."""


@dataclass(frozen=True)
class Acquisition:
    """Echo times, field strength and direction, and voxel size of a gradient-echo scan.

    Parameters
    ----------
    te_s : tuple of float
        Echo times in s, increasing.
    b0_t : float
        Field strength in T.
    b0_dir : tuple of 3 float
        Direction of B0 as a unit vector along the voxel axes (it is normalised here).
    voxel_size_mm : tuple of 3 float
        Voxel size in mm.

    Raises
    ------
    InputError
        If a value cannot be one of a gradient-echo scan (echo times in ms, for example).
    """

    te_s: tuple[float, ...]
    b0_t: float
    b0_dir: tuple[float, float, float] = (0.0, 0.0, 1.0)
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        te = tuple(float(t) for t in np.atleast_1d(np.asarray(self.te_s, dtype=float)))
        if not te or not all(math.isfinite(t) and t > 0 for t in te):
            raise InputError(
                f"echo times {list(te)} are not all positive numbers", fix="Give them in seconds"
            )
        if max(te) > 0.5:
            raise InputError(
                f"echo times {list(te)} look like milliseconds; they must be in seconds",
                fix=f"Give {' '.join(f'{t / 1000:g}' for t in te)}",
            )
        if any(b <= a for a, b in zip(te, te[1:], strict=False)):
            raise InputError(
                f"echo times {list(te)} do not increase", fix="Give the echoes in order, each once"
            )
        b0 = float(self.b0_t)
        if not (math.isfinite(b0) and 0.01 <= b0 <= 30):
            raise InputError(f"field strength {self.b0_t} T is outside 0.01 to 30 T", fix="Give B0 in tesla")
        direction = np.asarray(self.b0_dir, dtype=float)
        if direction.shape != (3,) or not np.isfinite(direction).all() or np.linalg.norm(direction) < 1e-6:
            raise InputError(f"B0 direction {self.b0_dir} is not a vector of three numbers, not all zero")
        direction = direction / np.linalg.norm(direction)
        voxel = tuple(float(v) for v in np.asarray(self.voxel_size_mm, dtype=float).ravel())
        if len(voxel) != 3 or not all(math.isfinite(v) and 0 < v < 100 for v in voxel):
            raise InputError(f"voxel size {self.voxel_size_mm} is not three positive numbers in mm")
        object.__setattr__(self, "te_s", te)
        object.__setattr__(self, "b0_t", b0)
        object.__setattr__(self, "b0_dir", tuple(float(d) for d in direction))
        object.__setattr__(self, "voxel_size_mm", voxel)

    @property
    def echoes(self) -> int:
        """Number of echoes."""
        return len(self.te_s)

    @property
    def hz_per_ppm(self) -> float:
        """Frequency in Hz of a relative field of 1 ppm."""
        return GAMMA_BAR_MHZ_PER_T * self.b0_t

    def rad_per_ppm(self, te_s: float | None = None) -> float:
        """Phase in rad that a field of 1 ppm makes in `te_s` seconds (default: the first echo time)."""
        return 2 * math.pi * self.hz_per_ppm * (self.te_s[0] if te_s is None else te_s)

    def with_(self, **changes: object) -> Acquisition:
        """A copy with some values replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @classmethod
    def from_json(
        cls, path: str | Path, voxel_size_mm: tuple[float, float, float] | None = None
    ) -> Acquisition:
        """Read a flat ``params.json`` with TE [s], B0 [T], B0_dir and voxel_size [mm].

        B0_dir defaults to the third voxel axis; `voxel_size_mm` stands in for a missing voxel_size.
        """
        path = Path(path)
        values = textfile.read_json(path)
        missing = [k for k in ("TE", "B0") if not isinstance(values, dict) or k not in values]
        if missing:
            raise InputError(
                f"{' and '.join(missing)} missing; expected TE [s], B0 [T], B0_dir, voxel_size [mm]",
                file=path,
            )
        try:
            return cls(
                te_s=tuple(np.atleast_1d(np.asarray(values["TE"], dtype=float))),
                b0_t=values["B0"],
                b0_dir=values.get("B0_dir", (0.0, 0.0, 1.0)),
                voxel_size_mm=values.get("voxel_size", voxel_size_mm or (1.0, 1.0, 1.0)),
            )
        except InputError as e:
            raise InputError(e.what, file=path, fix=e.fix) from None
        except (TypeError, ValueError, OverflowError) as e:
            raise InputError(f"a value is not a number ({e})", file=path) from e

    def to_dict(self) -> dict[str, object]:
        """The flat form that `from_json` reads."""
        return {
            "TE": list(self.te_s),
            "B0": self.b0_t,
            "B0_dir": list(self.b0_dir),
            "voxel_size": list(self.voxel_size_mm),
        }
