"""Small networks with random weights, written as ONNX files without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

OPSET = 17
AXES = ("x", "y", "z")


def conv_net(path: Path, channels: tuple[int, ...] = (2, 4, 1), *, size: tuple[Any, ...] = AXES) -> Path:
    """Convolutions of 3 x 3 x 3 with ReLU between them; the receptive field has a radius of one voxel a layer."""
    rng = np.random.default_rng(1)
    nodes, weights, at = [], [], "channels"
    for n, (a, b) in enumerate(zip(channels[:-1], channels[1:])):
        w = rng.standard_normal((b, a, 3, 3, 3)) / np.sqrt(27 * a)
        weights += [_tensor(w, f"w{n}"), _tensor(rng.standard_normal(b), f"b{n}")]
        nodes.append(
            helper.make_node("Conv", [at, f"w{n}", f"b{n}"], [f"c{n}"], pads=[1] * 6, kernel_shape=[3] * 3)
        )
        at = f"c{n}"
        if n < len(channels) - 2:
            nodes.append(helper.make_node("Relu", [at], [f"r{n}"]))
            at = f"r{n}"
    nodes.append(helper.make_node("Identity", [at], ["result"]))
    return _write(path, nodes, weights, channels[0], channels[-1], size)


def down_up_net(path: Path) -> Path:
    """A network of one channel that halves the grid and doubles it again: reach 3 voxels, multiple 2."""
    rng = np.random.default_rng(2)
    weights = [
        _tensor(rng.standard_normal((3, 1, 3, 3, 3)) / 5, "w"),
        _tensor(rng.standard_normal((3, 1, 2, 2, 2)), "u"),
        _tensor(np.full(3, 0.1), "b"),
    ]
    nodes = [
        helper.make_node("Conv", ["channels", "w", "b"], ["c"], pads=[1] * 6, kernel_shape=[3] * 3),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2] * 3, strides=[2] * 3),
        helper.make_node("ConvTranspose", ["p", "u"], ["t"], kernel_shape=[2] * 3, strides=[2] * 3),
        helper.make_node("Add", ["t", "channels"], ["result"]),
    ]
    return _write(path, nodes, weights, 1, 1, AXES)


def scaled_net(path: Path) -> Path:
    """One channel times the sum of the vector `b0_dir`."""
    nodes = [
        helper.make_node("ReduceSum", ["b0_dir"], ["s"], keepdims=0),
        helper.make_node("Mul", ["channels", "s"], ["result"]),
    ]
    return _write(path, nodes, [], 1, 1, AXES, {"b0_dir": 3})


def flat_net(path: Path) -> Path:
    """A network of pictures, not of volumes."""
    return _write(path, [helper.make_node("Neg", ["channels"], ["result"])], [], 1, 1, ("x", "y"))


def card(name: str, **changes: Any) -> dict[str, Any]:
    """The values of a model card of `conv_net`."""
    values = {
        "name": name,
        "task": "dipole inversion",
        "summary": "Random weights for tests",
        "inputs": [{"name": "local field", "unit": "ppm"}, {"name": "mask"}],
        "outputs": [{"name": "susceptibility", "unit": "ppm"}],
        "training_data": "none",
        "ranges": {"voxel_size_mm": [0.5, 1.2], "b0_t": [1.5, 7], "te_s": [0.004, 0.03]},
        "margin": 2,
        "licence": "Apache-2.0",
        "scores": [{"data": "held-out heads", "measure": "NRMSE", "value": 55.5, "unit": "%"}],
        "failures": ["Calcifications come out too weak"],
        "seeds": [1],
    }
    return {**values, **changes}


def add(folder: Path, name: str, **changes: Any) -> Path:
    """A network with its card in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(card(name, **changes)), "utf-8")
    return conv_net(folder / f"{name}.onnx")


def _tensor(values: np.ndarray, name: str) -> Any:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def _write(
    path: Path,
    nodes: list[Any],
    weights: list[Any],
    inputs: int,
    outputs: int,
    size: tuple[Any, ...],
    vectors: dict[str, int] | None = None,
) -> Path:
    ends = [helper.make_tensor_value_info("channels", TensorProto.FLOAT, ["n", inputs, *size])]
    ends += [
        helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", v]) for k, v in (vectors or {}).items()
    ]
    out = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["n", outputs, *size])
    graph = helper.make_graph(nodes, "small", ends, [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    # What the oldest ONNX Runtime that is allowed can read, whatever version of onnx writes it.
    model.ir_version = 8
    save(model, path)
    return path
