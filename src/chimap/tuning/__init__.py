"""Regularisation parameters that choose themselves.

>>> found = tune(local_field, mask, acq, method="tv", rule="lcurve", noise=noise)
>>> found.value, found.values, found.scores

A rule runs a method of the registry for several values of one parameter and picks one of them by what it sees. Where a
number is expected (``chimap.invert(..., lam="auto:lcurve")``, ``--lam auto:lcurve``, presets), `resolve` puts the number in.
"""

from chimap.tuning.choose import automatic, check, is_automatic, resolve, takes_number, tune
from chimap.tuning.result import Tuning
from chimap.tuning.rules import DEFAULT, rules

__all__ = [
    "DEFAULT",
    "Tuning",
    "automatic",
    "check",
    "is_automatic",
    "resolve",
    "rules",
    "takes_number",
    "tune",
]
