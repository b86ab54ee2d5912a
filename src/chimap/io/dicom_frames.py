"""Enhanced multi-frame DICOM taken apart: one classic file a frame, with geometry and scaling and nothing about persons."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chimap.errors import InputError
from chimap.io.dicom_survey import PHILIPS_INTERCEPT, PHILIPS_SLOPE, Slice, silent
from chimap.io.safe import output_error

_COPIED = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "SeriesNumber",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "AcquisitionNumber",
    "AcquisitionTime",
    "PatientPosition",
    "MagneticFieldStrength",
    "PulseSequenceName",
    "MRAcquisitionType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_LETTERS = {"magnitude": "M", "phase": "P", "real": "R", "imaginary": "I"}


def unpack(file: Path, wanted: Iterable[tuple[Slice, Path]]) -> None:
    """Write frames of an enhanced file as classic DICOM, each to its path.

    Compressed frames are copied as they are; dcm2niix decompresses them.

    Raises
    ------
    InputError
        If the file has fewer frames than it says, or is damaged.
    OutputError
        If the system refuses to write.
    """
    import pydicom

    with silent():
        try:
            d = pydicom.dcmread(file)
            frames = _pixels(d, file)
            shared = (d.get("SharedFunctionalGroupsSequence") or [None])[0]
        except Exception as e:  # pydicom raises whatever a damaged file leads it to
            raise _damaged(file) from e
        for s, target in wanted:
            assert s.frame is not None
            if s.frame >= len(frames):
                raise InputError(
                    f"frame {s.frame + 1} is missing; the file is cut off", file=file, fix="Export it again"
                )
            try:
                _write(d, [d.PerFrameFunctionalGroupsSequence[s.frame], shared], frames[s.frame], s, target)
            except OSError as e:
                raise output_error(e, target) from e
            except Exception as e:
                raise _damaged(file) from e


def _damaged(file: Path) -> InputError:
    return InputError(
        "the header or the frames cannot be read; the file is damaged", file=file, fix="Export it again"
    )


def _pixels(d: Any, file: Path) -> list[bytes]:
    """The bytes of each frame."""
    from pydicom.encaps import generate_frames

    count = int(d.NumberOfFrames)
    if d.file_meta.TransferSyntaxUID.is_compressed:
        return list(generate_frames(d.PixelData, number_of_frames=count))
    size = int(d.Rows) * int(d.Columns) * int(d.SamplesPerPixel) * (int(d.BitsAllocated) // 8)
    return [d.PixelData[i * size : (i + 1) * size] for i in range(len(d.PixelData) // size)]


def _write(d: Any, levels: list[Any], pixels: bytes, s: Slice, target: Path) -> None:
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import MRImageStorage, generate_uid

    def find(sequence: str, name: str) -> Any:
        for g in levels:
            items = None if g is None else g.get(sequence)
            if items and items[0].get(name) is not None:
                return items[0].get(name)
        return None

    out = pydicom.Dataset()
    out.file_meta = pydicom.dataset.FileMetaDataset()
    syntax = out.file_meta.TransferSyntaxUID = d.file_meta.TransferSyntaxUID
    out.file_meta.MediaStorageSOPClassUID = out.SOPClassUID = MRImageStorage
    out.file_meta.MediaStorageSOPInstanceUID = out.SOPInstanceUID = generate_uid()
    for name in _COPIED:
        if d.get(name) is not None:
            setattr(out, name, d.get(name))
    kind = [str(w) for w in find("MRImageFrameTypeSequence", "FrameType") or ["ORIGINAL", "PRIMARY"]]
    out.ImageType = [*kind[:2], _LETTERS.get(s.part, "OTHER"), *kind[2:]]
    out.ScanningSequence = "GR"
    out.InstanceNumber = (s.frame or 0) + 1
    out.EchoTime = f"{s.te_ms:.10g}"
    values = {
        "ImageOrientationPatient": find("PlaneOrientationSequence", "ImageOrientationPatient"),
        "ImagePositionPatient": find("PlanePositionSequence", "ImagePositionPatient"),
        "PixelSpacing": find("PixelMeasuresSequence", "PixelSpacing"),
        "SliceThickness": find("PixelMeasuresSequence", "SliceThickness"),
        "SpacingBetweenSlices": find("PixelMeasuresSequence", "SpacingBetweenSlices"),
        "ImagingFrequency": find("MRImagingModifierSequence", "TransmitterFrequency"),
        "PixelBandwidth": find("MRImagingModifierSequence", "PixelBandwidth"),
        "RepetitionTime": find("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "FlipAngle": find("MRTimingAndRelatedParametersSequence", "FlipAngle"),
        "RescaleSlope": find("PixelValueTransformationSequence", "RescaleSlope"),
        "RescaleIntercept": find("PixelValueTransformationSequence", "RescaleIntercept"),
        "RescaleType": find("PixelValueTransformationSequence", "RescaleType"),
    }
    for name, value in values.items():
        if value is not None:
            setattr(out, name, value)
    _philips_scale(levels[0], out)
    out.PixelData = encapsulate([pixels]) if syntax.is_compressed else pixels
    target.parent.mkdir(parents=True, exist_ok=True)
    out.save_as(target, enforce_file_format=True)


def _philips_scale(frame: Any, out: Any) -> None:
    """Philips' private scale lies in a private sequence of the frame."""
    levels = [frame]
    for item in frame:
        if item.tag.is_private and item.VR == "SQ" and item.value:
            levels.append(item.value[0])
    for level in levels:
        slope, intercept = level.get(PHILIPS_SLOPE), level.get(PHILIPS_INTERCEPT)
        if slope is not None:
            block = out.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0D, "FL", 0.0 if intercept is None else float(intercept.value))
            block.add_new(0x0E, "FL", float(slope.value))
            return
