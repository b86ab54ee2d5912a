"""Parts of simulated DICOM that all vendors share: the truth, headers full of made-up names, classic and enhanced files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SECRETS = ("Quendolin", "Xanthippe", "SECRET", "19700131", "20240102", "Rumpelroe", "Nowhereville")
"""Parts of what a header says about the person, the date and the place."""

IOP = (1.0, 0.0, 0.0, 0.0, 0.96592583, 0.25881905)
"""Rows to the left, columns backwards and up by 15 degrees."""

SPACING = (2.0, 2.0, 2.5)
ORIGIN = np.array([-20.0, -25.0, -30.0])


@dataclass
class Truth:
    """`phase` in rad and `magnitude`, (x, y, z, echo), as DICOM counts: x along rows, y down the columns."""

    phase: np.ndarray
    magnitude: np.ndarray
    te_s: tuple[float, ...]

    @property
    def affine(self) -> np.ndarray:
        """Index to mm (RAS)."""
        row, column = np.array(IOP[:3]), np.array(IOP[3:])
        axes = np.column_stack([row, column, np.cross(row, column)]) * SPACING
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = axes, ORIGIN
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ out

    def signal(self) -> np.ndarray:
        return self.magnitude * np.exp(1j * self.phase)

    def same_grid(self, data: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """`data` (x, y, z, ...) with its axes turned and flipped onto the truth's grid; fails if it lies elsewhere."""
        steps = np.linalg.inv(affine) @ self.affine
        turn = np.round(steps[:3, :3])
        np.testing.assert_allclose(steps[:3, :3], turn, atol=2e-3)
        grid = np.indices(self.phase.shape[:3]).reshape(3, -1)
        there = steps[:3] @ np.vstack([grid, np.ones(grid.shape[1])])
        np.testing.assert_allclose(there, np.round(there), atol=0.05)
        x, y, z = np.round(there).astype(int)
        return data[x, y, z].reshape(*self.phase.shape[:3], *data.shape[3:])


def position(z: int) -> list[float]:
    normal = np.cross(IOP[:3], IOP[3:])
    return [round(float(v), 5) for v in ORIGIN + normal * SPACING[2] * z]


def header(vendor: str, model: str, software: str, series: int, uid: str) -> Dataset:
    """What images of all vendors have, with everything that could name the person filled in."""
    d = Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPInstanceUID = generate_uid()
    d.SeriesInstanceUID, d.StudyInstanceUID, d.FrameOfReferenceUID = uid, "1.2.3", "1.2.4"
    d.Modality, d.Manufacturer, d.ManufacturerModelName, d.SoftwareVersions = "MR", vendor, model, software
    d.PatientName, d.PatientID, d.PatientBirthDate, d.OtherPatientIDs = (
        "Quendolin^Xanthippe",
        "SECRET1",
        "19700131",
        "SECRET2",
    )
    d.PatientComments, d.ImageComments, d.AdditionalPatientHistory = (
        "Xanthippe Quendolin was here",
        "SECRET3 Quendolin",
        "Quendolin",
    )
    d.ReferringPhysicianName, d.OperatorsName, d.InstitutionName = (
        "Rumpelroe^R",
        "Rumpelroe^S",
        "Nowhereville Clinic",
    )
    d.InstitutionAddress, d.StationName, d.DeviceSerialNumber, d.AccessionNumber = (
        "Nowhereville 1",
        "SECRET4",
        "SECRET5",
        "SECRET6",
    )
    d.StudyID, d.StudyDescription, d.ProtocolName, d.SeriesDescription = (
        "SECRET7",
        "Quendolin head",
        "Quendolin_gre",
        "Quendolin_gre",
    )
    d.PatientSex, d.PatientAge, d.PatientWeight = "F", "054Y", 60
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20240102"
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = "101112.500000"
    d.SeriesNumber, d.AcquisitionNumber, d.PatientPosition = series, 1, "HFS"
    return d


def classic(
    pixels: np.ndarray, base: Dataset, *, echo: int, te_s: float, z: int, instance: int, **fields: Any
) -> Dataset:
    """One slice as one file."""
    d = base
    d.SOPClassUID = MRImageStorage
    d.ScanningSequence, d.SequenceVariant, d.MRAcquisitionType, d.SequenceName = "GR", "SP", "3D", "fl3d"
    d.MagneticFieldStrength, d.ImagingFrequency, d.RepetitionTime, d.FlipAngle = 3, 123.25, 40, 15
    d.EchoTime, d.EchoNumbers, d.InstanceNumber = round(1000 * te_s, 4), echo, instance
    d.ImageOrientationPatient, d.ImagePositionPatient = list(IOP), position(z)
    d.SliceThickness, d.SpacingBetweenSlices, d.PixelSpacing = SPACING[2], SPACING[2], list(SPACING[:2])
    for key, value in fields.items():
        if value is None:
            delattr(d, key)
        else:
            setattr(d, key, value)
    with_pixels(d, pixels)
    return d


def with_pixels(d: Dataset, pixels: np.ndarray) -> None:
    """Whole numbers (frames, rows, columns) or (rows, columns): 16 bits if signed, else 12."""
    signed = np.issubdtype(pixels.dtype, np.signedinteger)
    d.Rows, d.Columns = pixels.shape[-2:]
    d.SamplesPerPixel, d.PhotometricInterpretation, d.BitsAllocated = 1, "MONOCHROME2", 16
    d.BitsStored = 16 if signed else 12
    d.HighBit, d.PixelRepresentation = d.BitsStored - 1, int(signed)
    d.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()


def save(d: Dataset, folder: Path, n: int) -> None:
    """Under a name that tells nothing about the order."""
    folder.mkdir(parents=True, exist_ok=True)
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = (
        d.SOPClassUID,
        d.SOPInstanceUID,
    )
    d.save_as(folder / f"{n * 7919 % 100003:06d}", enforce_file_format=True)


def slices(truth: Truth) -> Iterator[tuple[int, int, int]]:
    """Echo, slice and running number."""
    for e in range(len(truth.te_s)):
        for z in range(truth.phase.shape[2]):
            yield e, z, e * truth.phase.shape[2] + z + 1


def whole(values: np.ndarray, dtype: type = np.uint16) -> np.ndarray:
    return np.round(values).astype(dtype)


def enhanced(base: Dataset, frames: list[dict[str, Any]]) -> Dataset:
    """Frames as one file; each has pixels, kind, te_s, z, and slope, intercept or private tags as needed."""
    d = base
    d.SOPClassUID = EnhancedMRImageStorage
    d.NumberOfFrames = len(frames)
    d.MagneticFieldStrength, d.AcquisitionDateTime = 3, "20240102101112.500000"
    d.ResonantNucleus, d.PulseSequenceName, d.AcquisitionContrast = "1H", "fl3d", "T2_STAR"
    d.VolumetricProperties, d.ComplexImageComponent = "VOLUME", _common([KINDS[f["kind"]] for f in frames])
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence(
        [_set(PixelSpacing=list(SPACING[:2]), SliceThickness=SPACING[2], SpacingBetweenSlices=SPACING[2])]
    )
    shared.PlaneOrientationSequence = Sequence([_set(ImageOrientationPatient=list(IOP))])
    shared.MRImagingModifierSequence = Sequence([_set(TransmitterFrequency=123.25, PixelBandwidth=400)])
    shared.MRTimingAndRelatedParametersSequence = Sequence(
        [_set(RepetitionTime=40, FlipAngle=15, EchoTrainLength=3)]
    )
    d.SharedFunctionalGroupsSequence = Sequence([shared])
    d.DimensionOrganizationSequence = Sequence([_set(DimensionOrganizationUID="1.2.9")])
    d.DimensionIndexSequence = Sequence(
        [
            _set(DimensionIndexPointer=tag, FunctionalGroupPointer=group, DimensionOrganizationUID="1.2.9")
            for tag, group in ((0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00189082, 0x00189114))
        ]
    )
    per_frame = []
    echoes = sorted({f["te_s"] for f in frames})
    for f in frames:
        g = Dataset()
        index = [1, f["z"] + 1, echoes.index(f["te_s"]) + 1]
        g.FrameContentSequence = Sequence(
            [
                _set(
                    DimensionIndexValues=index,
                    StackID="1",
                    InStackPositionNumber=f["z"] + 1,
                    FrameAcquisitionDateTime="20240102101112.5",
                    FrameReferenceDateTime="20240102101112.5",
                )
            ]
        )
        g.PlanePositionSequence = Sequence([_set(ImagePositionPatient=position(f["z"]))])
        g.MREchoSequence = Sequence([_set(EffectiveEchoTime=1000 * f["te_s"])])
        g.MRImageFrameTypeSequence = Sequence(
            [
                _set(
                    FrameType=f["frame_type"],
                    ComplexImageComponent=KINDS[f["kind"]],
                    AcquisitionContrast="T2_STAR",
                )
            ]
        )
        g.PixelValueTransformationSequence = Sequence(
            [
                _set(
                    RescaleIntercept=f.get("intercept", 0),
                    RescaleSlope=f.get("slope", 1),
                    RescaleType=f.get("unit", "US"),
                )
            ]
        )
        if "coil" in f:
            g.MRReceiveCoilSequence = Sequence([_set(ReceiveCoilName=f["coil"])])
        if "scale_slope" in f:
            inner = Dataset()
            block = inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0D, "FL", 0.0)
            block.add_new(0x0E, "FL", f["scale_slope"])
            outer = g.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
            outer.add_new(0x0F, "SQ", Sequence([inner]))
        per_frame.append(g)
    d.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    with_pixels(d, np.stack([f["pixels"] for f in frames]))
    return d


KINDS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}


def _common(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else "MIXED"


def _set(**fields: Any) -> Dataset:
    d = Dataset()
    for key, value in fields.items():
        setattr(d, key, value)
    return d
