"""What the quality numbers of a scan mean, which way is worse, and from where on they warn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Numbers = dict[str, float | int | None]
"""Value by name, None where it could not be measured."""


@dataclass(frozen=True)
class Term:
    """One number.

    Parameters
    ----------
    unit, text
        Unit and definition.
    worse : {"higher", "lower", ""}
        Which way is worse; empty where neither is.
    limit : float or None
        Beyond it a warning is given; None where the number only informs.
    said : str
        The warning, with ``{value}``; what it may mean, and what to do.
    why : str
        Where the limit comes from.
    """

    unit: str
    text: str
    worse: Literal["higher", "lower", ""] = ""
    limit: float | None = None
    said: str = ""
    why: str = ""

    def bad(self, value: float) -> bool:
        """Whether a value is beyond the limit."""
        if self.limit is None:
            return False
        return value > self.limit if self.worse == "higher" else value < self.limit

    def record(self) -> dict[str, Any]:
        """The entry of the data dictionary."""
        entry: dict[str, Any] = {"Description": self.text, "Units": self.unit or "1"}
        if self.worse:
            entry["Worse"] = self.worse
        if self.limit is not None:
            entry |= {"WarnsBeyond": self.limit, "WhyThere": self.why}
        return entry


_MEASURED = "measured on simulated heads of 1.5 to 3 mm voxels: "

TERMS: dict[str, Term] = {
    "snr_first_echo": Term(
        "", "Median magnitude in the brain over the standard deviation of the noise, first echo", "lower", 10.0,
        "The signal of the first echo is only {value} times its noise: the map will be noisy. Larger voxels or more averages help",
        "the phase of a voxel is then known to 0.1 rad at best",
    ),
    "snr_last_echo": Term(
        "", "The same of the last echo", "lower", 3.0,
        "The signal of the last echo is only {value} times its noise: its phase is hardly known. A shorter last echo time loses little",
        "below 3 the noise of phase is no longer normal, and unwrapping begins to fail",
    ),
    "ghost_percent": Term(
        "%", "Mean magnitude of the air where an object shifted by half the field of view lies, less that of the other air, over that of the "
        "object; largest of the three axes, first echo", "higher", 3.0,
        "The air holds ghosts of {value} % of the signal: the head may have moved, or pulsated, during the scan. Look at the magnitude",
        _MEASURED + "1.5 at most without ghosts, 6 with a ghost of a tenth of the signal",
    ),
    "echo_shift_mm": Term(
        "mm", "Displacement of an echo against what the decay of the others leads to expect, of a rigid motion fitted to the magnitude; root "
        "mean square over the brain, largest of the echoes. Motion that is even over the echoes is not seen", "higher",
    ),
    "echo_shift_voxels": Term(
        "voxels", "The same over the smallest side of a voxel", "higher", 0.12,
        "The echoes are shifted against each other by {value} voxels: the head may have moved, or readouts are bipolar at a low bandwidth",
        _MEASURED + "0.02 to 0.06 without motion at SNR 10 to 100, 0.16 and more with motion of 0.3 mm and 0.3 degrees an echo",
    ),
    "odd_even_phase_rad": Term(
        "rad", "Phase by which odd and even echoes differ (standard deviation over the object); taken off before the fit below where readouts "
        "are bipolar", "higher",
    ),
    "phase_residual_rad": Term(
        "rad", "Difference of the phase of the echoes from a line over the echo time whose slope is the total field: root mean square over "
        "echoes (weighted by squared magnitude) and brain", "higher",
    ),
    "phase_residual_over_noise": Term(
        "", "The same of the median voxel over what the noise explains; 1 is noise alone", "higher", 1.4,
        "The phase of the echoes differs from a line by {value} times its noise: motion, uncorrected bipolar readouts, filtered phase or a "
        "wrong echo time may be the cause. Look at the findings of the check",
        _MEASURED + "1.0 to 1.11 without faults at SNR 10 to 100, 1.5 to 3.4 with motion, 12 and more with bipolar readouts left in",
    ),
    "phase_misfit_percent": Term(
        "%", "Voxels of the brain whose difference exceeds 3 times its noise plus 0.1 rad", "higher", 8.0,
        "In {value} % of the brain the phase of the echoes does not fit a line: there the field cannot be relied on",
        _MEASURED + "0.5 to 4 without faults (near air), 5 to 25 with motion",
    ),
    "phase_jumps": Term(
        "pairs of voxels", "Neighbours between which the total field makes more than half a turn within the shortest echo spacing, where the field "
        "is known well", "higher", 20,
        "The total field has steps of 2 pi between {value} pairs of voxels: unwrapping may have failed. Try another method of the stage unwrap",
        _MEASURED + "0 without faults; a wrong turn of a region of 10 voxels' width makes hundreds",
    ),
    "field_lost_percent": Term(
        "%", "Voxels of the brain mask without a usable field (see desc-excluded_dseg)", "higher", 1.0,
        "In {value} % of the brain mask the field is not usable: the mask may reach into air or bone, or signal is lost",
        _MEASURED + "0.02 to 0.1 with a mask of the brain, 2 to 7 with one that is 8 or 9 mm too wide",
    ),
    "mask_lost_percent": Term(
        "%", "Voxels of the brain mask in which the susceptibility map is not valid, as background removal takes a rim off", "higher", 25.0,
        "The map leaves out {value} % of the brain mask: much of the cortex is missing. Background removal that keeps the rim helps (pdf, joint)",
        "a rim of one voxel of 1 mm is about 6 %, V-SHARP takes 12 % at 3 mm",
    ),
    "local_field_noise_ppb": Term(
        "ppb", "Median standard deviation of the local field, propagated from the noise of the phase", "higher", 15.0,
        "The noise of the local field is {value} ppb: fine structures and small differences of susceptibility will not show",
        "the field of deep grey matter is 20 to 50 ppb",
    ),
    "chi_noise_ppb": Term(
        "ppb", "Standard deviation of what changes in the map from voxel to voxel along all three axes at once; fine anatomy is part of it",
        "higher",
    ),
    "streak_index": Term(
        "", "Power of the map near the magic cone of k-space (dipole kernel below 0.08) over its power where the kernel is 0.35 to 0.60, within "
        "rings of spatial frequency (zones of doi:10.1002/mrm.28435); tissue alone has about 0.8", "higher", 2.0,
        "The map has {value} times as much power near the magic cone as elsewhere: streaks. Regularise more (chimap tune), and look for a local "
        "field that is wrong somewhere",
        _MEASURED + "true maps 0.8, reconstructions by the presets 0.5 to 1.5, TKD with a threshold of 0.1 2.2 and more",
    ),
    "r2star_residual_percent": Term(
        "%", "Difference of the magnitudes from a decay with R2*, root mean square over the echoes, in percent of the first echo; median over the "
        "brain. Noise is part of it", "higher",
    ),
    "r2star_misfit_percent": Term(
        "%", "Voxels of the brain in which it exceeds 3 times the noise plus 5 % of the first echo", "higher", 3.0,
        "In {value} % of the brain the magnitude does not fall as R2* says: motion between echoes, or strong field gradients",
        _MEASURED + "0.1 to 1 without faults, 2 to 4 with motion",
    ),
}  # fmt: skip
"""The numbers in the order of the stages that they judge."""


@dataclass(frozen=True)
class Quality:
    """The numbers of a scan by name (None where one could not be measured), and the warnings that they give."""

    numbers: Numbers = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One dict a number that was measured: ``name, value, unit, text, limit, worse, bad``."""
        return [
            {
                "name": key,
                "value": value,
                "unit": TERMS[key].unit,
                "text": TERMS[key].text,
                "limit": TERMS[key].limit,
                "worse": TERMS[key].worse,
                "bad": TERMS[key].bad(value),
            }
            for key, value in self.numbers.items()
            if value is not None
        ]


def warnings_of(numbers: Mapping[str, float | int | None]) -> list[str]:
    """The sentences that numbers beyond their limits give, in the order of the terms."""
    return [
        term.said.format(value=f"{value:.3g}")
        for key, term in TERMS.items()
        if (value := numbers.get(key)) is not None and term.bad(value)
    ]
