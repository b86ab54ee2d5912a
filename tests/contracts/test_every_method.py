"""What holds for every registered method, whoever wrote it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import numpy as np
import pytest

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.dipole import forward_field
from chimap.numerics.threads import set_threads
from chimap.registry import STAGES, Method, methods

EVERY = [m for of_stage in methods().values() for m in of_stage.values()]
OF_MASK = [m for m in EVERY if m.stage.takes_mask]


def name(m: Method) -> str:
    return f"{m.stage.name}-{m.name}"


@pytest.fixture(params=EVERY, ids=name)
def any_method(request: pytest.FixtureRequest) -> Method:
    return request.param


@pytest.fixture(params=OF_MASK, ids=name)
def masked_method(request: pytest.FixtureRequest) -> Method:
    return request.param


GRIDS = {
    "odd": ((31, 33, 27), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
    "anisotropic oblique": ((30, 28, 19), (1.0, 1.2, 2.0), (0.2, -0.3, 0.93)),
}


@dataclasses.dataclass(frozen=True)
class Example:
    """An ellipsoid of tissue with a few sources inside and one outside, and its scan."""

    acq: Acquisition
    mask: np.ndarray
    arrays: dict[str, np.ndarray]

    def inputs(self, m: Method) -> dict[str, Any]:
        return {k: self.arrays[k] for k in m.inputs if k in self.arrays}

    def data(self, m: Method) -> np.ndarray:
        key = "local" if m.stage.name == "inversion" and m.of is None else m.data
        return self.arrays[{"field": "total", "total_field": "total"}.get(key, key)]

    def run(self, m: Method, **replace: Any) -> dict[str, np.ndarray]:
        data = replace.pop("data", self.data(m))
        acq = replace.pop("acq", self.acq)
        inputs = {**self.inputs(m), **replace.pop("inputs", {})}
        if m.stage.takes_mask:
            return arrays_of(m(data, replace.pop("mask", self.mask), acq, **inputs))
        # Brain extraction knows how large a head is.
        head = acq.with_(voxel_size_mm=tuple(6 * v for v in acq.voxel_size_mm))
        return arrays_of(m(data, head, **inputs))


def arrays_of(result: Any) -> dict[str, np.ndarray]:
    if dataclasses.is_dataclass(result):
        return {
            f.name: v
            for f in dataclasses.fields(result)
            if isinstance(v := getattr(result, f.name), np.ndarray)
        }
    return {"result": result}


def make_example(grid: str, touch: bool = False, parts: int = 1) -> Example:
    shape, voxel, b0_dir = GRIDS[grid]
    rng = np.random.default_rng(3)
    te = (0.004, 0.009, 0.014, 0.019)
    acq = Acquisition(te_s=te, b0_t=3.0, b0_dir=b0_dir, voxel_size_mm=voxel)
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
            * np.exp(-25.0 * t)
            * np.exp(1j * (offset + acq.rad_per_ppm(t) * total))
            for t in te
        ],
        axis=-1,
    )
    signal += rng.normal(0, 0.7, signal.shape) + 1j * rng.normal(0, 0.7, signal.shape)
    noise = np.full(shape, 0.003, np.float32)
    return Example(
        acq,
        mask,
        {
            "phase": np.angle(signal).astype(np.float32),
            "magnitude": np.abs(signal).astype(np.float32),
            "total": total,
            "field": total,
            "local": local,
            "noise": noise,
            "chi": chi,
            "region": mask & (x > 0),
        },
    )


@pytest.fixture(scope="module", params=list(GRIDS))
def example(request: pytest.FixtureRequest) -> Example:
    return make_example(request.param)


@pytest.fixture(scope="module")
def odd() -> Example:
    return make_example("odd")


def test_every_stage_has_its_default() -> None:
    for stage in STAGES.values():
        assert stage.default in methods(stage.name)


def test_shapes_types_and_finite(any_method: Method, example: Example) -> None:
    for key, out in example.run(any_method).items():
        assert out.shape[:3] == example.mask.shape, key
        assert out.dtype in (np.float32, bool), key
        assert np.isfinite(out).all(), key


def test_zero_outside_the_mask(masked_method: Method, example: Example) -> None:
    for key, out in example.run(masked_method).items():
        assert not out[~example.mask].any(), key


def test_result_is_not_empty(any_method: Method, odd: Example) -> None:
    first = next(iter(odd.run(any_method).values()))
    assert first.any()


def test_inputs_unchanged(any_method: Method, example: Example) -> None:
    before = {k: v.copy() for k, v in example.arrays.items()}
    mask = example.mask.copy()
    example.run(any_method)
    assert all(np.array_equal(before[k], example.arrays[k]) for k in before)
    assert np.array_equal(mask, example.mask)


def test_same_result_whatever_the_threads(any_method: Method, odd: Example) -> None:
    try:
        set_threads(1)
        one = odd.run(any_method)
        set_threads(3)
        three = odd.run(any_method)
    finally:
        set_threads(None)
    assert one.keys() == three.keys()
    assert all(np.array_equal(one[k], three[k]) for k in one)


def test_memory_order_does_not_matter(any_method: Method, odd: Example) -> None:
    fortran = np.asfortranarray(odd.data(any_method)).astype(np.float64)
    a, b = odd.run(any_method), odd.run(any_method, data=fortran)
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_nan_outside_is_ignored(masked_method: Method, odd: Example) -> None:
    data = odd.data(masked_method).copy()
    data[~odd.mask] = np.nan
    inputs = {}
    for key in ("noise", "magnitude"):
        if key in masked_method.inputs:
            inputs[key] = odd.arrays[key].copy()
            inputs[key][~odd.mask] = np.inf
    clean_inputs = {k: np.where(np.isfinite(v), v, 0) for k, v in inputs.items()}
    dirty = odd.run(masked_method, data=data, inputs=inputs)
    clean = odd.run(masked_method, data=np.nan_to_num(data), inputs=clean_inputs)
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
