"""Labels in the space of the T1-weighted image, brought to the scan: one rigid registration a scan, kept like a stage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chimap import __version__
from chimap.pipeline.measure import Measure, append_log, release_memory
from chimap.pipeline.plan import COMBINED, FROM_T1W, Options
from chimap.pipeline.provenance import names_of
from chimap.pipeline.regions import table_beside
from chimap.pipeline.registration import ants_module, labels_by_registration
from chimap.pipeline.store import Done, code_sha256, file_sha256, key_of
from chimap.types import Mask

if TYPE_CHECKING:
    from chimap.pipeline.runner import Runner

METHOD = "rigid"
SUMMARY = "Rigid registration of the T1-weighted image to the magnitude by mutual information, with ANTs"
DOI_ANTS = "10.1016/j.neuroimage.2010.09.025"
LEAST_INSIDE = 0.7
"""Where labels and brain mask share less than this part of the smaller one, the registration seems to have failed."""


def with_labels_from_t1w(run: Runner) -> Options:
    """The options of a run with the labels on the scan's grid; without labels, and with a warning, where that cannot be had."""
    options = run.options
    assert options.t1w is not None and options.labels is not None
    nothing = replace(options, labels=None, label_table=None, t1w=None)
    magnitude = run.done["read"].get(COMBINED.suffix)
    if magnitude is None:
        run.warn(
            f"labels ({options.labels.name}) are in the space of {options.t1w.name}, and the scan has no magnitude to register that to: "
            "there is no table of regions"
        )
        return nothing
    ants = ants_module()
    if ants is None:
        run.warn(
            f"labels ({options.labels.name}) are in the space of {options.t1w.name}; registering that to the scan needs antspyx, which is "
            'not installed: there is no table of regions. Install it with pip install "chimap[registration]", or give labels in the '
            "space of the scan with --labels"
        )
        return nothing
    done = run.done["labels"] = _registered(run, str(getattr(ants, "__version__", "")))
    inside = _overlap(done[FROM_T1W.suffix].get() != 0, run.brain())
    if inside < LEAST_INSIDE:
        run.warn(
            f"labels and brain mask share only {100 * inside:.0f} % of the smaller of them after the registration of {options.t1w.name}: it "
            "may have failed. Look at the labels over the magnitude (chimap view)"
        )
    table = options.label_table or table_beside(options.labels)
    return replace(options, labels=done[FROM_T1W.suffix].path, label_table=table, t1w=None)


def _registered(run: Runner, version: str) -> Done:
    """The labels on the grid of the scan: from the disk where nothing changed, else by a registration now."""
    t1w, labels = run.options.t1w, run.options.labels
    assert t1w is not None and labels is not None
    magnitude = run.done["read"][COMBINED.suffix]
    names = names_of((t1w, labels), run.out_dir)
    needs = {"magnitude": magnitude.sha256, **{names[p]: file_sha256(p) for p in (t1w, labels)}}
    key = key_of(
        stage="labels",
        inputs=needs,
        antspyx=version,
        version=__version__,
        code=code_sha256("chimap.pipeline.anatomy", "chimap.pipeline.registration"),
    )
    found = run.store.find("labels", key, FROM_T1W.suffix)
    if found is not None:
        run.taken_over("labels", METHOD)
        return found
    release_memory()
    with run.console.stage("labels", METHOD) as bar:
        with Measure(bar) as measure:
            array = labels_by_registration(magnitude.path, t1w, labels, kind="Rigid")
        log = measure.record("labels", METHOD)
        record = {
            **log,
            "summary": SUMMARY,
            "parameters": {"interpolation": "genericLabel", "antspyx": version},
            "references": [DOI_ANTS],
            "inputs": needs,
        }
        sidecar = {"Sources": list(names.values())}
        done = run.store.save(
            "labels", key, (FROM_T1W,), {FROM_T1W.suffix: array}, run.affine, record, sidecar
        )
    append_log(run.log_json, {"scan": run.store.name, **log})
    return done


def _overlap(a: Mask, b: Mask) -> float:
    """What two masks share, as a part of the smaller one: labels may be of the whole head, or of a few nuclei."""
    least = min(int(np.count_nonzero(a)), int(np.count_nonzero(b)))
    return int(np.count_nonzero(a & b)) / max(least, 1)
