"""One phase and one magnitude from uncombined receive channels.

Files of the channels, phase and magnitude alike, in one of three forms:
  one file with the axes x, y, z, echo, channel
  one file a channel, its echoes along the fourth axis (3-D for a single echo)
  one file an echo, its channels along the fourth axis
Only one channel at a time is in memory.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from chimap.cli import _stage
from chimap.errors import InputError

if TYPE_CHECKING:
    from chimap.io.channels import ChannelFiles
    from chimap.pipeline.console import Console

SUMMARY = "one phase and magnitude from uncombined receive channels"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument("--phase", required=True, nargs="+", metavar="NII", help="phase of the channels")
    parser.add_argument(
        "--magnitude", required=True, nargs="+", metavar="NII", help="magnitude of the channels"
    )
    parser.add_argument("-o", "--output", required=True, metavar="NII", help="combined phase in rad")
    parser.add_argument("--magnitude-out", required=True, metavar="NII", help="combined magnitude")
    parser.add_argument("--mask", metavar="NII", help="the object; what is outside is left out and 0")
    parser.add_argument(
        "--fourth-axis", choices=["echo", "channel"], help="of 4-D files (default: what fits the echo times)"
    )
    parser.add_argument(
        "--phase-range", type=float, nargs=2, metavar=("MIN", "MAX"), help="stored values for -pi and +pi"
    )
    group = parser.add_argument_group("method", "doi:10.1002/mrm.26963 doi:10.1002/mrm.24932")
    group.add_argument(
        "--method",
        choices=["aspire", "mcpc3ds", "vrc"],
        default="aspire",
        help="aspire: two echoes of which one comes at twice the other's time or so, no unwrapping, goes on as mcpc3ds "
        "where there are none; mcpc3ds: the first two echoes, unwrapped; vrc: virtual reference coil, also for "
        "a single echo (default: aspire)",
    )
    group.add_argument(
        "--smoothing-mm",
        type=float,
        default=5.0,
        metavar="MM",
        help="SD of the Gaussian that smooths the channels' phases (default: 5)",
    )
    group.add_argument(
        "--order",
        type=int,
        default=4,
        metavar="N",
        help="degree of the polynomial taken out of them before, 0 to 6 (default: 4)",
    )
    _stage.add_acquisition(parser)


def run(args: argparse.Namespace) -> int:
    """Read channel by channel, combine, write."""
    from chimap.io.channels import ChannelFiles
    from chimap.phase.aspire import combine_coils
    from chimap.pipeline.measure import Measure, append_log, compile_clock

    _stage.check_output(args.output, args.magnitude_out)
    compile_clock.start()
    if args.acq is None and not args.te:
        raise InputError("the echo times are not given", fix="Give --te, or --acq params.json")
    acq = _stage.acquisition(args, args.phase[0], needs_te=False)
    phase = ChannelFiles(args.phase, acq.echoes, args.fourth_axis)
    magnitude = ChannelFiles(args.magnitude, acq.echoes, args.fourth_axis)
    if phase.shape != magnitude.shape:
        raise InputError(
            f"the magnitude is (x, y, z, echo, channel) = {magnitude.shape} but the phase {phase.shape}",
            file=args.magnitude[0],
            fix="Give both of the same scan",
        )
    if phase.shape[4] < 2:
        raise InputError(
            "there is only one channel", file=args.phase[0], fix="Combined images need no combination"
        )
    mask = _stage.read_mask(args.mask, (args.phase[0], phase.shape)) if args.mask else None
    console = _stage.console_of(args)
    console.note(f"{phase.shape[4]} channels, {acq.echoes} echo{'es' if acq.echoes > 1 else ''}")
    _in_rad(phase, args, console)
    with console.stage("combine-coils", args.method) as bar:
        with Measure(bar) as measure:
            combined = combine_coils(
                phase,
                magnitude,
                acq,
                mask,
                method=args.method,
                smoothing_mm=args.smoothing_mm,
                order=args.order,
                progress=measure.progress,
            )
        record = measure.record("combine-coils", args.method)
    used = measure.facts["method"]
    if used != args.method:
        console.note(f"no two echoes suit {args.method}; {used} was used")
    parameters = {"smoothing_mm": args.smoothing_mm, "order": args.order}
    append_log(args.log_json, {**record, "parameters": parameters})
    _stage.save(args.output, combined[0], args.phase[0], "combined phase [rad]")
    _stage.save(args.magnitude_out, combined[1], args.phase[0], "combined magnitude")
    about = {
        "CoilCombinationMethod": used,
        "CoilCombinationEchoes": measure.facts["echoes"],
        "Channels": phase.shape[4],
        "EchoTime": list(acq.te_s),
        **parameters,
    }
    _stage.note_sidecar(args.output, {"Units": "rad", **about})
    _stage.note_sidecar(args.magnitude_out, about)
    return 0


def _in_rad(phase: ChannelFiles, args: argparse.Namespace, console: Console) -> None:
    """Find from the first channel how the phase is stored, and have all channels scaled alike."""
    from chimap.io import scaling

    limits = tuple(args.phase_range) if args.phase_range else None
    stored = scaling.statistics(phase.channel(0))
    found = scaling.detect(stored, {"Units": "rad"}, sidecar=False, phase_range=limits, file=args.phase[0])
    if found.factor != 1 or found.offset != 0 or found.level in ("warning", "error"):
        console.note(f"{args.phase[0]}: {found.what}")
    phase.scale(found)
