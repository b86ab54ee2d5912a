"""A data set of several simulated subjects and sessions, for benchmarks of cohorts.

    python -m benchmarks.cohort_data OUT --subjects 6 --sessions 2 --voxel 3

Each subject is another head, each session another measurement of it. participants.tsv has age, sex and group, which the heads know
nothing of: regressions on them should find nothing but chance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chimap.acquisition import Acquisition
from chimap.simulate import head_phantom, simulate_scan, write_bids

TE_S = (0.004, 0.012, 0.020)


def make_cohort(root: Path, subjects: int, sessions: int, voxel_mm: float) -> Path:
    """Write the data set, unless it is there."""
    table = root / "participants.tsv"
    if table.is_file() and table.read_text().startswith("participant_id\tage"):
        return root
    acq = Acquisition(TE_S, 3.0, voxel_size_mm=(voxel_mm,) * 3)
    fine = voxel_mm / 1.5
    for n in range(subjects):
        phantom = head_phantom((fine, fine, fine), seed=n)
        for s in range(sessions):
            scan = simulate_scan(phantom, acq, snr=100.0, seed=100 * n + s)
            write_bids(scan, acq, root, f"{n + 1:02d}", f"{s + 1}" if sessions > 1 else None)
    rng = np.random.default_rng(0)
    rows = ["participant_id\tage\tsex\tgroup\tsite"]
    for n in range(subjects):
        rows.append(
            f"sub-{n + 1:02d}\t{rng.integers(22, 78)}\t{'FM'[n % 2]}\t{('patient', 'control')[n // 2 % 2]}\tsite{n % 3}"
        )
    table.write_text("\n".join(rows) + "\n")
    return root


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--voxel", type=float, default=3.0)
    args = parser.parse_args()
    make_cohort(args.out, args.subjects, args.sessions, args.voxel)


if __name__ == "__main__":
    main()
