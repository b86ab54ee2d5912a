"""Simulated DICOM as the vendors' scanners write it: each writer has one habit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dicom_base import Truth, classic, enhanced, header, save, slices, whole
from pydicom.uid import generate_uid

# -- Siemens ---------------------------------------------------------------------------------------------------


def siemens(
    folder: Path,
    truth: Truth,
    *,
    rescaled: bool = False,
    echo_numbers: bool = True,
    first: int = 4,
    second: int | None = None,
    coil_by_slice: bool = False,
    **fields: Any,
) -> None:
    """Two series of classic files; phase 0..4095, with the rescaling to +-4096 of VB17 and later where `rescaled`."""
    phase = whole((truth.phase + np.pi) * 2048 / np.pi % 4096).clip(0, 4095).astype(np.uint16)
    uids = {first: generate_uid(), first + 1: generate_uid()}
    second = first + 1 if second is None else second
    for series, kind, data in ((first, "M", whole(truth.magnitude)), (second, "P", phase)):
        for e, z, n in slices(truth):
            extra = dict(fields)
            if kind == "P" and rescaled:
                extra |= {"RescaleSlope": 2, "RescaleIntercept": -4096, "RescaleType": "US"}
            if not echo_numbers:
                extra["EchoNumbers"] = None
            base = header("SIEMENS", "Prisma", "syngo MR E11", series, uids[series])
            base.ImageType = ["ORIGINAL", "PRIMARY", kind, "ND"]
            number = 2 * n + (kind == "P")
            d = classic(
                data[:, :, z, e].T, base, echo=e + 1, te_s=truth.te_s[e], z=z, instance=number, **extra
            )
            if coil_by_slice:
                d.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", f"H{1 + z % 3}")
            if "EchoTime" in extra:
                text = "\n".join(f"alTE[{i}]\t = \t{round(1e6 * t)}" for i, t in enumerate(truth.te_s))
                block = d.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
                block.add_new(0x20, "OB", f"### ASCCONV BEGIN ###\n{text}\ntPatient = Quendolin \n".encode())
            save(d, folder, 1000 * series + number)


def siemens_interleaved(folder: Path, truth: Truth) -> None:
    """Magnitude and phase in turn in one series."""
    siemens(folder, truth, second=4)


def siemens_without_te(folder: Path, truth: Truth) -> None:
    """The echo time was removed; the protocol in the private header still has it."""
    siemens(folder, truth, EchoTime=None)


def sensitivities(truth: Truth, channels: int) -> np.ndarray:
    """Smooth complex weights (x, y, z, channel)."""
    x, y, z = (np.linspace(-1, 1, n) for n in truth.phase.shape[:3])
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    angles = 2 * np.pi * np.arange(channels) / channels
    size = [np.exp(-0.5 * ((x - np.cos(a)) ** 2 + (y - np.sin(a)) ** 2)) for a in angles]
    return np.stack(
        [s * np.exp(1j * (2 * a + 0.5 * x - 0.3 * a * y)) for s, a in zip(size, angles, strict=True)], -1
    )


def siemens_coils(folder: Path, truth: Truth, coils: np.ndarray, *, named: bool = True) -> None:
    """Uncombined: the slices of every channel in one series a part, told by (0051,100F), or only by the dimensions in (0021,1106)."""
    for series, kind in ((4, "M"), (5, "P")):
        uid = generate_uid()
        for c in range(coils.shape[-1]):
            signal = truth.signal() * coils[..., None, c]
            data = np.abs(signal) if kind == "M" else (np.angle(signal) + np.pi) * 2048 / np.pi % 4096
            data = whole(data).clip(0, 4095).astype(np.uint16)
            for e, z, n in slices(truth):
                base = header("SIEMENS", "Prisma", "syngo MR E11" if named else "syngo MR XA30", series, uid)
                base.ImageType = ["ORIGINAL", "PRIMARY", kind, "ND"]
                n = n * coils.shape[-1] + c
                d = classic(data[:, :, z, e].T, base, echo=e + 1, te_s=truth.te_s[e], z=z, instance=n)
                if named:
                    d.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", f"H{c + 9}")
                else:
                    d.private_block(0x0021, "SIEMENS MR SDS 01", create=True)
                    block = d.private_block(0x0021, "SIEMENS MR SDI 02", create=True)
                    block.add_new(0x06, "LO", f"{c + 9}_1_1_{e + 1}_1_1_{z + 1}_1_1_1_1_1_1")
                save(d, folder, 10000 * series + n)


def siemens_mosaic(folder: Path, truth: Truth) -> None:
    """All slices of an echo tiled into one image."""
    uid = generate_uid()
    for kind in ("M", "P"):
        for e, te in enumerate(truth.te_s):
            base = header("SIEMENS", "Prisma", "syngo MR E11", 7, uid)
            base.ImageType = ["ORIGINAL", "PRIMARY", kind, "ND", "MOSAIC"]
            tiles = np.hstack(list(np.moveaxis(whole(truth.magnitude[..., e]), 2, 0))).T
            save(
                classic(tiles, base, echo=e + 1, te_s=te, z=0, instance=e + 1),
                folder,
                7000 + e + 10 * (kind == "P"),
            )


def siemens_xa(
    folder: Path, truth: Truth, *, mixed: bool = False, series: int = 4, last: str = "NONE"
) -> None:
    """Enhanced: a file an echo, magnitude and phase in series of their own; or all of it interleaved in one file.

    `last` is the fourth word of the frame type.
    """
    phase = whole((truth.phase + np.pi) * 2048 / np.pi % 4096).clip(0, 4095).astype(np.uint16)
    files: dict[tuple[int, int], list[dict[str, Any]]] = {}
    first = series
    for e, z, _ in slices(truth):
        for series, kind, data in ((first, "M", whole(truth.magnitude)), (first + 1, "P", phase)):
            frame = {"pixels": data[:, :, z, e].T, "kind": kind, "te_s": truth.te_s[e], "z": z}
            frame["frame_type"] = ["ORIGINAL", "PRIMARY", kind, last]
            if kind == "P":
                frame |= {"slope": 2, "intercept": -4096}
            files.setdefault((first, 0) if mixed else (series, e), []).append(frame)
    uids = {first: generate_uid(), first + 1: generate_uid()}
    for n, ((series, e), frames) in enumerate(files.items()):
        base = header("SIEMENS", "MAGNETOM Vida", "syngo MR XA30", series, uids[series])
        base.ImageType, base.InstanceNumber = (
            ["ORIGINAL", "PRIMARY", "MIXED" if mixed else frames[0]["kind"], "NONE"],
            e + 1,
        )
        save(enhanced(base, frames), folder, 50 * first + n)


def siemens_xa_coils(folder: Path, truth: Truth, coils: np.ndarray) -> None:
    """Enhanced and uncombined: a file an echo, part and channel."""
    for series, kind in ((4, "M"), (5, "P")):
        uid = generate_uid()
        for c in range(coils.shape[-1]):
            signal = truth.signal() * coils[..., None, c]
            data = np.abs(signal) if kind == "M" else (np.angle(signal) + np.pi) * 2048 / np.pi % 4096
            data = whole(data).clip(0, 4095).astype(np.uint16)
            for e, te in enumerate(truth.te_s):
                frames = [
                    {"pixels": data[:, :, z, e].T, "kind": kind, "te_s": te, "z": z, "coil": f"H{c + 9}"}
                    | {"frame_type": ["ORIGINAL", "PRIMARY", kind, "NONE"]}
                    for z in range(data.shape[2])
                ]
                base = header("SIEMENS", "MAGNETOM Vida", "syngo MR XA30", series, uid)
                base.ImageType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
                save(enhanced(base, frames), folder, 1000 * series + 10 * c + e)


# -- Philips ---------------------------------------------------------------------------------------------------

PHASE_SLOPE = 2 * 3141.59 / 4095


def philips(folder: Path, truth: Truth, *, as_enhanced: bool = False, private: bool = True) -> None:
    """Magnitude and phase, all echoes, in one series: 0..4095 rescaled to +-3142 mrad, and the private scale to rad."""
    series, uid = 501, generate_uid()
    stored = {
        "M": whole(truth.magnitude / 0.8),
        "P": whole((1000 * truth.phase + 3141.59) / PHASE_SLOPE).clip(0, 4095).astype(np.uint16),
    }
    scales = {"M": (0.8, 0.0, 2.5, "normalized"), "P": (PHASE_SLOPE, -3141.59, 1000 / PHASE_SLOPE, "mrad")}
    types = {
        "M": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        "P": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"],
    }
    frames = []
    number = 0
    for z in range(truth.phase.shape[2]):
        for e, te in enumerate(truth.te_s):
            for kind in ("M", "P"):
                number += 1
                slope, intercept, scale, unit = scales[kind]
                pixels = stored[kind][:, :, z, e].T
                if as_enhanced:
                    frames.append(
                        {
                            "pixels": pixels,
                            "kind": kind,
                            "te_s": te,
                            "z": z,
                            "frame_type": types[kind],
                            "slope": slope,
                            "intercept": intercept,
                            "unit": unit,
                            "scale_slope": scale,
                        }
                    )
                    continue
                base = header("Philips Medical Systems", "Ingenia", "5.7.1", series, uid)
                base.ImageType = types[kind]
                d = classic(
                    pixels,
                    base,
                    echo=e + 1,
                    te_s=te,
                    z=z,
                    instance=number,
                    RescaleSlope=f"{slope:.10g}",
                    RescaleIntercept=f"{intercept:.10g}",
                    RescaleType=unit,
                    ScanningSequence="GR",
                    SequenceName=None,
                )
                if private:
                    block = d.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
                    block.add_new(0x0D, "FL", 0.0)
                    block.add_new(0x0E, "FL", scale)
                    block.add_new(0x11, "CS", kind)
                save(d, folder, number)
    if as_enhanced:
        base = header("Philips Medical Systems", "Ingenia", "5.7.1", series, uid)
        base.ImageType, base.InstanceNumber = ["ORIGINAL", "PRIMARY", "T2", "MIXED"], 1
        save(enhanced(base, frames), folder, 1)


def philips_private_scale(folder: Path, truth: Truth) -> None:
    """Real and imaginary images whose public rescaling is 1 and 0: only the private intercept tells where zero is."""
    scale, zero = float(2000 / truth.magnitude.max()), 2047.0
    signal, uid = truth.signal(), generate_uid()
    for i, (kind, data) in enumerate((("R", signal.real), ("I", signal.imag))):
        stored = whole(data * scale + zero)
        for e, z, n in slices(truth):
            base = header("Philips Medical Systems", "Ingenia", "5.7.1", 502, uid)
            base.ImageType = ["ORIGINAL", "PRIMARY", f"{kind}_FFE", kind, "FFE"]
            d = classic(
                stored[:, :, z, e].T,
                base,
                echo=e + 1,
                te_s=truth.te_s[e],
                z=z,
                instance=2 * n + i,
                RescaleSlope=1,
                RescaleIntercept=0,
            )
            block = d.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0D, "FL", zero)
            block.add_new(0x0E, "FL", scale)
            save(d, folder, 2 * n + i)


# -- GE --------------------------------------------------------------------------------------------------------


def ge(folder: Path, truth: Truth, *, parts: tuple[int, ...] = (0, 2, 3), alternate: bool = False) -> None:
    """One series, parts told by (0043,102F): 0 magnitude, 1 phase in mrad, 2 real, 3 imaginary; every second slice negative where `alternate`."""
    signal = truth.signal().astype(complex)
    if alternate:
        signal[:, :, 1::2] *= -1
    data = [np.abs(signal), 1000 * np.angle(signal), signal.real, signal.imag]
    uid = generate_uid()
    for part in parts:
        for e, z, n in slices(truth):
            base = header("GE MEDICAL SYSTEMS", "SIGNA Premier", "29\\LX\\MR Software release:RX29", 3, uid)
            base.SoftwareVersions = ["29", "LX", "MR Software release:RX29"]
            base.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            number = part + len(data) * n
            d = classic(
                whole(data[part][:, :, z, e].T, np.int16),
                base,
                echo=e + 1,
                te_s=truth.te_s[e],
                z=z,
                instance=number,
            )
            block = d.private_block(0x0043, "GEMS_PARM_01", create=True)
            block.add_new(0x2F, "SS", part)
            save(d, folder, number)


# -- Canon -----------------------------------------------------------------------------------------------------


def canon(folder: Path, truth: Truth) -> None:
    """Two series, phase signed with a rescale slope to rad."""
    slope = np.pi / 32767
    for series, kind, data in (
        (6, "M", whole(truth.magnitude, np.int16)),
        (7, "P", whole(truth.phase / slope, np.int16)),
    ):
        uid = generate_uid()
        for e, z, n in slices(truth):
            base = header("CANON_MEC", "Galan", "V6.0", series, uid)
            base.ImageType = ["ORIGINAL", "PRIMARY", "MAGNITUDE" if kind == "M" else "PHASE"]
            extra = (
                {}
                if kind == "M"
                else {"RescaleSlope": f"{slope:.10g}", "RescaleIntercept": 0, "RescaleType": "rad"}
            )
            d = classic(
                data[:, :, z, e].T,
                base,
                echo=e + 1,
                te_s=truth.te_s[e],
                z=z,
                instance=n,
                EchoNumbers=None,
                **extra,
            )
            save(d, folder, 1000 * series + n)


# -- Bruker ----------------------------------------------------------------------------------------------------


def bruker(folder: Path, truth: Truth) -> None:
    """ParaVision: enhanced, all echoes of a part in one file, values scaled by slope and intercept."""
    slopes = {"M": float(truth.magnitude.max()) / 32000, "P": np.pi / 32767}
    for series, kind, data in ((60001, "M", truth.magnitude), (60002, "P", truth.phase)):
        uid = generate_uid()
        stored = whole(data / slopes[kind], np.int16)
        frames = [
            {
                "pixels": stored[:, :, z, e].T,
                "kind": kind,
                "te_s": truth.te_s[e],
                "z": z,
                "slope": slopes[kind],
                "frame_type": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            }
            for e, z, _ in slices(truth)
        ]
        base = header("Bruker BioSpin MRI GmbH", "BioSpec 94/20", "ParaVision 360 V3.5", series, uid)
        base.ImageType, base.InstanceNumber = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], 1
        save(enhanced(base, frames), folder, series)
