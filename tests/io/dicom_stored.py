"""What the whole numbers of each simulated vendor's files stand for, by the vendor's own formula in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dicom_vendors as v
import numpy as np
from dicom_base import Truth


def siemens(t: Truth) -> Truth:
    """0 to 4095 over -pi to pi, the magnitude as it is."""
    stored = np.round((t.phase + np.pi) * 2048 / np.pi % 4096).clip(0, 4095)
    return Truth(stored * (np.pi / 2048) - np.pi, np.round(t.magnitude), t.te_s)


def ge_phase(t: Truth) -> Truth:
    """Thousandths of a radian."""
    return Truth(np.round(1000 * np.angle(t.signal())) / 1000, np.round(t.magnitude), t.te_s)


def ge_phase_alternate(t: Truth) -> Truth:
    """Likewise, every second slice rounded when it was half a turn away."""
    turned = t.signal()
    turned[:, :, 1::2] *= -1
    phase = np.round(1000 * np.angle(turned)) / 1000
    phase[:, :, 1::2] -= np.pi
    return Truth(np.angle(np.exp(1j * phase)), np.round(t.magnitude), t.te_s)


def ge_complex(t: Truth) -> Truth:
    """Real and imaginary parts."""
    s = np.round(t.signal().real) + 1j * np.round(t.signal().imag)
    return Truth(np.angle(s), np.abs(s), t.te_s)


def philips(t: Truth) -> Truth:
    """0 to 4095 over +-3141.59 thousandths of a radian."""
    stored = np.round((1000 * t.phase + 3141.59) / v.PHASE_SLOPE).clip(0, 4095)
    return Truth((stored * v.PHASE_SLOPE - 3141.59) / 1000, np.round(t.magnitude / 0.8) * 0.8, t.te_s)


def philips_private(t: Truth) -> Truth:
    """Real and imaginary parts about 2047."""
    scale = float(2000 / t.magnitude.max())
    parts = [(np.round(a * scale + 2047) - 2047) / scale for a in (t.signal().real, t.signal().imag)]
    s = parts[0] + 1j * parts[1]
    return Truth(np.angle(s), np.abs(s), t.te_s)


def canon(t: Truth) -> Truth:
    """+-32767 over +-pi."""
    return Truth(np.round(t.phase * (32767 / np.pi)) * (np.pi / 32767), np.round(t.magnitude), t.te_s)


def bruker(t: Truth) -> Truth:
    """+-32767 over +-pi, and 32000 for the largest magnitude."""
    step = float(t.magnitude.max()) / 32000
    return Truth(canon(t).phase, np.round(t.magnitude / step) * step, t.te_s)


Writer = Callable[[Path, Truth], None]
FORMS: dict[str, tuple[Writer, Callable[[Truth], Truth]]] = {
    "Siemens classic": (v.siemens, siemens),
    "Siemens classic, rescaled": (lambda f, t: v.siemens(f, t, rescaled=True), siemens),
    "Siemens XA, classic, no echo numbers": (lambda f, t: v.siemens(f, t, echo_numbers=False), siemens),
    "Siemens, parts interleaved in one series": (v.siemens_interleaved, siemens),
    "Siemens, echo time only in the protocol": (v.siemens_without_te, siemens),
    "Siemens XA enhanced": (v.siemens_xa, siemens),
    "Siemens XA enhanced, all in one file": (lambda f, t: v.siemens_xa(f, t, mixed=True), siemens),
    "GE phase": (lambda f, t: v.ge(f, t, parts=(0, 1)), ge_phase),
    "GE real and imaginary": (v.ge, ge_complex),
    "GE, alternate slices": (lambda f, t: v.ge(f, t, alternate=True), ge_complex),
    "GE phase, alternate slices": (lambda f, t: v.ge(f, t, parts=(0, 1), alternate=True), ge_phase_alternate),
    "Philips": (v.philips, philips),
    "Philips enhanced, all in one file": (lambda f, t: v.philips(f, t, as_enhanced=True), philips),
    "Philips, scale only in private tags": (v.philips_private_scale, philips_private),
    "Philips, private tags removed": (lambda f, t: v.philips(f, t, private=False), philips),
    "Canon": (v.canon, canon),
    "Bruker": (v.bruker, bruker),
}
