"""A network in memory: loaded once a process, run with ONNX Runtime on the graphics card or the processor."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import ChimapError, InputError, warn
from chimap.networks import cards
from chimap.networks.ranges import check_ranges
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Volume

# The first that this installation of ONNX Runtime has is used. Full float32: no TF32, no half precision.
_PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "CUDAExecutionProvider": ("CUDA", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    "ROCMExecutionProvider": ("ROCm", {"miopen_conv_exhaustive_search": "0"}),
    "MIGraphXExecutionProvider": ("ROCm (MIGraphX)", {"migraphx_fp16_enable": "0"}),
    "DmlExecutionProvider": ("DirectML", {}),
    "CoreMLExecutionProvider": ("CoreML", {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"}),
}
_CPU = "CPUExecutionProvider"
# A matrix product of fewer columns than this a thread is summed in other blocks, that is rounded differently.
_COLUMNS_PER_THREAD = 128
# Taken for networks without a card: three halvings of the grid.
_USUAL_MULTIPLE = 8
PROCESSOR_ONLY = "CHIMAP_CPU"
"""Environment variable: any text but an empty one keeps networks on the processor."""


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network.

    Attributes
    ----------
    name : str
        Name of the weight file without its ending.
    sha256 : str
        Hash of the weight file.
    card : Card or None
        None for weights without a card.
    provider : str
        What runs it: ``CPU``, ``CUDA``, ``ROCm``, ``DirectML`` or ``CoreML``.
    inputs : int
        Number of input channels, 0 where any number is taken.
    vectors : tuple of str
        Names of its further inputs, which are vectors for the whole volume.
    """

    name: str
    file: Path
    sha256: str
    card: cards.Card | None
    provider: str
    inputs: int
    vectors: tuple[str, ...]
    _session: Any
    _threads: int

    def __call__(self, channels: np.ndarray, vectors: Mapping[str, Any] | None = None) -> np.ndarray:
        """The network's output (k, x, y, z), float32, for a whole volume (c, x, y, z), float32.

        Raises
        ------
        InputError
            If the channels or vectors are not those of the network.
        ChimapError
            If it fails, as it does when memory is short.
        """
        self.require(channels, vectors)
        session = self._session if self._share(channels[0].size) else self._alone
        first, *others = session.get_inputs()
        feed = {first.name: np.ascontiguousarray(channels[np.newaxis], np.float32)}
        for v in others:
            feed[v.name] = np.atleast_2d(np.asarray((vectors or {})[v.name], np.float32))
        try:
            return session.run(None, feed)[0][0]
        except Exception as e:
            raise ChimapError(
                f"network {self.name} failed on {channels.shape[1:]} voxels with {self.provider} ({_short(e)})",
                fix=f"If memory is short, allow it less (memory_gb), or set {PROCESSOR_ONLY}=1 to leave the graphics card alone",
            ) from e

    @property
    def lengths(self) -> dict[str, int]:
        """How many numbers each of the vectors holds."""
        return {v.name: int(v.shape[1]) for v in self._session.get_inputs()[1:]}

    def _share(self, voxels: int) -> bool:
        """Whether the coarsest grid has enough voxels to be shared among the threads with the same bits as for one."""
        if self.provider != "CPU":
            return True
        multiple = self.card.multiple if self.card else _USUAL_MULTIPLE
        return voxels >= self._threads * _COLUMNS_PER_THREAD * multiple**3

    @functools.cached_property
    def _alone(self) -> Any:
        """The network on one thread, for small volumes."""
        return self._session if self._threads == 1 else _opened(self.file, 1, processor=True)

    def require(self, channels: np.ndarray, vectors: Mapping[str, Any] | None = None) -> None:
        """Raise `InputError` unless the channels (c, x, y, z) and the vectors are those of the network."""
        if channels.ndim != 4 or 0 in channels.shape:
            raise InputError(f"channels have shape {channels.shape}; (channel, x, y, z) is expected")
        if self.inputs and channels.shape[0] != self.inputs:
            known = f" ({', '.join(c.name for c in self.card.inputs)})" if self.card else ""
            raise InputError(
                f"network {self.name} takes {_count(self.inputs, 'channel')}{known}, but {channels.shape[0]} "
                f"{'is' if channels.shape[0] == 1 else 'are'} given",
                file=self.file,
                fix="Use a network that was trained for this method",
            )
        if set(vectors or {}) != set(self.vectors):
            raise InputError(
                f"network {self.name} takes the vectors {sorted(self.vectors)}, but {sorted(vectors or {})} are given",
                file=self.file,
                fix="Use a network that was trained for this method",
            )

    def check(
        self,
        acq: Acquisition,
        *,
        noise: Volume | None = None,
        mask: Mask | None = None,
        snr: float | None = None,
        te: bool = True,
    ) -> list[str]:
        """Warn the user of what of the scan lies outside the training (see `check_ranges`), and return the same."""
        if self.card is None:
            told = [
                f"network {self.name} has no model card: nobody can tell whether it was trained for such a scan"
            ]
        else:
            told = check_ranges(self.card, acq, noise=noise, mask=mask, snr=snr, te=te)
        for text in told:
            warn(text)
        return told


def load(model: str | Path) -> Network:
    """A network by the name of one that comes with the package, or by the path of an ONNX file.

    It is read once a process, and again if the file or the number of threads changed.

    Raises
    ------
    InputError
        If there is no such network, the file is no ONNX model or a damaged one, or it does not map (batch, channel, x, y, z) to the
        same, of any size, in float32.
    ChimapError
        If ONNX Runtime is not installed.
    """
    path = cards.find(model).resolve()
    state = path.stat()
    # A process that was forked must not use the threads of its parent.
    return _loaded(path, state.st_mtime_ns, state.st_size, get_threads(), os.getpid(), _on_processor())


def sha256(path: Path) -> str:
    """Hash of a weight file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _on_processor() -> bool:
    return bool(os.environ.get(PROCESSOR_ONLY))


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, _mtime: int, _size: int, threads: int, _pid: int, processor: bool) -> Network:
    card = cards.card_of(path)
    digest = sha256(path)
    if card is not None and card.sha256 and card.sha256 != digest:
        raise InputError(
            f"the weights are not those that the model card {path.with_suffix('.json').name} is about (their hash differs)",
            file=path,
            fix="Put weights and card of one training side by side",
        )
    session = _opened(path, threads, processor)
    inputs, vectors = _shape_of(session, path)
    used = session.get_providers()[0]
    provider = _PROVIDERS[used][0] if used in _PROVIDERS else "CPU"
    return Network(path.stem, path, digest, card, provider, inputs, vectors, session, threads)


def _opened(path: Path, threads: int, processor: bool) -> Any:
    """The file as a session of ONNX Runtime."""
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    # Memory goes back to the system after each tile; the pools of ONNX Runtime would keep the peak for good.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Waiting threads sleep: others use the cores, too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    have = runtime.get_available_providers()
    wanted: list[Any] = [] if processor else [(p, o) for p, (_, o) in _PROVIDERS.items() if p in have][:1]
    try:
        return runtime.InferenceSession(str(path), options, providers=[*wanted, _CPU])
    except Exception as e:
        raise InputError(
            f"this is not an ONNX model that can be run, or it is damaged ({_short(e)})",
            file=path,
            fix="Export it again as ONNX, or fetch the file again",
        ) from e


def _shape_of(session: Any, path: Path) -> tuple[int, tuple[str, ...]]:
    """Number of input channels (0: any) and names of the vectors; raises `InputError` for another kind of network."""
    first, *others = session.get_inputs()
    outputs = session.get_outputs()
    for end, what in ((first, "input"), (outputs[0], "output")):
        if end.type != "tensor(float)" or len(end.shape) != 5:
            raise InputError(
                f"its first {what} is a {end.type} of shape {end.shape}; float32 of (batch, channel, x, y, z) is expected",
                file=path,
                fix="Export the network with such inputs and outputs",
            )
    if any(isinstance(n, int) for n in first.shape[2:]):
        raise InputError(
            f"it takes volumes of {' x '.join(str(n) for n in first.shape[2:])} voxels only",
            file=path,
            fix="Export it with dynamic axes x, y, z",
        )
    if any(v.type != "tensor(float)" or len(v.shape) != 2 for v in others):
        raise InputError(
            "its further inputs are not float32 vectors of shape (batch, n)",
            file=path,
            fix="Export the network with such inputs",
        )
    channels = first.shape[1]
    return channels if isinstance(channels, int) else 0, tuple(v.name for v in others)


def _runtime() -> Any:
    """ONNX Runtime, imported by the first network that runs: it costs a tenth of a second and 30 MB."""
    try:
        import onnxruntime
    except ImportError as e:
        raise ChimapError(
            f"learned methods need ONNX Runtime, which cannot be imported ({e})",
            fix="pip install onnxruntime",
        ) from e
    return onnxruntime


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _short(e: Exception) -> str:
    """The first line of an error of ONNX Runtime, without its codes and the path of the file in front."""
    text = str(e).strip().split("\n")[0].rsplit(" : ", 1)[-1].rsplit(" failed:", 1)[-1]
    return text[:200] or type(e).__name__
