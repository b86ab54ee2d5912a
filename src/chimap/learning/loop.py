"""The training loop: resumable, the same for the same seed and device, with a log, held-out scores and pictures."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from chimap.errors import InputError
from chimap.learning.config import Config
from chimap.learning.pictures import write_panels
from chimap.learning.stream import VALIDATE, generator, stream
from chimap.learning.tasks import task_of
from chimap.learning.tasks.base import Batch, Sample, Task
from chimap.types import Progress, silent

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
MODEL = "model.onnx"


def train(
    config: Config,
    out: Path,
    *,
    device: str = "auto",
    until: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Train as configured, or go on where an earlier run in `out` stopped; returns the exported model.

    Parameters
    ----------
    config : Config
    out : path
        Folder for the log, the checkpoint, pictures and the model.
    device : str
        "cpu", "cuda", or "auto": the GPU if there is one.
    until : int, optional
        Stop after this step of the configured ones, as a first part of the whole run.

    Raises
    ------
    InputError
        If `out` holds a run of another configuration.
    """
    settings = config.training
    task = task_of(config)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(settings.seed)
    out.mkdir(parents=True, exist_ok=True)

    model = task.model().to(where)
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    start, seconds = _resume(out, config, model, average, optimiser, where)
    held_out = [task.sample(generator(settings.seed, VALIDATE, i)) for i in range(settings.validation)]
    last = settings.steps if until is None else min(until, settings.steps)
    began, sums, count = time.monotonic(), dict[str, float](), 0
    for step, sample in enumerate(stream(task.sample, task.augment, settings, start), start):
        if step >= last:
            break
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, settings.learning_rate, settings.warmup, settings.steps)
        model.train()
        loss, measures = _evaluate(task, model, _to(sample, where), where, settings.precision)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip))
        if math.isfinite(norm):
            optimiser.step()
            _follow(average, model, min(settings.average, (1 + step) / (10 + step)))
        for name, value in {"loss": float(loss.detach()), **measures}.items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        done = step + 1
        if done % settings.log_every == 0 or done == last:
            row = {k: v / count for k, v in sums.items()}
            _log(
                out / LOG,
                {"step": done, "kind": "train", "seconds": seconds + time.monotonic() - began, **row},
            )
            progress(done, settings.steps, **row)
            sums, count = {}, 0
        if (done % settings.validate_every == 0 or done == last) and held_out:
            scores = validate(task, average, held_out, where, settings.precision)
            _log(
                out / LOG,
                {"step": done, "kind": "held out", "seconds": seconds + time.monotonic() - began, **scores},
            )
            write_panels(
                out / f"step{done:06d}.png", [task.panels(average, _to(s, where)) for s in held_out[:3]]
            )
        if done % settings.save_every == 0 or done == last:
            _save(out, config, model, average, optimiser, done, seconds + time.monotonic() - began)
    task.export(average.cpu().float(), out / MODEL)
    return out / MODEL


def validate(
    task: Task, model: torch.nn.Module, samples: list[Sample], where: torch.device, precision: str
) -> dict[str, float]:
    """Means of loss and measures over held-out samples."""
    rows = []
    model.eval()
    with torch.no_grad():
        for sample in samples:
            loss, measures = _evaluate(task, model, _to(sample, where), where, precision)
            rows.append({"loss": float(loss), **measures})
    return {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}


def _evaluate(
    task: Task, model: torch.nn.Module, batch: Batch, where: torch.device, precision: str
) -> tuple[torch.Tensor, dict[str, float]]:
    with torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        return task.loss(model, batch)


def _to(sample: Sample, where: torch.device) -> Batch:
    return {k: torch.from_numpy(np.ascontiguousarray(v)).to(where) for k, v in sample.items()}


def _rate(step: int, highest: float, warmup: int, steps: int) -> float:
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


@torch.no_grad()
def _follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    for a, m in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(m, 1 - decay)


def _log(path: Path, row: dict[str, float | str | int]) -> None:
    """Append a row; a measure that the header does not know is left out."""
    new = not path.exists()
    header = list(row) if new else next(csv.reader(path.open(encoding="utf-8")))
    with path.open("a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, header, extrasaction="ignore", restval="")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def _identity(config: Config) -> str:
    """What a resumed run must share: everything but where and how often it reports."""
    content = asdict(config)
    for name in ("log_every", "validate_every", "save_every", "validation", "workers", "threads"):
        content["training"].pop(name)
    return json.dumps(content, sort_keys=True)


def _save(out: Path, config: Config, model, average, optimiser, step: int, seconds: float) -> None:  # type: ignore[no-untyped-def]
    part = out / (CHECKPOINT + ".part")
    state = {
        "config": _identity(config),
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, part)
    part.replace(out / CHECKPOINT)


def _resume(out: Path, config: Config, model, average, optimiser, where) -> tuple[int, float]:  # type: ignore[no-untyped-def]
    """Step and seconds of the checkpoint in `out`, if there is one; rows logged after it are dropped."""
    file = out / CHECKPOINT
    if not file.exists():
        (out / LOG).unlink(missing_ok=True)
        return 0, 0.0
    state = torch.load(file, map_location=where, weights_only=True)
    if state["config"] != _identity(config):
        raise InputError(
            "holds a run of another configuration", file=out, fix="Give another folder, or remove this one"
        )
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    if (out / LOG).exists():
        lines = (out / LOG).read_text(encoding="utf-8").splitlines()
        kept = [lines[0], *(x for x in lines[1:] if int(x.split(",", 1)[0]) <= state["step"])]
        (out / LOG).write_text("\n".join(kept) + "\n", encoding="utf-8")
    return int(state["step"]), float(state["seconds"])
