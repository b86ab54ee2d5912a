"""From torch to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


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
        dynamo=False,
    )
    part.replace(path)
