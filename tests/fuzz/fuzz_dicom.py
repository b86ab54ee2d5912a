"""Good DICOM of several vendors on a tiny grid, and the ways to spoil it."""

from __future__ import annotations

import contextlib
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from fuzz_files import ANY, SHAPE, TE_S, Spoil
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

sys.path.append(str(Path(__file__).resolve().parents[1] / "io"))
import dicom_vendors as vendors
from dicom_base import Truth

SLICES = 8
_BEFORE_PIXELS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "NumberOfFrames",
)


def write_dicom(root: Path) -> None:
    """Folders ``siemens``, ``enhanced`` (a file an echo and part), ``mixed`` (one file), ``philips`` and ``ge``."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (*SHAPE[:2], SLICES)), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.6
    te = np.array(TE_S)
    field = (60 * x * y + 50 * z**2 - 40 * x)[..., None]
    signal = 1000 * mask[..., None] * np.exp(1j * (0.8 + 2 * np.pi * field * te) - 25 * te)
    rng = np.random.default_rng(8)
    signal = signal + 20 * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    truth = Truth(np.angle(signal), np.abs(signal), TE_S)
    vendors.siemens(root / "siemens", truth)
    vendors.siemens_xa(root / "enhanced", truth)
    vendors.siemens_xa(root / "mixed", truth, mixed=True)
    vendors.philips(root / "philips", truth)
    vendors.ge(root / "ge", truth)


def _changed(change: Callable[[Dataset, np.random.Generator], None]) -> Spoil:
    """A change of the data set, written whatever the standard says of it."""

    def spoil(path: Path, rng: np.random.Generator) -> None:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Another spoil may have left nothing to change.
            with contextlib.suppress(Exception):
                d = pydicom.dcmread(path)
                change(d, rng)
                d.save_as(path)

    spoil.__name__ = change.__name__
    return spoil


def _put(item: Dataset, name: str, value: object) -> None:
    """An element whatever it holds: bytes, one value or several, which need not be of its type."""
    tag = pydicom.tag.Tag(name)
    kind = pydicom.datadict.dictionary_VR(tag)
    values = value if isinstance(value, list) else [value]
    if isinstance(value, bytes):
        data = value
    elif kind in ("US", "FD", "FL") and all(isinstance(v, int | float) for v in values):
        data = struct.pack(f"<{len(values)}{ {'US': 'H', 'FD': 'd', 'FL': 'f'}[kind] }", *values)
    else:
        data = "\\".join(map(str, values)).encode()
    item[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(data), data, 0, False, True)


def _pick(rng: np.random.Generator, *values: object) -> object:
    return values[int(rng.integers(len(values)))]


def _levels(d: Dataset, sequence: str) -> list[Dataset]:
    """The items that hold a value of a functional group; the data set itself in a classic file."""
    groups = [*d.get("SharedFunctionalGroupsSequence", []), *d.get("PerFrameFunctionalGroupsSequence", [])]
    found = [item for g in groups for item in g.get(sequence, [])]
    return found or [d]


def claims(d: Dataset, rng: np.random.Generator) -> None:
    """More or other pixels than there are."""
    for _ in range(int(rng.integers(1, 4))):
        name = str(_pick(rng, *_BEFORE_PIXELS))
        if name == "NumberOfFrames":
            _put(d, name, _pick(rng, 0, -1, 2, 100_000, 10**9, 2**31 - 1))
        else:
            _put(d, name, _pick(rng, 0, 1, 3, 8, 12, 15, 17, 32, 64, 1000, 65535))


def huge(d: Dataset, rng: np.random.Generator) -> None:
    """Rows times columns of 10^9 and more."""
    d.Rows, d.Columns = 65535, int(rng.choice([20000, 65535]))
    if rng.random() < 0.3:
        d.PixelData = d.PixelData + bytes(10_000_000)


def geometry(d: Dataset, rng: np.random.Generator) -> None:
    """Position, direction or spacing that is missing, no number, or of no use."""
    sequence, name, values = (
        ("PlanePositionSequence", "ImagePositionPatient", (None, [0, 0, 0], ["nan"] * 3, ["inf", 0, 0], [1e30, 0, 0], [1, 2], "")),
        ("PlaneOrientationSequence", "ImageOrientationPatient",
         (None, [0] * 6, [1, 0, 0, 1, 0, 0], ["nan"] * 6, [1, 0, 0], [1e20] * 6, "")),
        ("PixelMeasuresSequence", "PixelSpacing", (None, [0, 0], [-2, 2], ["nan", 1], [1e-9, 1e9], [2], "")),
        ("PixelMeasuresSequence", "SpacingBetweenSlices", (None, 0, -2.5, "nan", 1e9)),
        ("PixelMeasuresSequence", "SliceThickness", (None, 0, "nan", 1e9)),
    )[int(rng.integers(5))]  # fmt: skip
    value = _pick(rng, *values)
    for item in _levels(d, sequence):
        if value is None:
            if name in item:
                delattr(item, name)
        else:
            _put(item, name, value)


def scale(d: Dataset, rng: np.random.Generator) -> None:
    """Slopes and intercepts that are no numbers."""
    for item in _levels(d, "PixelValueTransformationSequence"):
        _put(item, "RescaleSlope", _pick(rng, "nan", "inf", "1e400", 0, -1, "abc", "", 1e30, 1e-30))
        _put(item, "RescaleIntercept", _pick(rng, 0, "nan", "-inf", -4096, 1e30, "x"))
    if (0x2005, 0x100E) in d:
        d[0x2005, 0x100E].value = float(_pick(rng, 0, np.nan, np.inf, 1e-30, -1))
        d[0x2005, 0x100D].value = float(_pick(rng, 0, np.nan, np.inf, 1e30, -1))


def timing(d: Dataset, rng: np.random.Generator) -> None:
    """Echo time, echo number, field strength, series number."""
    for item in _levels(d, "MREchoSequence"):
        te = _pick(rng, 0, -4, "nan", "inf", 1e9, "abc", "", 4, None)
        name = "EffectiveEchoTime" if item is not d else "EchoTime"
        if te is None:
            if name in item:
                delattr(item, name)
        else:
            _put(item, name, te if name == "EchoTime" or te in ("abc", "") else float(te))
    name = str(
        _pick(
            rng,
            "EchoNumbers",
            "MagneticFieldStrength",
            "ImagingFrequency",
            "SeriesNumber",
            "InstanceNumber",
            "RepetitionTime",
        )
    )
    _put(d, name, _pick(rng, 0, -1, 10**6, 2**31 - 1, "nan", "9" * 300, ""))


def texts(d: Dataset, rng: np.random.Generator) -> None:
    """What would do harm if a name of a file or a command were made of it."""
    tricks = ["../../../../../escaped", "/tmp/escaped", "$(touch escaped)", "`touch escaped`", "; touch escaped;", "%s%n%x%p",
              "-o /tmp", "a\0b", "a\nb\x1b[31m", "x" * 9000, "..", "~", "\u00fc\u4e16\ud83d", "<script>alert(1)</script>", "CON", "a\\b\\.."]  # fmt: skip
    names = ["PatientID", "PatientName", "ProtocolName", "SeriesDescription", "SeriesInstanceUID", "StudyInstanceUID", "Manufacturer",
             "ImageType", "SequenceName", "SpecificCharacterSet", "SoftwareVersions", "ImageComments", "PulseSequenceName"]  # fmt: skip
    trick = tricks[int(rng.integers(len(tricks)))].encode("utf-8", "surrogatepass")
    for name in rng.choice(names, 3, replace=False):
        # No encoding has a zero in its name; pydicom would not write it.
        _put(d, name, trick.replace(b"\0", b"") if name == "SpecificCharacterSet" else trick)


def private(d: Dataset, rng: np.random.Generator) -> None:
    """Private elements that say nonsense."""
    junk = [
        b"",
        b"\xff" * 30,
        b"9" * 6000,
        b"H" + b"1" * 5000,
        b"1_2_3",
        b"\xb2_1",
        rng.bytes(200),
        b"alTE[0] = " + b"9" * 500,
    ]
    tags = [(0x0051, 0x100F), (0x0021, 0x1106), (0x0029, 0x1020), (0x0029, 0x1010), (0x0043, 0x102F), (0x2001, 0x1025), (0x2005, 0x100E),
            (0x2005, 0x1011), (0x0019, 0x100C), (0x0021, 0x11FE)]  # fmt: skip
    for index in rng.choice(len(tags), 3, replace=False):
        tag = pydicom.tag.Tag(tags[index])
        value = junk[int(rng.integers(len(junk)))]
        value += bytes(-len(value) % 4)
        for group in (d, *d.get("PerFrameFunctionalGroupsSequence", [])[:2]):
            group[tag] = pydicom.dataelem.RawDataElement(
                tag, str(_pick(rng, "LO", "OB", "UN")), len(value), value, 0, False, True
            )


def frames(d: Dataset, rng: np.random.Generator) -> None:
    """Groups of frames that are missing, empty, doubled or of another number."""
    kind, groups = int(rng.integers(6)), list(d.get("PerFrameFunctionalGroupsSequence", []))
    if kind == 0 and "SharedFunctionalGroupsSequence" in d:
        del d.SharedFunctionalGroupsSequence
    elif kind == 1:
        d.SharedFunctionalGroupsSequence = Sequence([])
    elif kind == 2:
        d.PerFrameFunctionalGroupsSequence = Sequence([*groups, *groups])
    elif kind == 3:
        d.PerFrameFunctionalGroupsSequence = Sequence(groups[: len(groups) // 2])
    elif kind == 4:
        d.PerFrameFunctionalGroupsSequence = Sequence([Dataset() for _ in range(3)])
    else:
        d.PixelData = d.PixelData[: len(d.PixelData) // 3]


def syntax(d: Dataset, rng: np.random.Generator) -> None:
    """The pixels are said to be compressed, or the file to be written in another way."""
    d.file_meta.TransferSyntaxUID = _pick(
        rng, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70", "1.2.3"
    )
    d["PixelData"].is_undefined_length = True
    first = d.PixelData[:2000]
    d.PixelData = pydicom.encaps.encapsulate([first] * int(rng.integers(1, 4)))


def nested(path: Path, rng: np.random.Generator) -> None:
    """Sequences in sequences, of undefined length."""
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[140:144])
    at = 144 + length
    depth = int(rng.choice([20, 200, 5000, 100_000]))
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path.write_bytes(data[:at] + begin * depth + end * (depth if rng.random() < 0.7 else 0) + data[at:])


def length(path: Path, rng: np.random.Generator) -> None:
    """An element that claims 4 GB."""
    data = bytearray(path.read_bytes())
    at = int(rng.integers(144, min(len(data), 1500)))
    data[at : at + 4] = b"\xf0\xff\xff\xff"
    path.write_bytes(data)


def doubled(path: Path, rng: np.random.Generator) -> None:
    """The same image twice, or twice with another name of the instance."""
    path.with_name(path.name + "b").write_bytes(path.read_bytes())


HEADER: tuple[Spoil, ...] = tuple(
    map(_changed, (claims, huge, geometry, geometry, scale, timing, texts, texts, private, frames, syntax))
)
SPOILS: tuple[Spoil, ...] = (*ANY, *HEADER, *HEADER, nested, length, doubled)
ALL_FILES = frozenset(f.__name__ for f in (claims, huge, geometry, scale, timing, texts, private, nested))
"""What may be done to all files of a folder too."""
