"""Building blocks of the networks, in torch."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

Step: TypeAlias = int | torch.Tensor
"""Number of a step, or (1, steps) with a 1 at it, as the exported graph takes it."""


class StepConv3d(nn.Module):
    """A 3-D convolution with its own weights for each step of an unrolled network, chosen by number.

    One graph then serves all steps, and one file holds their weights.
    """

    def __init__(
        self, steps: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, zero: bool = False
    ):
        super().__init__()
        self.stride, self.padding = stride, 0 if stride > 1 else kernel // 2
        weight = torch.empty(steps, outputs, inputs, kernel, kernel, kernel)
        for w in weight:
            nn.init.kaiming_normal_(w, nonlinearity="relu")
        self.weight = nn.Parameter(torch.zeros_like(weight) if zero else weight)
        self.bias = nn.Parameter(torch.zeros(steps, outputs))

    def forward(self, x: torch.Tensor, step: Step) -> torch.Tensor:
        """Convolve with the weights of `step`."""
        if isinstance(step, int):
            weight, bias = self.weight[step], self.bias[step]
        else:
            weight = (step @ self.weight.flatten(1)).reshape(self.weight.shape[1:])
            bias = (step @ self.bias)[0]
        return F.conv3d(x, weight, bias, stride=self.stride, padding=self.padding)


def enlarged(x: torch.Tensor) -> torch.Tensor:
    """Twice as many voxels on each axis, by repetition."""
    n, c, a, b, d = x.shape
    x = x.reshape(n, c, a, 1, b, 1, d, 1).expand(n, c, a, 2, b, 2, d, 2)
    return x.reshape(n, c, 2 * a, 2 * b, 2 * d)
