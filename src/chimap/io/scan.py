"""One multi-echo acquisition: where its files lie (`Scan`), and its data in rad, checked (`ScanData`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.io import quality, scaling
from chimap.io.findings import Finding, raise_first_error
from chimap.io.geometry import b0_direction, geometry_findings, same_grid, voxel_size
from chimap.io.memory import require_memory
from chimap.io.nifti import Header, load_volume, read_header, read_into
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Volume


@dataclass(frozen=True)
class Scan:
    """Where one multi-echo acquisition lies; nothing is loaded yet.

    Parameters
    ----------
    name : str
        BIDS name without echo, part and suffix ("sub-01_ses-1_run-1"); "scan" for plain files.
    entities : dict
        sub, ses, acq, run ... in the order of BIDS.
    phase, magnitude, real, imaginary : tuple of path
        One file an echo, or one 4-D file. Either phase, or real and imaginary; magnitude may be empty.
    te_s : tuple of float
        Echo times in s.
    b0_t : float
        Field strength in T; NaN where it is unknown (`problems` then says so).
    b0_dir : tuple of 3 float, optional
        Along the voxel axes; None: from the affine.
    mask : path, optional
        A mask on the same grid.
    phase_range : (float, float), optional
        The stored values that stand for -pi and +pi; None: detected.
    metadata : dict
        Scanner and sequence, never anything that names a person.
    sidecar : bool
        Whether a sidecar came with the phase.
    channels : int
        Receive channels along the fourth axis of each echo's file; 1 for combined images.
    problems : tuple of Finding
        What was noticed while the files were searched.
    """

    name: str
    entities: dict[str, str] = field(default_factory=dict)
    phase: tuple[Path, ...] = ()
    magnitude: tuple[Path, ...] = ()
    real: tuple[Path, ...] = ()
    imaginary: tuple[Path, ...] = ()
    te_s: tuple[float, ...] = ()
    b0_t: float = math.nan
    b0_dir: tuple[float, float, float] | None = None
    mask: Path | None = None
    phase_range: tuple[float, float] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    sidecar: bool = False
    channels: int = 1
    problems: tuple[Finding, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All image files of the scan."""
        extra = () if self.mask is None else (self.mask,)
        return (*self.phase, *self.magnitude, *self.real, *self.imaginary, *extra)


@dataclass(frozen=True)
class ScanData:
    """The data of a scan.

    `phase` (x, y, z, echo) in rad within +-pi, `magnitude` of the same shape or None, both float32 with each
    echo C-contiguous; `mask` bool (x, y, z) or None; `affine` voxel to mm; `findings` what was detected.
    """

    phase: Volume
    magnitude: Volume | None
    mask: Mask | None
    acq: Acquisition
    affine: np.ndarray
    findings: list[Finding]


def load(scan: Scan) -> ScanData:
    """Read a scan, scale its phase to rad and check it.

    It takes one float32 buffer for the phase of all echoes and one for the magnitude, and little else.

    Raises
    ------
    InputError
        If the scan cannot be used as it is; the message says what to do.
    """
    raise_first_error(scan.problems)
    findings: list[Finding] = []
    data = load_with(scan, findings)
    return data


def load_with(scan: Scan, findings: list[Finding]) -> ScanData:
    """`load`, with the findings added to a list of the caller, which keeps them if an error is raised."""
    findings += [f for f in scan.problems if f.level != "error"]
    if not scan.te_s:
        raise InputError("no echo times are given", file=(scan.files or (None,))[0], fix="Give one an echo")
    if not (scan.phase or (scan.real and scan.imaginary)):
        raise InputError(f"scan {scan.name} has no phase", fix="Give phase, or real and imaginary images")
    complex_ = not scan.phase
    if scan.channels > 1:
        raise InputError(
            f"scan {scan.name} has {scan.channels} uncombined receive channels",
            file=scan.files[0],
            fix="Combine them first (chimap combine-coils)",
        )
    main = [read_header(p) for p in (scan.real if complex_ else scan.phase)]
    other = [read_header(p) for p in (scan.imaginary if complex_ else scan.magnitude)]
    first = main[0]
    _check_counts(main, len(scan.te_s), "real part" if complex_ else "phase")
    if other:
        _check_counts(other, len(scan.te_s), "imaginary part" if complex_ else "magnitude")
    for h in main[1:] + other:
        findings += same_grid(h, first, h.path.name, "grid")
    acq = _acquisition(scan, first)
    findings += _acquisition_findings(acq, bool(other))
    geometry = geometry_findings(first, scan.b0_dir)
    raise_first_error(geometry)
    findings += geometry
    mask = None if scan.mask is None else _load_mask(scan.mask, first, findings)

    needed = 4 * sum(math.prod(h.shape) for h in main + other)
    require_memory(needed, first.path, f"a scan of {len(scan.te_s)} echoes of shape {first.shape[:3]}")
    phase = _read(main)
    magnitude = _read(other) if other else None
    names = ("real part", "imaginary part") if complex_ else ("phase", "magnitude")
    findings += quality.clear_not_finite(
        phase, names[0], str(first.path), None if complex_ else magnitude, mask
    )
    if magnitude is not None:
        findings += quality.clear_not_finite(magnitude, names[1], str(other[0].path), None, mask)
    if complex_:
        assert magnitude is not None
        _check_echoes(scaling.statistics(phase).constant, main, names[0])
        _check_echoes(scaling.statistics(magnitude).constant, other, names[1])
        _to_polar(phase, magnitude)
        findings.append(Finding("ok", "phase scaling", "phase and magnitude from real and imaginary images"))
    else:
        findings.append(_scale(phase, magnitude, main, other, scan))
    axis = quality.alternating_axis(phase, magnitude)
    if axis is not None:
        quality.turn_alternate_slices(phase, axis)
        what = f"every second slice along {'xyz'[axis]} had the opposite sign, as in some GE exports; turned back"
        findings.append(Finding("warning", "slices", what, "Check the phase picture", str(first.path)))
    findings += quality.sequence_findings(scan.metadata)
    return ScanData(
        phase=np.moveaxis(phase, 0, 3),
        magnitude=None if magnitude is None else np.moveaxis(magnitude, 0, 3),
        mask=mask,
        acq=acq,
        affine=first.affine,
        findings=findings,
    )


def _check_counts(headers: Sequence[Header], echoes: int, name: str) -> None:
    """Each file holds one volume, or one file holds them all; as many as there are echo times."""
    first = headers[0]
    for h in headers:
        if len(h.shape) > 4:
            raise InputError(
                f"the {name} has shape {h.shape}; at most 4 axes (x, y, z, echo) are expected",
                file=h.path,
                fix="Combine coils or repetitions first",
            )
        if len(headers) > 1 and h.volumes > 1:
            raise InputError(
                f"this file of one echo holds {h.volumes} volumes; one is expected",
                file=h.path,
                fix="If they are coils, combine them first; if repetitions, split them into runs",
            )
    n = len(headers) if len(headers) > 1 else first.volumes
    if n == echoes:
        return
    if len(headers) > 1:
        raise InputError(
            f"{n} {name} files but {echoes} echo times; an echo is missing or given twice",
            file=first.path,
            fix="Give one file and one echo time an echo",
        )
    if n == 2 * echoes and n > 2:
        fix = "Magnitude and phase may be interleaved: split them"
    elif n > echoes:
        fix = f"Give {n} echo times; if the volumes are coils, combine them first"
    else:
        fix = "An echo is missing, or an echo time is too much"
    raise InputError(
        f"the {name} holds {n} volumes but there are {echoes} echo times", file=first.path, fix=fix
    )


def _acquisition(scan: Scan, header: Header) -> Acquisition:
    try:
        return Acquisition(
            te_s=scan.te_s,
            b0_t=scan.b0_t,
            b0_dir=scan.b0_dir or b0_direction(header.affine),
            voxel_size_mm=voxel_size(header.affine),
        )
    except InputError as e:
        raise InputError(e.what, file=e.file or header.path, fix=e.fix) from None


def _acquisition_findings(acq: Acquisition, magnitude: bool) -> list[Finding]:
    times = ", ".join(f"{1000 * t:.4g}" for t in acq.te_s)
    if acq.echoes == 1:
        what = f"a single echo at {times} ms: no R2*, and the phase offset stays in the field"
        out = [Finding("note", "echoes", what, "Several echoes are recommended")]
    else:
        out = [Finding("ok", "echoes", f"{acq.echoes} echoes at {times} ms, {acq.b0_t:.4g} T")]
    if max(acq.te_s) > 0.1:
        what = f"the last echo time is {1000 * max(acq.te_s):.4g} ms; up to 60 ms are usual"
        out.append(Finding("warning", "echoes", what, "Check the unit: seconds are expected"))
    if not magnitude:
        what = "no magnitude: echoes cannot be weighted by signal, and a mask must be given"
        out.append(Finding("warning", "magnitude", what, "Give the magnitude images too"))
    return out


def _load_mask(path: Path, reference: Header, findings: list[Finding]) -> Mask:
    header = read_header(path)
    if header.volumes > 1:
        raise InputError(
            f"the mask has shape {header.shape}; one volume is expected", file=path, fix="Give a 3-D mask"
        )
    findings += same_grid(header, reference, "the mask", "mask")
    values = np.nan_to_num(load_volume(path, ndim=3)[0])
    mask = np.ascontiguousarray(values > 0.5)
    count = int(mask.sum())
    if count == 0:
        fix = "Give a mask with 1 (or any label) inside the object"
        raise InputError("the mask is empty (no value above 0.5)", file=path, fix=fix)
    if count == mask.size:
        what = "the mask covers every voxel; a mask of the object is expected"
        findings.append(Finding("warning", "mask", what, "Give a mask of the brain", str(path)))
    else:
        findings.append(Finding("ok", "mask", f"{count} voxels, {100 * count / mask.size:.0f} % of the grid"))
    return mask


def _read(headers: Sequence[Header]) -> np.ndarray:
    """All volumes of one or several files as one C-contiguous float32 array (echo, x, y, z)."""
    n = sum(h.volumes for h in headers)
    out = np.empty((n, *headers[0].shape[:3]), np.float32)
    if len(headers) == 1:
        read_into(headers[0], out)
        return out
    with ThreadPoolExecutor(min(len(headers), get_threads())) as pool:
        list(pool.map(read_into, headers, [out[i : i + 1] for i in range(n)]))
    return out


def _to_polar(real: np.ndarray, imaginary: np.ndarray) -> None:
    """Real and imaginary (echo, x, y, z) become phase and magnitude, in place."""
    for a, b in zip(real, imaginary, strict=True):
        magnitude = np.hypot(a, b)
        np.arctan2(b, a, out=a)
        b[...] = magnitude


def _check_echoes(constant: tuple[int, ...], headers: Sequence[Header], name: str) -> None:
    if not constant:
        return
    n = sum(h.volumes for h in headers)
    file = headers[constant[0] if len(headers) > 1 else 0].path
    which = "" if len(constant) == n else f" of echo {', '.join(str(i + 1) for i in constant)}"
    raise InputError(
        f"the {name}{which} has the same value everywhere",
        file=file,
        fix="Export or convert the images again",
    )


def _scale(
    phase: np.ndarray, magnitude: np.ndarray | None, main: list[Header], other: list[Header], scan: Scan
) -> Finding:
    s = scaling.statistics(phase)
    file = main[0].path
    if len(s.constant) == len(phase) and s.low == s.high == 0:
        fix = "Export or convert the phase images again"
        raise InputError("the phase is zero everywhere", file=file, fix=fix)
    _check_echoes(s.constant, main, "phase")
    if magnitude is not None:
        m = scaling.statistics(magnitude)
        if scan.phase_range is None and scaling.looks_like_magnitude(s) and scaling.looks_like_phase(m):
            raise InputError(
                f"magnitude and phase seem swapped: {other[0].path.name} looks like a phase and {file.name} "
                "like a magnitude",
                file=file,
                fix="Give them the other way round",
            )
        _check_echoes(m.constant, other, "magnitude")
        if scaling.looks_like_phase(m):
            raise InputError(
                f"this looks like a phase, not a magnitude (values from {m.low:.6g} to {m.high:.6g})",
                file=other[0].path,
                fix="Give the magnitude image as magnitude",
            )
    found = scaling.detect(
        s, scan.metadata, sidecar=scan.sidecar, phase_range=scan.phase_range, file=str(file)
    )
    if s.low < 0 and scan.phase_range is None:
        for i, volume in enumerate(phase):
            if len(phase) > 1 and scaling.looks_like_magnitude(scaling.statistics(volume[np.newaxis])):
                raise InputError(
                    f"echo {i + 1} of the phase looks like a magnitude; are magnitude and phase interleaved?",
                    file=main[i if len(main) > 1 else 0].path,
                    fix="Give phase volumes only",
                )
    scaling.apply(phase, found)
    return scaling.finding(found)
