"""Samples for a training run: the same ones for the same seed, made ahead by other processes, each used several times."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np

from chimap.learning.config import Training
from chimap.numerics.threads import set_threads

Sample = dict[str, np.ndarray]
TRAIN, VALIDATE = 0, 1
AHEAD = 3
"""Samples under way for each worker."""


def generator(seed: int, purpose: int, index: int) -> np.random.Generator:
    """The generator of one sample: training and validation never share one."""
    return np.random.default_rng([seed, purpose, index])


def index_at(step: int, settings: Training) -> int:
    """Number of the sample of a step: every `reuse` steps a new one, in between one of the last `cache`."""
    newest = step // settings.reuse
    if step % settings.reuse == 0:
        return newest
    choice = generator(settings.seed, 2, step)
    return int(choice.integers(max(newest - settings.cache + 1, 0), newest + 1))


def _prepare() -> None:
    os.nice(1)
    set_threads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose run was killed would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _make(sample: Callable[[np.random.Generator], Sample], seed: int, index: int) -> Sample:
    return sample(generator(seed, TRAIN, index))


def stream(
    sample: Callable[[np.random.Generator], Sample],
    augment: Callable[[Sample, np.random.Generator], Sample],
    settings: Training,
    start: int = 0,
) -> Iterator[Sample]:
    """The samples of the steps from `start` on; a resumed run goes on with those that it would have had."""
    pool = (
        ProcessPoolExecutor(settings.workers, multiprocessing.get_context("spawn"), initializer=_prepare)
        if settings.workers > 0
        else None
    )
    under_way: dict[int, Future[Sample]] = {}
    kept: OrderedDict[int, Sample] = OrderedDict()
    asked = start // settings.reuse - 1
    try:
        for step in range(start, settings.steps):
            index = index_at(step, settings)
            if pool is not None:
                last = min(
                    step // settings.reuse + AHEAD * settings.workers, settings.steps // settings.reuse
                )
                for k in range(asked + 1, last + 1):
                    under_way[k] = pool.submit(_make, sample, settings.seed, k)
                asked = max(asked, last)
            if index not in kept:
                future = under_way.pop(index, None)
                kept[index] = future.result() if future else _make(sample, settings.seed, index)
                while len(kept) > settings.cache:
                    kept.popitem(last=False)
            yield augment(kept[index], generator(settings.seed, 3, step))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
