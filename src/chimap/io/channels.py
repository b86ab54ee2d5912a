"""Uncombined receive channels on disk: a (x, y, z, echo, channel) array of which one channel is in memory."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from chimap.errors import InputError
from chimap.io import scaling
from chimap.io.nifti import Header, read_header
from chimap.types import Volume

FourthAxis = Literal["echo", "channel"]


class ChannelFiles:
    """Volumes of echoes and channels in one file or several, read when they are indexed.

    It has the `shape` (x, y, z, echo, channel) and gives (x, y, z) for ``[..., echo, channel]``. All echoes of the channel
    last asked for are kept, so that even compressed files are read from front to back.

    Parameters
    ----------
    paths : sequence of path
        One 5-D file (x, y, z, echo, channel); or 4-D files, each the echoes of a channel or the channels
        of an echo; or 3-D files, each a channel of a single echo.
    echoes : int
        Number of echoes.
    fourth : {"echo", "channel"}, optional
        What the fourth axis of 4-D files is. By default what fits the number of echoes.

    Raises
    ------
    InputError
        If a file cannot be read, or the files do not make whole echoes and channels.
    """

    def __init__(self, paths: Sequence[str | Path], echoes: int, fourth: FourthAxis | None = None):
        self.headers = [read_header(p) for p in paths]
        first = self.headers[0]
        for header in self.headers[1:]:
            if header.shape != first.shape:
                raise InputError(
                    f"the shape {header.shape} is not that of {first.path}, {first.shape}",
                    file=header.path,
                    fix="Give files of the same scan",
                )
        self._by_channel, channels = _layout(first, len(paths), echoes, fourth)
        self.shape: tuple[int, ...] = (*first.shape[:3], echoes, channels)
        self._scaling: scaling.Scaling | None = None
        self._kept: tuple[int, np.ndarray] | None = None
        self._images: dict[int, Any] = {}

    def channel(self, channel: int) -> np.ndarray:
        """All echoes of a channel, (echo, x, y, z) float32."""
        if self._kept is None or self._kept[0] != channel:
            self._kept = None
            out = np.empty((self.shape[3], *self.shape[:3]), np.float32)
            for echo, volume in enumerate(out):
                volume[...] = self._read(echo, channel)
            if self._scaling is not None:
                scaling.apply(out, self._scaling)
            self._kept = channel, out
        return self._kept[1]

    def __getitem__(self, index: tuple[Any, int, int]) -> Volume:
        return self.channel(index[2])[index[1]]

    def scale(self, found: scaling.Scaling) -> None:
        """Turn stored values into rad from now on."""
        self._scaling, self._kept = found, None

    def _read(self, echo: int, channel: int) -> np.ndarray:
        at: tuple[int, ...]
        if len(self.headers[0].shape) == 5:
            file, at = 0, (echo, channel)
        elif self._by_channel:
            file, at = channel, (echo,)
        else:
            file, at = echo, (channel,)
        header = self.headers[file]
        if len(header.shape) == 3:
            at = ()
        if file not in self._images:
            # Kept open, so that a compressed file need not be read again from its start. Files of other channels are done.
            if self._by_channel:
                self._images.clear()
            self._images[file] = nib.load(header.path, keep_file_open=True)
        try:
            return np.asarray(self._images[file].dataobj[(..., *at)], np.float32).reshape(self.shape[:3])
        except (EOFError, zlib.error, OSError, ValueError) as e:
            raise InputError(
                f"the file is cut off or damaged ({e})",
                file=header.path,
                fix="Copy or convert the file again",
            ) from e


def _layout(header: Header, files: int, echoes: int, fourth: FourthAxis | None) -> tuple[bool, int]:
    """Whether a file is a channel (or all of them), and the number of channels."""
    shape, path = header.shape, header.path
    if len(shape) > 5:
        raise InputError(f"the image has shape {shape}; 3 to 5 axes are expected", file=path)
    if len(shape) == 5:
        if files > 1:
            raise InputError(
                f"one of {files} files has 5 axes, {shape}", file=path, fix="Give it alone, or 4-D files"
            )
        if shape[3] != echoes:
            raise InputError(
                f"the fourth axis has {shape[3]} echoes but {echoes} echo times are given",
                file=path,
                fix="Give one echo time per echo; the axes are x, y, z, echo, channel",
            )
        return True, shape[4]
    volumes = header.volumes
    found: list[tuple[bool, int]] = []
    if fourth != "channel" and volumes == echoes:
        found.append((True, files))
    if fourth != "echo" and files == echoes:
        found.append((False, volumes))
    if len(found) == 2 and found[0][1] != found[1][1]:
        # A single channel is no uncombined scan.
        found = [f for f in found if f[1] > 1]
    if not found:
        raise InputError(
            f"{files} files of {volumes} volumes do not make {echoes} echoes of some channels",
            file=path,
            fix="Give one file a channel with all its echoes, one file an echo with all its channels, "
            "or one file (x, y, z, echo, channel)",
        )
    if len(found) == 2 and echoes > 1:
        raise InputError(
            f"{files} files of {volumes} volumes can be {echoes} echoes of {files} channels in two ways",
            file=path,
            fix="Give --fourth-axis echo or --fourth-axis channel",
        )
    return found[0]
