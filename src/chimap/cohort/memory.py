"""The memory that a scan is expected to need, and the memory that there is."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from chimap.errors import InputError
from chimap.io.nifti import read_header
from chimap.io.scan import Scan

BASE_GB = 0.4
"""The interpreter with its libraries and compiled code."""

_WORK_VOLUMES = 36
_FIELD_VOLUMES = 20


def declared_gb(scan: Scan) -> float:
    """Memory in GB (10^9 byte) that a scan is declared with: from its grid and number of echoes, before anything is read.

    The larger of two needs, in float32 volumes of the grid, above that of the interpreter: phase and magnitude of all echoes
    with 20 volumes of work (field), or 36 volumes (inversion). Measured peaks of the presets stay about a quarter below.
    A scan whose header cannot be read needs no more than the base: it will fail by itself.
    """
    files = scan.phase or scan.real
    try:
        header = read_header(files[0]) if files else None
    except (InputError, OSError):
        header = None
    if header is None:
        return BASE_GB
    voxels = math.prod(header.shape[:3])
    echoes = max(len(scan.te_s), 1)
    return BASE_GB + max(2 * echoes + _FIELD_VOLUMES, _WORK_VOLUMES) * voxels * 4 / 1e9


def available_gb() -> float:
    """Memory in GB (10^9 byte) that is free for work: the system's, or less where the control group allows less."""
    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, float(limit) - float((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no control groups of version 2 here
    return max(free, 0.0) / 1e9
