"""Quantitative susceptibility mapping.

>>> acq = chimap.Acquisition(te_s=(0.005, 0.01), b0_t=3.0)
>>> mask = chimap.brain_mask(magnitude, acq)
>>> total = chimap.estimate_field(phase, mask, acq, magnitude=magnitude)
>>> local = chimap.remove_background(total.field_ppm, mask, acq, noise=total.noise_ppm)
>>> chi = chimap.invert(local.field_ppm, local.mask, acq, noise=local.noise_ppm)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The verbs are imported when first used, so that `import chimap` costs next to nothing.
_LAZY = {
    "Acquisition": "chimap.acquisition",
    "ChimapError": "chimap.errors",
    "InputError": "chimap.errors",
    "Field": "chimap.results",
    "LocalField": "chimap.results",
    "Relaxation": "chimap.results",
    "Separation": "chimap.results",
    "Susceptibility": "chimap.results",
    "Stack": "chimap.stacks.scan",
    "average_repeats": "chimap.stacks.average",
    "brain_mask": "chimap.verbs",
    "combine_coils": "chimap.phase.aspire",
    "cosmos": "chimap.orientation.cosmos",
    "correct_bipolar": "chimap.phase.bipolar",
    "estimate_field": "chimap.verbs",
    "invert": "chimap.verbs",
    "join_fields": "chimap.stacks.fields",
    "join_stacks": "chimap.stacks.join",
    "map_r2star": "chimap.verbs",
    "methods": "chimap.registry",
    "reconstruct": "chimap.pipeline.reconstruct",
    "remove_background": "chimap.verbs",
    "separate_sources": "chimap.verbs",
    "sti": "chimap.orientation.sti",
    "tensor_maps": "chimap.orientation.tensor_maps",
    "tune": "chimap.tuning",
    "unwrap": "chimap.verbs",
}

__all__ = ["__version__", *_LAZY]

if TYPE_CHECKING:
    from chimap.acquisition import Acquisition
    from chimap.errors import ChimapError, InputError
    from chimap.orientation.cosmos import cosmos
    from chimap.orientation.sti import sti
    from chimap.orientation.tensor_maps import tensor_maps
    from chimap.phase.aspire import combine_coils
    from chimap.phase.bipolar import correct_bipolar
    from chimap.pipeline.reconstruct import reconstruct
    from chimap.registry import methods
    from chimap.results import Field, LocalField, Relaxation, Separation, Susceptibility
    from chimap.stacks.average import average_repeats
    from chimap.stacks.fields import join_fields
    from chimap.stacks.join import join_stacks
    from chimap.stacks.scan import Stack
    from chimap.tuning import tune
    from chimap.verbs import (
        brain_mask,
        estimate_field,
        invert,
        map_r2star,
        remove_background,
        separate_sources,
        unwrap,
    )


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'chimap' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
