"""A plain U-Net without normalisation, whose result does not depend on where a tile was cut."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from chimap.learning.layers import enlarged


class UNet(nn.Module):
    """Down and up again by halves, with sums across and residual convolutions of 3 x 3 x 3 on each grid.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    widths : sequence of int
        Features on each grid, from the finest.
    depth : int
        Convolutions on each grid but the finest, on the way down and on the way up.
    conditions : int
        Length of a vector for the whole volume, which scales and shifts the features of each grid. 0: none.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], depth: int = 1, conditions: int = 0):
        super().__init__()
        self.widths, self.depth = tuple(widths), depth
        self.enter = nn.Conv3d(inputs, widths[0], 3, padding=1)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairs)
        self.down_convs = nn.ModuleList(_convs(b, depth) for _, b in pairs)
        self.ups = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairs)
        self.up_convs = nn.ModuleList(_convs(a, depth if n else 1) for n, (a, _) in enumerate(pairs))
        self.conditions = nn.ModuleList(nn.Linear(conditions, 2 * w) for w in widths if conditions)
        for layer in self.conditions:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.out = nn.Conv3d(widths[0], outputs, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def multiple(self) -> int:
        """Edges of the volume must be a multiple of it."""
        return 2 ** (len(self.widths) - 1)

    @property
    def margin(self) -> int:
        """Voxels on each side that an output voxel may depend on."""
        levels = len(self.widths) - 1
        convs = 2 + sum(self.depth * 2**n for n in range(1, levels + 1))
        convs += sum(self.depth * 2**n for n in range(1, levels))
        return convs + self.multiple - 1

    def forward(self, x: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """(1, inputs, x, y, z) and (1, conditions) to (1, outputs, x, y, z)."""
        h = self._told(F.relu(self.enter(x)), conditions, 0)
        across = []
        for n, (down, convs) in enumerate(zip(self.downs, self.down_convs, strict=True), 1):
            across.append(h)
            h = self._told(F.relu(down(h)), conditions, n)
            h = _residual(h, convs)
        for up, convs in zip(reversed(self.ups), reversed(self.up_convs), strict=True):
            h = _residual(F.relu(across.pop() + enlarged(up(h))), convs)
        return self.out(h)

    def _told(self, h: torch.Tensor, conditions: torch.Tensor | None, level: int) -> torch.Tensor:
        if conditions is None:
            return h
        scale, shift = self.conditions[level](conditions).reshape(2, 1, -1, 1, 1, 1)
        return h * (1 + scale) + shift


def _convs(width: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(depth))


def _residual(h: torch.Tensor, convs: nn.ModuleList) -> torch.Tensor:
    for conv in convs:
        h = h + F.relu(conv(h))
    return h
