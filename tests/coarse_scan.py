"""A small simulated head as files, made once for all tests of pipeline and command line."""

from __future__ import annotations

import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chimap.acquisition import Acquisition
from chimap.simulate import head_phantom, simulate_scan, write_bids, write_flat

TE_S = (0.004, 0.012, 0.020)


@dataclass(frozen=True)
class Coarse:
    """`bids`: a data set of one subject; `flat`: the same scan as flat files."""

    bids: Path
    flat: Path
    acq: Acquisition

    @property
    def truth(self) -> Path:
        return self.bids / "derivatives" / "truth" / "sub-01" / "anat"


@functools.cache
def coarse_scan() -> Coarse:
    """The scan; its folder goes when Python exits."""
    import atexit

    root = Path(tempfile.mkdtemp(prefix="chimap-tests-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    acq = Acquisition(TE_S, 3.0, voxel_size_mm=(3.0, 3.0, 3.0))
    scan = simulate_scan(head_phantom((2.0, 2.0, 2.0)), acq, snr=100.0)
    write_bids(scan, acq, root / "bids", "01")
    write_flat(scan, acq, root / "flat")
    return Coarse(root / "bids", root / "flat", acq)
