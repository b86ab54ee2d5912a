"""A network learns from the scan itself, without a truth: voxels of the field that it is not given say how well it does."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from chimap.errors import InputError, warnings_to
from chimap.inversion._learned_inputs import CHANNELS
from chimap.inversion.learned import CALM, LAPLACE, MODEL, learned_map
from chimap.io.safe import write_json
from chimap.learning._adapt_card import card_before, write_card
from chimap.learning._adapt_rounds import HELD_OUT, Learner, Settings, learn
from chimap.learning._adapt_views import Scan
from chimap.learning.export import load_weights
from chimap.learning.tasks.inversion import Correction, Inversion
from chimap.networks.session import Network, load
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Progress, silent

__all__ = ["MODEL", "TUNED", "UNTRAINED", "Adapted", "Scan", "Settings", "adapt", "correction_of"]

TUNED = Settings(steps=60, rounds=4, rate=3e-4)
"""For a network that was trained."""
UNTRAINED = Settings(steps=320, rounds=8, rate=1e-3)
"""For one that was not."""
LEAST_GAIN = 1e-3
"""Relative gain of the held-out residual below which the weights stay as they were."""
WIDTH, DEEP = 12, 24
"""Features of the untrained network."""
DOUBT = 0.2
"""Standard deviation of the untrained network's error over the scale of the map: an assumption."""


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes
    ----------
    file : path
        The network that was written.
    before_ppm, after_ppm : float
        Root mean square of the weighted held-out residual of the finished map, with the weights from before and after.
    changed : bool
        Whether other weights were written; they stay the same if the held-out residual does not fall.
    steps : int
        Steps that were made.
    seconds : float
    """

    file: Path
    before_ppm: float
    after_ppm: float
    changed: bool
    steps: int
    seconds: float


def adapt(
    scan: Scan,
    output: Path,
    *,
    model: str | Path | None = MODEL,
    settings: Settings | None = None,
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> Adapted:
    r"""Fine-tune the last step of a learned inversion on one scan, or train a small network on it alone.

    The voxels are of three kinds. The network is given the first; the loss is the weighted residual of the field at the second,
    :math:`\sum_{\mathrm{hidden}} w (D\chi - f)^2`, other voxels in each round; the third decide when to stop and whether the new
    weights are kept.

    Parameters
    ----------
    scan : Scan
        Local field and what comes with it.
    output : path
        ONNX file to write; its card goes beside it.
    model : str, path or None
        Network to start from; None for a small one with random weights, whose form is the only prior.
    settings : Settings, optional
        Default: `TUNED`, or `UNTRAINED` without a model.
    memory_gb : float
        As of `learned`.

    Raises
    ------
    InputError
        If the network is not of an unrolled inversion or has no card, or is the file to be written.

    Notes
    -----
    Hidden data as the loss: Yaman et al. 2020, doi:10.1002/mrm.28378. A network without training as a prior: Ulyanov et al. 2018,
    doi:10.1109/CVPR.2018.00984. Random crops alone go through autograd: the field of a crop's change is added to that of the
    whole, which stays as it was at the start of the round.
    """
    began = time.monotonic()
    how = settings or (UNTRAINED if model is None else TUNED)
    output = Path(output)
    if output.suffix != ".onnx":
        raise InputError("a network is an ONNX file", file=output, fix="Give a name that ends in .onnx")
    parent = None if model is None else load(model)
    if parent is not None and parent.file == output.resolve():
        raise InputError("this is the network to start from", file=output, fix="Give another name")
    card = card_before(output, parent)
    if parent is not None:
        net = correction_of(parent)
        parent.check(scan.acq, noise=scan.noise, mask=scan.mask, te=False)
    # A folder that cannot be made is told of before the work begins.
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(how.seed)
    torch.set_num_threads(get_threads())
    rng = np.random.default_rng(how.seed)
    net = _small() if parent is None else net
    held_out = scan.mask & (rng.random(scan.mask.shape, np.float32) < HELD_OUT)
    if np.count_nonzero(held_out & (scan.weights() > 0)) < 100:
        raise InputError("the mask is too small to learn from", fix="Give a mask that covers the object")

    with tempfile.TemporaryDirectory() as folder, warnings_to(_deaf):
        first, second = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        if parent is None:
            _export(net, first)
        else:
            shutil.copyfile(parent.file, first)
        write_json(first.with_suffix(".json"), card.to_dict())
        before = _left(scan, held_out, first, memory_gb)
        steps = learn(Learner(net, parent, card, memory_gb), scan, held_out, how, rng, progress)
        _export(net, second)
        write_json(second.with_suffix(".json"), card.to_dict())
        after = _left(scan, held_out, second, memory_gb)
        changed = after < (1 - LEAST_GAIN) * before
        part = output.with_suffix(".part")
        shutil.copyfile(second if changed else first, part)
        part.replace(output)
    seconds = time.monotonic() - began
    write_card(
        card,
        output,
        parent=parent,
        steps=steps,
        seed=how.seed,
        changed=changed,
        before_ppm=before,
        after_ppm=after,
        seconds=seconds,
    )
    return Adapted(output, before, after, changed, steps, seconds)


def correction_of(network: Network) -> Correction:
    """A network in torch, with its weights.

    Raises
    ------
    InputError
        If it is not one of an unrolled inversion.
    """
    from onnx import load as read

    shapes = {w.name: tuple(w.dims) for w in read(network.file).graph.initializer}
    enter, down = shapes.get("enter.weight", ()), shapes.get("down1.weight", ())
    if len(enter) != 6 or len(down) != 6 or enter[2] != CHANNELS:
        raise InputError(
            f"network {network.name} is not one of an unrolled inversion",
            file=network.file,
            fix='Give one that `chimap train` made of a configuration with task = "inversion"',
        )
    net = Correction(enter[0], enter[1], down[1])
    load_weights(net, network.file)
    return net


def _small() -> Correction:
    """Random weights whose correction is 0 at first, and whose expected error is the assumed one."""
    net = Correction(1, WIDTH, DEEP)
    with torch.no_grad():
        # Inference takes the softplus of it for the scale of a Laplace distribution.
        net.out.bias[0, 1] = float(np.log(np.expm1(DOUBT / LAPLACE - CALM)))
    return net


def _export(net: Correction, path: Path) -> None:
    Inversion({}, {"steps": net.enter.weight.shape[0]}).export(net, path)


def _left(scan: Scan, held_out: Mask, model: Path, memory_gb: float) -> float:
    """Root mean square of the weighted held-out residual, in ppm, of the map that inference makes without those voxels."""
    given = scan.hiding(held_out)
    made = learned_map(
        given.field,
        given.mask,
        given.acq,
        magnitude=given.magnitude,
        r2star=given.r2star,
        noise=given.noise,
        model=str(model),
        memory_gb=memory_gb,
    )
    # Inference knows of a field that was filled in.
    residual = made.residual - given.field + scan.field
    weights = scan.weights() * held_out
    return float(np.sqrt((weights * residual**2).sum(dtype=np.float64) / weights.sum(dtype=np.float64)))


def _deaf(_: str) -> None:
    """The scan was held against the card once; runs with hidden voxels need not say it again."""
