"""What a report is made of: plain records, filled by whoever ran the reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chimap.report.echoes import Echoes


@dataclass(frozen=True)
class MapItem:
    """One map, shown as a picture in three planes and, if asked, in the viewer.

    Parameters
    ----------
    key
        Short and unique, such as ``"chi"``. Maps in ppm whose key begins with ``chi`` or whose stage is
        ``inversion`` or ``reference`` are susceptibilities and are shown in ppb.
    title, unit, caption
        For people. `unit` is the unit of `volume`, such as ``"ppm"``, ``"rad"``, ``"1/s"``, or ``""``.
    volume
        (x, y, z), float32, on the grid of `ReportData.affine`. NaN is shown as missing.
    window
        (low, high) in the unit of `volume`; None for the 1st and 99th percentile inside the mask.
    colormap
        A matplotlib name, or ``"labels"`` for whole numbers that name regions.
    stage
        The stage that made it; names of stages without a `StageItem` (``"input"``) get a heading of their own.
    outline_mask
        (x, y, z) bool, drawn as a line on the pictures; its inside gives percentiles and histogram.
    under
        (x, y, z), drawn in grey below the labels of a map of labels.
    labels
        Number to name, for a map of labels.
    """

    key: str
    title: str
    unit: str
    volume: np.ndarray
    stage: str
    window: tuple[float, float] | None = None
    colormap: str = "gray"
    caption: str = ""
    show_in_viewer: bool = True
    outline_mask: np.ndarray | None = None
    under: np.ndarray | None = None
    labels: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_susceptibility(self) -> bool:
        """Whether tables and pictures say ppb."""
        chi_like = self.key.lower().startswith("chi") or self.stage in ("inversion", "reference")
        return self.unit == "ppm" and chi_like

    @property
    def is_labels(self) -> bool:
        """Whether the numbers are names of regions."""
        return self.colormap == "labels"

    @property
    def shown_unit(self) -> str:
        """The unit that people see."""
        return "ppb" if self.is_susceptibility else self.unit

    @property
    def shown_scale(self) -> float:
        """Shown value = value of `volume` times this."""
        return 1000.0 if self.is_susceptibility else 1.0


@dataclass(frozen=True)
class StageItem:
    """How one stage ran. `seconds` is the algorithm alone; just-in-time compilation is apart."""

    stage: str
    method: str
    summary: str = ""
    seconds: float = 0.0
    compile_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    resumed: bool = False


@dataclass(frozen=True)
class ReportData:
    """Everything that the report says.

    Parameters
    ----------
    acquisition, software
        Label to value, shown in this order.
    inputs, outputs
        One dict a file: ``file`` and ``sha256``.
    protocol
        The measurement against the consensus, as `chimap.pipeline.protocol.protocol_rows` gives it.
    quality
        The quality numbers, as `chimap.report.quality.quality_rows` gives them.
    echoes
        The echoes side by side, as `chimap.report.echoes.echoes_of` gives them; None where they are not at hand.
    findings
        One dict each: ``level`` (``"ok"``, ``"note"``, ``"warning"`` or ``"error"``), ``topic``, ``what``, ``fix``.
    warnings
        Plain sentences, shown first.
    masks
        Name to (x, y, z) bool. The first is the brain: it crops the viewer and gives its centre.
    affine
        (4, 4): voxel index to mm, x to the right, y to the front, z up (NIfTI's world).
    regions
        One dict a region: ``name, voxels, volume_mm3, mean_ppb, sd_ppb``, and what else `chimap.quantify.regions` and `iron` give.
    asymmetry
        One dict a structure on both sides: ``name, left_ppb, right_ppb, difference_ppb``.
    iron
        What the iron of `regions` rests on: ``calibration`` and ``limits`` as sentences, ``age_years`` or None.
    lesions
        ``rows`` as `chimap.pipeline.lesions` gives them, ``method`` as a sentence, ``left_out``, ``rejected`` (reason to number), and ``png``,
        the figure's bytes. Empty where nobody looked.
    reference
        ``name, mean_ppb, sd_ppb, voxels`` of the region that defines zero, before it was subtracted.
    methods_text
        Paragraphs apart by an empty line.
    citations
        One dict each: ``doi`` and ``text``.
    created
        When, as it is to be printed. The report has no other clock.
    """

    title: str
    subject: str
    command: str
    version: str
    affine: np.ndarray
    voxel_size_mm: Sequence[float]
    created: str
    software: Mapping[str, Any] = field(default_factory=dict)
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Mapping[str, Any]] = ()
    outputs: Sequence[Mapping[str, Any]] = ()
    protocol: Sequence[Mapping[str, str]] = ()
    quality: Sequence[Mapping[str, Any]] = ()
    echoes: Echoes | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    maps: Sequence[MapItem] = ()
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    stages: Sequence[StageItem] = ()
    regions: Sequence[Mapping[str, Any]] = ()
    asymmetry: Sequence[Mapping[str, Any]] = ()
    iron: Mapping[str, Any] = field(default_factory=dict)
    lesions: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    methods_text: str = ""
    citations: Sequence[Mapping[str, Any]] = ()

    @property
    def brain(self) -> np.ndarray | None:
        """The first mask."""
        return next(iter(self.masks.values()), None)

    def mask_of(self, item: MapItem) -> np.ndarray | None:
        """Where the numbers of a map count."""
        return item.outline_mask if item.outline_mask is not None else self.brain
