"""What holds for every registered method, whoever wrote it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from contract_example import EVERY, GRIDS, OF_MASK, Example, make_example, name, whole_example

from chimap.errors import InputError
from chimap.numerics.threads import set_threads
from chimap.registry import STAGES, Method, methods


@pytest.fixture(params=EVERY, ids=name)
def any_method(request: pytest.FixtureRequest) -> Method:
    return request.param


@pytest.fixture(params=OF_MASK, ids=name)
def masked_method(request: pytest.FixtureRequest) -> Method:
    return request.param


@pytest.fixture(scope="module", params=list(GRIDS))
def example(request: pytest.FixtureRequest) -> Example:
    return whole_example(request.param)


@pytest.fixture(scope="module")
def odd() -> Example:
    return whole_example("odd")


def test_every_stage_has_its_default() -> None:
    for stage in STAGES.values():
        assert stage.default in methods(stage.name)


def test_shapes_types_and_finite(any_method: Method, example: Example) -> None:
    for key, out in example.first(any_method).items():
        assert out.shape[:3] == example.mask.shape, key
        assert out.dtype in (np.float32, bool), key
        assert np.isfinite(out).all(), key


def test_zero_outside_the_mask(masked_method: Method, example: Example) -> None:
    for key, out in example.first(masked_method).items():
        assert not out[~example.mask].any(), key


def test_result_is_not_empty(any_method: Method, odd: Example) -> None:
    first = next(iter(odd.first(any_method).values()))
    assert first.any()


def test_inputs_unchanged(any_method: Method, example: Example) -> None:
    assert example.left_alone(any_method)


def test_same_result_whatever_the_threads(any_method: Method, odd: Example) -> None:
    results = []
    for threads in (1, 3):
        try:
            set_threads(threads)
            results.append(odd.run(any_method))
        finally:
            set_threads(None)
    one, three = results
    assert one.keys() == three.keys()
    assert all(np.array_equal(one[k], three[k]) for k in one)


def test_memory_order_does_not_matter(any_method: Method, odd: Example) -> None:
    fortran = np.asfortranarray(odd.data(any_method)).astype(np.float64)
    a, b = odd.first(any_method), odd.run(any_method, data=fortran)
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_nan_outside_is_ignored(masked_method: Method, odd: Example) -> None:
    data = odd.data(masked_method).copy()
    data[~odd.mask] = np.nan
    inputs = {}
    for key, volume in odd.inputs(masked_method).items():
        if volume.dtype != bool:
            inputs[key] = volume.copy()
            inputs[key][~odd.mask] = np.inf
    dirty, clean = odd.run(masked_method, data=data, inputs=inputs), odd.first(masked_method)
    assert all(np.array_equal(dirty[k], clean[k]) for k in dirty)


def test_nan_inside_is_an_error(masked_method: Method, odd: Example) -> None:
    data = odd.data(masked_method).copy()
    data[tuple(n // 2 for n in odd.mask.shape)] = np.nan
    with pytest.raises(InputError, match="NaN"):
        odd.run(masked_method, data=data)


@pytest.mark.parametrize("case", [{"touch": True}, {"parts": 2}], ids=["touches the border", "two parts"])
def test_difficult_masks(masked_method: Method, case: dict[str, Any]) -> None:
    e = make_example("odd", **case)
    for key, out in e.run(masked_method).items():
        assert np.isfinite(out).all(), key
        assert not out[~e.mask].any(), key


def test_wrong_mask_shape_is_an_error(masked_method: Method, odd: Example) -> None:
    with pytest.raises(InputError, match="shape"):
        odd.run(masked_method, mask=odd.mask[:-1])


def test_empty_mask_is_an_error(masked_method: Method, odd: Example) -> None:
    with pytest.raises(InputError, match="empty"):
        odd.run(masked_method, mask=np.zeros_like(odd.mask))


def test_unknown_parameter_is_an_error(any_method: Method, odd: Example) -> None:
    with pytest.raises(InputError, match="no parameter"):
        odd.run(any_method, inputs={"nonsense": 1.0})


def test_documented(any_method: Method) -> None:
    doc = inspect.cleandoc(any_method.function.__doc__ or "")
    assert len(any_method.summary) > 15
    assert "Returns" in doc
    for p in any_method.parameters:
        assert p.help, f"parameter {p.name} is not described"
    assert any_method.references, "no paper is named"
    for doi in any_method.references:
        assert re.fullmatch(r"10\.\d{4,}/\S+", doi)
        assert doi in doc, f"{doi} is not in the docstring"
