"""Choosing a value: for its own sake, or where a number is expected and ``auto:RULE`` was given."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from chimap import registry
from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.tuning import rules
from chimap.tuning.problem import CROP_VOXELS, make_problem, open_parameter
from chimap.tuning.result import Tuning
from chimap.types import Progress, silent


def tune(
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    *,
    method: str | registry.Method | None = None,
    parameter: str | None = None,
    rule: str | None = None,
    values: Sequence[float] | None = None,
    noise: Any = None,
    magnitude: Any = None,
    r2star: Any = None,
    parameters: Mapping[str, Any] | None = None,
    crop: bool = True,
    progress: Progress = silent,
) -> Tuning:
    """Choose one parameter of an inversion method for a scan.

    Parameters
    ----------
    field_ppm : (x, y, z)
        Local field in ppm.
    mask : (x, y, z)
        Where it is valid.
    acq : Acquisition
    method : str, optional
        Inversion method; default: the stage's.
    parameter : str, optional
        What to choose; default: `lam`, or what else the method has of that kind.
    rule : str, optional
        ``chimap.tuning.rules()`` lists them; default: the recommended one.
    values : sequence of float, optional
        Values to try, all positive. Default: around the method's default over three decades, some rules further.
    noise, magnitude, r2star : (x, y, z), optional
        As for the method. Rules that need the noise estimate it from the field where it is not given.
    parameters : mapping, optional
        The method's other parameters.
    crop : bool
        Search on the middle of the object (at most about 400,000 voxels) after the field of the rest was taken off.
    progress : callable
        Told of each run of the method.

    Returns
    -------
    Tuning

    Raises
    ------
    InputError
        If there is no such method, parameter or rule, or the method does not start from the local field.
    """
    chosen = rules.get(rule)
    tried = None if values is None else sorted(float(v) for v in values)
    if tried is not None and (len(tried) < 2 or tried[0] <= 0):
        raise InputError("the values to try must be two or more positive numbers")
    problem = make_problem(
        field_ppm, mask, acq, method=method, parameter=parameter, noise=noise,
        arrays={"magnitude": magnitude, "r2star": r2star}, fixed=parameters or {}, crop=CROP_VOXELS if crop else 0, progress=progress,
    )  # fmt: skip
    curve = chosen.function(problem, tried)
    return Tuning(
        method=problem.method.name,
        parameter=problem.parameter,
        rule=chosen.name,
        value=int(curve.value) if problem.whole else curve.value,
        values=tuple(curve.values),
        scores=tuple(curve.scores),
        score_name=chosen.score_name,
        best=chosen.best,
        columns={k: tuple(v) for k, v in curve.columns.items()},
        runs=problem.runs,
        note=curve.note,
        references=chosen.references,
    )


def is_automatic(value: Any) -> bool:
    """Whether a value is ``auto`` or ``auto:RULE``."""
    return isinstance(value, str) and (value == "auto" or value.startswith("auto:"))


def takes_number(parameter: registry.Parameter) -> bool:
    """Whether a parameter is a number for which ``auto`` is not a word of its own."""
    members = registry.union_members(parameter.type)
    own = str in members or any("auto" in typing.get_args(m) for m in members)
    return bool({int, float} & set(members)) and not own


def automatic(method: registry.Method, values: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The number that is to be chosen and the rule's name (None: the recommended one); None if there is none."""
    names = [p.name for p in method.parameters if is_automatic(values.get(p.name)) and takes_number(p)]
    if not names:
        return None
    if len(names) > 1:
        raise InputError(
            f"{' and '.join(names)} are both to be chosen automatically", fix="Give a number for all but one"
        )
    return names[0], values[names[0]].partition(":")[2] or None


def check(method: registry.Method, values: Mapping[str, Any]) -> None:
    """Refuse what `resolve` could not do, before any work is done.

    Raises
    ------
    InputError
        If a rule or parameter does not exist, or the method's parameters cannot be chosen automatically.
    """
    found = automatic(method, values)
    if found is None:
        return
    name, rule = found
    if method.stage.name != "inversion" or method.of is not None:
        raise InputError(
            f"parameter {name} of method {method.name} cannot be chosen automatically; "
            "inversions from the local field can",
            fix="Give a number",
        )
    rules.get(rule)
    open_parameter(method, name)


def resolve(
    method: registry.Method,
    values: Mapping[str, Any],
    field_ppm: Any,
    mask: Any,
    acq: Acquisition,
    arrays: Mapping[str, Any],
    *,
    progress: Progress = silent,
) -> tuple[dict[str, Any], Tuning | None]:
    """Parameters with the number in place of ``auto:RULE``, and how it was found (None: nothing to choose).

    `arrays` are the method's optional inputs, as for the call of the method itself.
    """
    check(method, values)
    found = automatic(method, values)
    if found is None:
        return dict(values), None
    name, rule = found
    fixed = {k: v for k, v in values.items() if k != name}
    tuning = tune(
        field_ppm,
        mask,
        acq,
        method=method,
        parameter=name,
        rule=rule,
        noise=arrays.get("noise"),
        magnitude=arrays.get("magnitude"),
        r2star=arrays.get("r2star"),
        parameters=fixed,
        progress=progress,
    )
    return {**values, name: tuning.value}, tuning
