"""NIfTI in and out: volumes read in slabs as float32, written compressed, whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.spatialimages import HeaderDataError

from chimap.errors import InputError
from chimap.io.memory import require_memory
from chimap.io.safe import make_folder, output_error, whole_file, write_json, write_text
from chimap.numerics.threads import get_threads
from chimap.types import Volume

__all__ = [
    "Header",
    "load_volume",
    "make_folder",
    "output_error",
    "read_header",
    "read_into",
    "save_volume",
    "slabs",
    "whole_file",
    "write_json",
    "write_text",
]

_SLAB_BYTES = 8 << 20
_CHUNK_BYTES = 4 << 20
_TRUNCATED = "Copy or convert the file again"
_VOXEL_MM = (1e-3, 1e3)
_ABSURD = 1e15


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says, the data still on the disk.

    `shape` has at least 3 axes and no trailing axes of length 1 beyond the third; `affine` is 4 x 4, voxel
    to mm; `slope` and `inter` scale the stored numbers.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: np.ndarray
    zooms_mm: tuple[float, float, float]
    slope: float
    inter: float
    data_file: Path
    offset: int
    codes: tuple[int, int]
    spatial_unit: str

    @property
    def volumes(self) -> int:
        """Number of 3-D volumes in the file."""
        return int(np.prod(self.shape[3:], dtype=int))


def read_header(path: str | Path) -> Header:
    """Read the header of a NIfTI file.

    Raises
    ------
    InputError
        If the file is missing, empty, cut off or not NIfTI, or holds complex or colour values.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("this is a folder; a NIfTI file is expected", file=path)
    if path.is_symlink() and not path.exists():
        fix = "Fetch the data (for DataLad: datalad get)"
        raise InputError("this is a link to a file that is not here", file=path, fix=fix)
    if not path.exists():
        raise InputError("there is no such file", file=path, fix="Check the name")
    if not path.is_file():
        raise InputError("this is a device or a pipe; a NIfTI file is expected", file=path)
    try:
        if path.stat().st_size == 0:
            raise InputError("the file is empty", file=path, fix=_TRUNCATED)
        with _quietly():
            image: Any = nib.load(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise InputError(f"the gzip data are cut off or damaged ({e})", file=path, fix=_TRUNCATED) from e
    except PermissionError as e:
        raise InputError("no permission to read this file", file=path) from e
    except (ImageFileError, HeaderDataError, OSError, ValueError, OverflowError) as e:
        fix = "Give a .nii or .nii.gz file; DICOM goes in as a folder"
        raise InputError("this is not a NIfTI file", file=path, fix=fix) from e
    if not isinstance(image, nib.Nifti1Pair):
        kind = type(image).__name__.removesuffix("Image")
        raise InputError(f"this is a {kind} file; NIfTI is expected", file=path, fix="Convert it to NIfTI")
    try:
        with _quietly():
            header = _header(path, image)
    except (HeaderDataError, ValueError, TypeError, KeyError, OverflowError) as e:
        raise InputError(f"the NIfTI header is damaged ({e})", file=path, fix=_TRUNCATED) from e
    _check(header)
    return header


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what nibabel says about damaged headers: the errors here say it."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    nibabel_logger.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        nibabel_logger.removeFilter(drop)


def _header(path: Path, image: Any) -> Header:
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    h, proxy = image.header, image.dataobj
    zooms = (*(float(z) for z in h.get_zooms()[:3]), 1.0, 1.0)[:3]
    return Header(
        path=path,
        shape=shape + (1,) * (3 - len(shape)),
        dtype=np.dtype(proxy.dtype),
        affine=np.array(image.affine, dtype=float),
        zooms_mm=(zooms[0], zooms[1], zooms[2]),
        slope=1.0 if proxy.slope is None else float(proxy.slope),
        inter=0.0 if proxy.inter is None else float(proxy.inter),
        data_file=Path(image.file_map["image"].filename),
        offset=int(proxy.offset),
        codes=(int(h["qform_code"]), int(h["sform_code"])),
        spatial_unit=str(h.get_xyzt_units()[0]),
    )


def _check(header: Header) -> None:
    """Raise `InputError` for a header whose data cannot be used or cannot be there."""
    path, shape, dtype = header.path, header.shape, header.dtype
    if min(shape) <= 0:
        raise InputError(f"the image is empty (shape {shape})", file=path)
    if dtype.kind == "c":
        fix = "Split it into magnitude and phase, or real and imaginary files"
        raise InputError("the values are complex; real numbers are expected", file=path, fix=fix)
    if dtype.kind not in "iuf":
        raise InputError(f"the values are of type {dtype}; numbers are expected", file=path)
    _check_affine(header)
    if not header.data_file.is_file():
        raise InputError(
            "there is no such file, which holds the values of the header beside it", file=header.data_file
        )
    try:
        size = header.data_file.stat().st_size
        with open(header.data_file, "rb") as f:
            zipped = f.read(2) == b"\x1f\x8b"
    except OSError as e:
        raise InputError(f"cannot be read ({e.strerror})", file=header.data_file) from e
    # Deflate shrinks by 1032 at most: a header that promises more than that has no data to it.
    promised = math.prod(shape) * dtype.itemsize + header.offset
    if header.offset < 0 or promised > size * (1040 if zipped else 1):
        raise InputError(
            f"the file is cut off: its header promises {shape} values of type {dtype}",
            file=path,
            fix=_TRUNCATED,
        )


def _check_affine(header: Header) -> None:
    affine = header.affine
    if not np.isfinite(affine).all():
        raise InputError("the affine in the header is not finite", file=header.path, fix=_TRUNCATED)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if (size < _VOXEL_MM[0]).any() or (size > _VOXEL_MM[1]).any():
        shown = " x ".join(f"{v:.3g}" for v in size)
        low, high = _VOXEL_MM
        raise InputError(
            f"the affine in the header has voxels of {shown} mm; {low:g} to {high:g} mm are expected",
            file=header.path,
            fix=_TRUNCATED,
        )
    if abs(np.linalg.det(affine[:3, :3] / size)) < 1e-6:
        raise InputError("the affine in the header is singular", file=header.path, fix=_TRUNCATED)


def slabs(header: Header) -> Iterator[tuple[int, int, np.ndarray]]:
    """The numbers of a file as stored, in its order: number of the volume, first third index, (x, y, n) array.

    A slab takes at most 8 MB (or one plane). `InputError` where the data are cut off or damaged.
    """
    nx, ny, nz = header.shape[:3]
    plane = nx * ny * header.dtype.itemsize
    step = max(1, _SLAB_BYTES // plane)
    require_memory(2 * min(step, nz) * plane, header.path, f"a part of an image of shape {header.shape}")
    try:
        with _open(header.data_file) as f:
            f.seek(header.offset)
            for volume in range(header.volumes):
                for z in range(0, nz, step):
                    stop = min(nz, z + step)
                    raw = f.read((stop - z) * plane)
                    if len(raw) < (stop - z) * plane:
                        raise InputError(
                            f"the file is cut off: its header promises {header.shape} values of type {header.dtype}",
                            file=header.path,
                            fix=_TRUNCATED,
                        )
                    yield volume, z, np.frombuffer(raw, header.dtype).reshape((nx, ny, stop - z), order="F")
            f.read(1)  # at the end of a gzip file this verifies the checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise InputError(
            f"the gzip data are cut off or damaged ({e})", file=header.path, fix=_TRUNCATED
        ) from e
    except OSError as e:
        raise InputError(f"cannot be read ({e.strerror or e})", file=header.path) from e


def read_into(header: Header, out: np.ndarray) -> None:
    """Read all volumes of a file, scaled, into `out` (volume, x, y, z), slab by slab.

    Beside `out` it takes about 16 MB, whatever the size of the file; no float64 copy is made.
    """
    if out.shape != (header.volumes, *header.shape[:3]):
        raise ValueError(f"out has shape {out.shape}")
    # What float32 cannot hold, or not add up, becomes infinite, and is found as that.
    with np.errstate(all="ignore"):
        for volume, z, slab in slabs(header):
            part = out[volume, :, :, z : z + slab.shape[2]]
            part[...] = slab
            if header.slope != 1.0:
                part *= part.dtype.type(header.slope)
            if header.inter != 0.0:
                part += part.dtype.type(header.inter)
            # Also where there is NaN.
            if not (part.max() < _ABSURD and part.min() > -_ABSURD):
                part[np.abs(part) >= _ABSURD] = np.inf
                part[np.isnan(part)] = np.nan  # A signalling NaN would warn in every later pass.


def load_volume(path: str | Path, *, ndim: int | None = None) -> tuple[Volume, np.ndarray]:
    """Read a NIfTI file.

    Parameters
    ----------
    path : path
        A .nii, .nii.gz or .hdr/.img file.
    ndim : int, optional
        3 or 4: the number of axes that is expected (a 3-D file gets a fourth axis where 4 are).

    Returns
    -------
    data : ndarray of float32
        (x, y, z), or (x, y, z, volume) with each volume C-contiguous.
    affine : ndarray, 4 x 4
        Voxel indices to mm.

    Raises
    ------
    InputError
        If the file cannot be read, or has another number of axes.
    """
    header = read_header(path)
    if len(header.shape) > 4 or (ndim == 3 and header.volumes > 1):
        raise InputError(
            f"the image has shape {header.shape}; {ndim or '3 or 4'} axes are expected",
            file=path,
            fix="Give one volume" if ndim == 3 else None,
        )
    require_memory(4 * math.prod(header.shape), path, f"an image of shape {header.shape}")
    data = np.empty((header.volumes, *header.shape[:3]), np.float32)
    read_into(header, data)
    if ndim == 4 or (ndim is None and len(header.shape) == 4):
        return np.moveaxis(data, 0, 3), header.affine
    return data[0], header.affine


def save_volume(
    path: str | Path,
    array: Any,
    affine: Any,
    *,
    description: str = "",
    compress_level: int = 1,
) -> Path:
    """Write an array as NIfTI-1 (gzip if the name ends in .gz), whole or not at all.

    The same array gives the same file, bit for bit, whatever the number of threads. bool is stored as
    uint8, float64 as float32.

    Parameters
    ----------
    path : path
        Its folder is made if needed.
    array : ndarray
        (x, y, z) or (x, y, z, volume).
    affine : ndarray, 4 x 4
        Voxel indices to mm.
    description : str
        Up to 79 characters for the header.
    compress_level : int
        1 (quick) to 9.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    array = np.asarray(array)
    if array.ndim not in (3, 4):
        raise ValueError(f"array has shape {array.shape}; 3 or 4 axes are expected")
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype == np.float64:
        array = array.astype(np.float32)
    elif array.dtype == np.int64:
        array = array.astype(np.int32)
    image = nib.Nifti1Image(array, np.asarray(affine, dtype=float))
    h = image.header
    h.set_xyzt_units("mm", "sec" if array.ndim > 3 else None)
    h.set_slope_inter(1.0, 0.0)
    h["descrip"] = description.encode("ascii", "replace")[:79]
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    h["vox_offset"] = 352
    head = h.binaryblock + b"\0\0\0\0"
    with whole_file(path) as f:
        if path.name.endswith(".gz"):
            _write_gzip(f, head, array, compress_level)
        else:
            f.write(head)
            parts = _Parts(array)
            for i in range(len(parts)):
                f.write(parts[i])
    return path


def _open(path: Path) -> IO[bytes]:
    with open(path, "rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")  # type: ignore[return-value]


class _Parts:
    """The array in Fortran order, cut along its third axis into blocks that are made when they are used."""

    def __init__(self, array: np.ndarray):
        self.volumes = np.moveaxis(array, 3, 0) if array.ndim == 4 else array[np.newaxis]
        nz = array.shape[2]
        plane = array.shape[0] * array.shape[1] * array.itemsize
        step = max(1, _CHUNK_BYTES // plane)
        self.blocks = [
            (v, z, min(nz, z + step)) for v in range(len(self.volumes)) for z in range(0, nz, step)
        ]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, i: int) -> bytes:
        volume, start, stop = self.blocks[i]
        return self.volumes[volume, :, :, start:stop].tobytes(order="F")


def _write_gzip(f: IO[bytes], head: bytes, array: np.ndarray, level: int) -> None:
    """One gzip member whose parts are compressed side by side and joined at flush points (RFC 1951, 1952).

    No time stamp and fixed part sizes: the same array makes the same bytes.
    """
    parts = _Parts(array)

    def compress(i: int) -> tuple[bytes, bytes]:
        raw = parts[i] if i >= 0 else head
        c = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        last = i == len(parts) - 1
        return raw, c.compress(raw) + c.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)

    f.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    crc, size = 0, 0
    threads = get_threads()
    with ThreadPoolExecutor(threads) as pool:
        # At most two parts a thread wait in memory.
        for start in range(-1, len(parts), 2 * threads):
            for raw, packed in pool.map(compress, range(start, min(len(parts), start + 2 * threads))):
                crc = zlib.crc32(raw, crc)
                size += len(raw)
                f.write(packed)
    f.write(struct.pack("<II", crc, size & 0xFFFFFFFF))
