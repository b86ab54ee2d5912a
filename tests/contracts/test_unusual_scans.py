"""Every registered method on scans that are rare but real: few or many echoes, thin volumes, NaN outside the mask.

A method gives a sensible result or refuses with an `InputError` that names the reason and a way out.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from contract_example import EVERY, R2STAR, Example, make_example, name

from chimap.errors import InputError
from chimap.registry import STAGES, Method

MANY = (0.0021, 0.0040, 0.0063, 0.0080, 0.0101, 0.0119, 0.0145, 0.0160, 0.0184, 0.0201, 0.0222, 0.0240)
CASES = {
    "1 echo": {"te_s": (0.008,)},
    "2 echoes": {"te_s": (0.004, 0.009)},
    "3 unequal echoes": {"te_s": (0.003, 0.0052, 0.0121)},
    "12 unequal echoes": {"te_s": MANY},
    "one slice": {"keep": (slice(None), slice(None), slice(12, 13))},
    "two slices": {"keep": (slice(None), slice(None), slice(12, 14))},
    "one sagittal slice": {"keep": (slice(17, 18),)},
    "one slice of one echo": {"te_s": (0.008,), "keep": (slice(None), slice(None), slice(12, 13))},
}
# What cannot be had from such a scan at all.
NEEDS = {
    ("r2star", "1 echo"): "echo",
    ("r2star", "one slice of one echo"): "echo",
    ("arlo", "2 echoes"): "echoes",
    ("decompose", "1 echo"): "echoes",
    ("decompose", "2 echoes"): "echoes",
    ("decompose", "one slice of one echo"): "echoes",
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def unusual(case: str) -> Example:
    return make_example("odd", **CASES[case])


@pytest.mark.parametrize("m", EVERY, ids=name)
def test_result_or_reason(m: Method, case: str, unusual: Example) -> None:
    e = unusual
    # Nothing outside the mask is to be looked at; brain extraction has no mask yet.
    hide = ~e.mask if m.stage.takes_mask else np.zeros_like(e.mask)
    data = e.data(m).copy()
    data[hide] = np.nan
    inputs = {}
    for key, volume in e.inputs(m).items():
        inputs[key] = volume.copy()
        if volume.dtype != bool:
            inputs[key][hide] = np.nan
    expected = NEEDS.get((m.stage.name, case)) or NEEDS.get((m.name, case))
    try:
        result = e.run(m, data=data, inputs=inputs)
    except InputError as refused:
        assert re.search(expected or "echo|slice|thick|thin|voxel|axis|axes|small", str(refused)), refused
        assert refused.fix, f"no way out is named: {refused}"
        # Any number of echoes must do for the default methods; thin volumes may be too little for some.
        default = m.name == STAGES[m.stage.name].default
        assert expected or "slice" in case or not default, f"the default method refuses: {refused}"
        return
    assert not expected, "a result that the data cannot give"
    for key, out in result.items():
        assert out.shape[:3] == e.mask.shape, key
        assert np.isfinite(out).all(), key
        assert not out[hide].any(), key
    sensible(m, e, result)


def sensible(m: Method, e: Example, result: dict[str, np.ndarray]) -> None:
    """Assert that a result is no garbage, against the truth where the stage has one."""
    first = next(iter(result.values()))
    if m.stage.name == "unwrap":
        for i, te in enumerate(e.acq.te_s):
            true = e.arrays["receiver"] + e.acq.rad_per_ppm(te) * e.arrays["total"]
            error = (first[..., i] - true)[e.mask]
            error -= np.median(error)
            assert np.median(np.abs(error)) < 0.2, f"echo {i + 1}"
    elif m.stage.name == "field":
        error = (first - e.arrays["total"])[e.mask]
        # The phase at TE = 0 of a single echo is part of its field.
        limit = 0.02 if e.acq.echoes > 1 else 0.3
        assert np.median(np.abs(error)) < limit
        noise = result["noise_ppm"][e.mask]
        assert (noise > 0).all() and np.median(noise) < limit
    elif m.stage.name == "offset" and e.acq.echoes > 1:
        error = np.angle(np.exp(1j * (first - e.arrays["receiver"])))[e.mask]
        assert np.median(np.abs(error)) < 0.2
    elif m.stage.name == "r2star":
        assert abs(np.median(result["r2star"][e.mask]) - R2STAR) < 4
    elif m.stage.name == "background":
        limit = 3 * np.abs(e.arrays["total"][e.mask]).max()
        assert np.abs(first).max() < limit
    elif m.stage.name == "inversion":
        assert first.any() and np.abs(first).max() < 3
    elif m.stage.name == "separation":
        assert (first >= 0).all() and first.max() < 3
        assert (result["diamagnetic_ppm"] <= 0).all() and result["diamagnetic_ppm"].min() > -3
    elif m.stage.name == "mask":
        assert first.dtype == bool
