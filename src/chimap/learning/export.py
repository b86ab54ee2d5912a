"""From torch to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from chimap.errors import InputError


def export_onnx(
    model: torch.nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Write a model whose volumes (1, channels, x, y, z) may have any size, in one file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    axes = {
        name: {2: "x", 3: "y", 4: "z"}
        for name, value in zip(inputs, example, strict=True)
        if isinstance(value, torch.Tensor) and value.ndim == 5
    }
    axes |= {name: {2: "x", 3: "y", 4: "z"} for name in outputs}
    model.eval()
    torch.onnx.export(
        model,
        example,
        str(part),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes=axes,
        opset_version=17,
        # Weights keep their names, so that `load_weights` can read them back.
        do_constant_folding=False,
        dynamo=False,
    )
    part.replace(path)


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Read the weights of an exported model back into one of the same form.

    Raises
    ------
    InputError
        If the file holds other weights.
    """
    from onnx import load, numpy_helper

    have = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in load(path).graph.initializer}
    wanted = model.state_dict()
    if any(n not in have or have[n].shape != w.shape for n, w in wanted.items()):
        raise InputError(
            "its weights are not those of this network",
            file=path,
            fix="Give one that was trained for the task",
        )
    model.load_state_dict({n: have[n] for n in wanted})
