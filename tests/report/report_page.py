"""A small report with everything in it, and strings that would break a page that does not escape them."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from chimap.report import MapItem, ReportData, StageItem

SHAPE = (22, 30, 26)
VOXEL_MM = (1.0, 1.5, 2.0)
EVIL = "<script>alert(1)</script> \"quoted\" & 'more'"


def ball(shape=SHAPE, radius=0.8):
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(g**2 for g in grid) < radius**2


def make(affine=None, shape=SHAPE, **changes):
    mask = ball(shape)
    rng = np.random.default_rng(3)
    chi = (0.05 * rng.standard_normal(shape)).astype(np.float32) * mask
    chi[shape[0] // 2, shape[1] // 2, shape[2] // 2] = 1.25
    r2star = (20 + 10 * np.arange(shape[0], dtype=np.float32)[:, None, None] / shape[0]) * mask
    inner = ball(shape, 0.6)
    data = ReportData(
        title="Susceptibility map",
        subject=f"sub-01 {EVIL}",
        command="chimap run in out",
        version="0.1.0",
        created="2026-01-01",
        affine=np.diag([*VOXEL_MM, 1.0]) if affine is None else affine,
        voxel_size_mm=VOXEL_MM,
        acquisition={"Echo times [ms]": (4.0, 8.0), "B0 [T]": 3.0},
        inputs=[{"file": f"{EVIL}.nii.gz", "sha256": "0" * 64}],
        findings=[
            {"level": "ok", "topic": "Units", "what": "rad"},
            {"level": "unheard of", "topic": "Readout", "what": "monopolar"},
            {"level": "warning", "topic": EVIL, "what": EVIL, "fix": EVIL},
        ],
        warnings=[f"Careful: {EVIL}"],
        maps=[
            MapItem("magnitude", "Magnitude", "", np.abs(chi) + 1, "input"),
            MapItem("r2star", EVIL, "1/s", r2star.astype(np.float32), "r2star", (0, 40), "inferno"),
            MapItem("chi", "Susceptibility", "ppm", chi, "inversion", (-0.1, 0.2), outline_mask=inner),
            MapItem("regions", "Regions", "", inner.astype(np.float32) * 3, "reference", colormap="labels"),
        ],
        masks={"brain": mask, "inner": inner},
        stages=[
            StageItem(
                "r2star", "arlo", EVIL, 1.5, 0.2, 300, {"a": EVIL}, {"converged": True}, ("10.1002/x",)
            ),
            StageItem("inversion", "tv", "TV", 20.0, resumed=True),
        ],
        regions=[
            {
                "name": EVIL,
                "voxels": 10,
                "volume_ml": 0.1,
                "mean_ppb": 40.0,
                "sd_ppb": 5.0,
                "truth_ppb": 42.0,
            },
            {"name": "empty", "voxels": 0, "volume_ml": 0.0, "mean_ppb": float("nan"), "sd_ppb": None},
        ],
        reference={"name": "whole brain", "mean_ppb": 1.0, "sd_ppb": 2.0, "voxels": 1000},
        methods_text=f"First {EVIL}\n\nSecond.",
        citations=[{"doi": "10.1002/x", "text": f"{EVIL} https://doi.org/10.1002/x"}],
    )
    return replace(data, **changes)


class Elements(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
