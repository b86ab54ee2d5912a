"""The quality numbers of a scan in words that need no manual: the rows of the report's table."""

from __future__ import annotations

from typing import Any

from chimap.pipeline.quality_terms import TERMS, Quality

WORDS: dict[str, tuple[str, str]] = {
    "snr_first_echo": ("SNR, first echo", "How far the signal of the brain stands above the noise."),
    "snr_last_echo": ("SNR, last echo", "The same after the signal has decayed; the phase of a weak echo is hardly known."),
    "ghost_percent": ("Ghosts", "Signal of the head that motion or pulsation during the scan has put into the air."),
    "echo_shift_mm": ("Shift between echoes", "How far the brain has moved from one echo to another."),
    "echo_shift_voxels": ("Shift between echoes, in voxels", "The same, in the unit in which it harms."),
    "odd_even_phase_rad": ("Odd against even echoes", "Readouts in alternating directions give these echoes different phases."),
    "phase_residual_rad": ("Unexplained phase", "What the field cannot explain of the measured phase."),
    "phase_residual_over_noise": ("Unexplained phase over noise", "1: only noise is left; more: motion, flow or a wrong echo time too."),
    "phase_misfit_percent": ("Voxels with unexplained phase", "Where the field cannot be relied on."),
    "phase_jumps": ("Steps in the field", "Steps of a full turn that unwrapping has left or made."),
    "field_lost_percent": ("Brain without a field", "Voxels of the brain mask that are noise, air or bone."),
    "mask_lost_percent": ("Brain without a map", "The rim that background field removal gives up."),
    "local_field_noise_ppb": ("Noise of the local field", "How well the field that the map is made from is known."),
    "chi_noise_ppb": ("Noise of the map", "Grain of the map from voxel to voxel, with the finest anatomy."),
    "streak_index": ("Streaks", "About 1: none; more: artefacts of the inversion along the magic angle."),
    "r2star_residual_percent": ("Misfit of the decay", "How far the echoes' magnitudes lie from an exponential."),
    "r2star_misfit_percent": ("Voxels with misfit of the decay", "Where R2* does not describe the signal."),
}  # fmt: skip
"""Title and one plain sentence for each number."""


def quality_rows(quality: Quality) -> list[dict[str, Any]]:
    """One dict a number that was measured: ``title, value, unit, threshold, status, means``.

    Values have three digits. ``threshold`` is in words ("at most 3"), empty where a number only informs; ``status`` is "met", "not met" or "no limit".
    """
    return [
        {
            "title": WORDS[row["name"]][0],
            "value": row["value"] if isinstance(row["value"], int) else float(f"{row['value']:.3g}"),
            "unit": row["unit"],
            "threshold": _threshold(row["name"]),
            "status": "no limit" if row["limit"] is None else "not met" if row["bad"] else "met",
            "means": WORDS[row["name"]][1],
        }
        for row in quality.rows()
    ]


def _threshold(name: str) -> str:
    term = TERMS[name]
    return "" if term.limit is None else f"at {'most' if term.worse == 'higher' else 'least'} {term.limit:g}"
