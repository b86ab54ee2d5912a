"""Scans of uncombined receive channels, combined before anything else is done with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.io.scan import Scan


def combined(scan: Scan, work_dir: str | Path) -> Scan:
    """The scan with one phase and one magnitude in place of its channels, by ASPIRE (or what the echoes allow).

    The result is kept in `work_dir` and used again. Scans of one channel, and scans with errors, come back as they are.

    Raises
    ------
    InputError
        If channels have no magnitude, or are real and imaginary images.
    """
    if scan.channels < 2 or any(p.level == "error" for p in scan.problems):
        return scan
    if not (scan.phase and scan.magnitude):
        raise InputError(
            f"scan {scan.name} has {scan.channels} uncombined channels without phase and magnitude",
            file=scan.files[0],
            fix="Export magnitude and phase of the channels, or combined images",
        )
    from chimap.acquisition import Acquisition
    from chimap.io import scaling
    from chimap.io.channels import ChannelFiles
    from chimap.io.findings import Finding
    from chimap.io.geometry import b0_direction, voxel_size
    from chimap.io.nifti import save_volume, write_json
    from chimap.io.safe import make_folder
    from chimap.io.sidecar import beside
    from chimap.phase.aspire import combine_coils
    from chimap.pipeline.measure import Measure

    folder = make_folder(Path(work_dir)) / f"combined-{scan.phase[0].parent.name}"
    phase, magnitude = (folder / f"{scan.name}_{part}.nii" for part in ("phase", "magnitude"))
    if not phase.with_suffix(".json").is_file():
        channels = ChannelFiles(scan.phase, len(scan.te_s), "channel")
        header = channels.headers[0]
        acq = Acquisition(
            scan.te_s, scan.b0_t, scan.b0_dir or b0_direction(header.affine), voxel_size(header.affine)
        )
        channels.scale(
            scaling.detect(
                scaling.statistics(channels.channel(0)),
                scan.metadata,
                sidecar=True,
                phase_range=scan.phase_range,
                file=str(header.path),
            )
        )
        amplitudes = ChannelFiles(scan.magnitude, len(scan.te_s), "channel")
        with Measure(None) as measure:
            out = combine_coils(channels, amplitudes, acq, progress=measure.progress)
        save_volume(magnitude, out[1], header.affine, description="chimap combined magnitude")
        save_volume(phase, out[0], header.affine, description="chimap combined phase [rad]")
        # Last: what tells that all of it is there.
        write_json(
            phase.with_suffix(".json"), {"Units": "rad", "CoilCombinationMethod": measure.facts["method"]}
        )
    method = str(beside(phase).get("CoilCombinationMethod", ""))
    what = f"{scan.channels} receive channels combined by {method}"
    return replace(
        scan,
        phase=(phase,),
        magnitude=(magnitude,),
        channels=1,
        phase_range=None,
        metadata={**scan.metadata, "Units": "rad", "CoilCombinationMethod": method},
        problems=(*scan.problems, Finding("note", "channels", what, "Look at the phase for singularities")),
    )
