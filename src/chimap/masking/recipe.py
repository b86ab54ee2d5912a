"""Masks from a recipe: steps in one string, carried out from left to right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.masking import morphology, steps
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent


@dataclass
class _State:
    """What the steps so far have made of the scan."""

    magnitude: Volume
    phase: Volume | None
    acq: Acquisition
    volume: Volume
    mask: Mask | None = None
    step: str = ""

    def narrow(self, found: Mask) -> None:
        self.mask = found if self.mask is None else self.mask & found


def _magnitude(s: _State, level: float) -> None:
    s.volume = steps.combined(s.magnitude)
    if level > 0:
        s.narrow(steps.above(s.volume, level))


def _homogeneous(s: _State, _: float) -> None:
    s.volume = steps.homogeneous(s.volume, s.acq.voxel_size_mm)


def _bet(s: _State, fraction: float) -> None:
    s.narrow(steps.brain(s.magnitude, s.volume, s.acq, fraction))


def _threshold(s: _State, level: float) -> None:
    s.narrow(steps.above(s.volume, level))


def _quality(s: _State, threshold: float) -> None:
    if s.phase is None:
        raise InputError(
            "the step quality needs the phase", fix="Give the phase, or leave quality out of the recipe"
        )
    s.narrow(steps.good_phase(s.phase, s.magnitude, s.acq, threshold))


def _r2star(s: _State, max_r2star: float) -> None:
    whole = np.ones(s.volume.shape, bool) if s.mask is None else s.mask
    s.mask = steps.without_fast_edges(whole, s.magnitude, s.acq, max_r2star)


@dataclass(frozen=True)
class Step:
    """One word of a recipe: what it does, its number's meaning, default (None: must be given) and limits."""

    run: Callable[[_State, float], None]
    help: str
    number: str = ""
    default: float | None = 0.0
    limits: tuple[float, float] = (0.0, np.inf)

    def usage(self, name: str) -> str:
        """How the step is written, e.g. ``bet[:fraction]``."""
        if not self.number:
            return name
        return f"{name}:{self.number}" if self.default is None else f"{name}[:{self.number}]"


def _shape(change: Callable[[Mask, _State, float], Mask], help: str, number: str = "") -> Step:
    """A step that works on the mask made so far."""

    def run(s: _State, value: float) -> None:
        if s.mask is None:
            raise InputError(
                f"the step {s.step} comes before there is a mask",
                fix="Put magnitude:level, bet, threshold, quality or r2star before it",
            )
        s.mask = change(s.mask, s, value)

    return Step(run, help, number, None if number else 0.0)


STEPS: dict[str, Step] = {
    "magnitude": Step(
        _magnitude,
        "take the root mean square of the echoes; with a level also as threshold",
        "level",
        0.0,
        (0, 1),
    ),
    "homogeneous": Step(_homogeneous, "divide the image by the coils' sensitivity"),
    "bet": Step(_bet, "brain extraction; a smaller fraction gives a larger brain", "fraction", 0.5, (0, 1)),
    "threshold": Step(
        _threshold, "the image above a level from noise (0) to signal (1)", "level", 0.3, (0, 1)
    ),
    "quality": Step(
        _quality, "phase quality of at least this, 0 (noise) to 1 (smooth)", "threshold", 0.3, (0, 1)
    ),
    "r2star": Step(_r2star, "not the edges that decay faster than this, in 1/s", "max", None),
    "fill": _shape(lambda m, s, _: morphology.fill_holes(m), "fill enclosed holes"),
    "largest": _shape(lambda m, s, _: morphology.largest_component(m), "the largest connected part alone"),
    "erode": _shape(lambda m, s, mm: morphology.erode(m, mm, s.acq.voxel_size_mm), "shrink", "mm"),
    "dilate": _shape(lambda m, s, mm: morphology.dilate(m, mm, s.acq.voxel_size_mm), "grow", "mm"),
    "open": _shape(lambda m, s, mm: morphology.open_(m, mm, s.acq.voxel_size_mm), "cut thin bridges", "mm"),
    "close": _shape(lambda m, s, mm: morphology.close(m, mm, s.acq.voxel_size_mm), "close narrow gaps", "mm"),
}
"""All steps by name."""


def parse(recipe: str) -> list[tuple[str, float]]:
    """The steps of a recipe with their numbers, as ``[("bet", 0.5), ("fill", 0.0)]``.

    Raises
    ------
    InputError
        If the recipe is empty, names an unknown step, or a number is missing, superfluous or out of range.
    """
    valid = ", ".join(step.usage(name) for name, step in STEPS.items())
    words = [w.strip() for w in recipe.split(",")]
    if not any(words):
        raise InputError("the mask recipe is empty", fix=f"Give steps with commas between them: {valid}")
    out = []
    for word in words:
        name, colon, text = (part.strip() for part in word.partition(":"))
        step = STEPS.get(name)
        if step is None:
            raise InputError(f"the mask recipe has no step {name!r}", fix=f"The steps are {valid}")
        usage = f"Write {step.usage(name)}"
        if colon and not step.number:
            raise InputError(f"the step {name} takes no number, but {word!r} is given", fix=usage)
        if not colon:
            if step.default is None:
                raise InputError(f"the step {name} needs a number", fix=usage)
            out.append((name, step.default))
            continue
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{text!r} in the step {word!r} is not a number", fix=usage) from None
        low, high = step.limits
        if not low <= value <= high or not np.isfinite(value):
            bounds = "0 or more" if high == np.inf else f"between {low:g} and {high:g}"
            raise InputError(f"{step.number} {text} of the step {name} is not {bounds}", fix=usage)
        out.append((name, value))
    return out


@method("mask", reference=("10.1002/hbm.10062", "10.1109/TSMC.1979.4310076", "10.1364/AO.41.007437"))
def recipe(
    magnitude: Volume,
    acq: Acquisition,
    *,
    phase: Volume | None = None,
    recipe: str = "magnitude,homogeneous,bet:0.5,fill",
    progress: Progress = silent,
) -> Mask:
    """A mask from a recipe of steps, such as magnitude,homogeneous,bet:0.5,quality:0.3,fill,erode:1.

    The steps run from left to right on an image (at first the root mean square of the echoes) and a mask.
    `magnitude` and `homogeneous` change the image. `magnitude:level`, `bet`, `threshold`, `quality` and `r2star`
    keep what they find good of the mask made so far. `fill`, `largest`, `erode`, `dilate`, `open` and `close`
    reshape it, with radii in mm of a ball; less than a voxel does nothing.

    Parameters
    ----------
    magnitude : (x, y, z, echo) float32
        Arbitrary units.
    acq : Acquisition
        Voxel size and echo times.
    phase : (x, y, z, echo) float32, optional
        Wrapped phase in rad of the same echoes, for the step quality.
    recipe : str
        Steps with commas between them: magnitude[:level], homogeneous, bet[:fraction], threshold[:level],
        quality[:threshold], r2star:max, fill, largest, erode:mm, dilate:mm, open:mm, close:mm. Defaults: bet 0.5,
        threshold 0.3, quality 0.3.
    progress : callable, optional
        Called after each step, with its name and the number of voxels.

    Returns
    -------
    (x, y, z) bool

    Raises
    ------
    InputError
        If the recipe cannot be read, makes no mask, ends empty, or a step lacks what it needs.

    Notes
    -----
    Brain extraction: Smith 2002, doi:10.1002/hbm.10062. Noise and signal: Otsu 1979,
    doi:10.1109/TSMC.1979.4310076. Phase quality by second differences: Herráez et al. 2002, doi:10.1364/AO.41.007437.
    """
    todo = parse(recipe)
    state = _State(magnitude, phase, acq, steps.combined(magnitude))
    for n, (name, value) in enumerate(todo, 1):
        state.step = name
        STEPS[name].run(state, value)
        voxels = 0 if state.mask is None else int(np.count_nonzero(state.mask))
        if state.mask is not None and voxels == 0:
            raise InputError(
                f"nothing is left of the mask after step {n}, {name}",
                fix="Give that step, or one before it, a milder number",
            )
        progress(n, len(todo), step=name, voxels=voxels)
    if state.mask is None:
        raise InputError(
            f"the recipe {recipe!r} makes no mask",
            fix="Add magnitude:level, bet, threshold, quality or r2star",
        )
    return state.mask
