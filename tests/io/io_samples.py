"""A small synthetic scan, and ways to write it as scanners and converters do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


@dataclass
class Sample:
    """`phase` in rad and `magnitude`, (x, y, z, echo); `mask` of the object; a folder for files."""

    phase: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray
    te_s: tuple[float, ...]
    folder: Path

    def write(self, name: str, data: np.ndarray, affine: np.ndarray = AFFINE, **header) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(data, affine)
        image.header.set_xyzt_units("mm")
        for key, value in header.items():
            image.header[key] = value
        nib.save(image, path)
        return path

    def stored(self, factor: float, offset: float = 0.0, dtype=np.int16) -> np.ndarray:
        """The phase as stored numbers: rad times factor plus offset, rounded for integers."""
        values = self.phase * factor + offset
        return np.round(values).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)

    def bids(self, name: str, sidecar: dict | None = None, *, suffix: str = "MEGRE", echoes=None) -> Path:
        """One file an echo and part with sidecars; returns the data set's folder."""
        root = self.folder / "bids"
        root.mkdir(exist_ok=True)
        (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')
        subject = name.split("_")[0]
        for part, data in (("mag", self.magnitude), ("phase", self.phase)):
            for i, te in enumerate(self.te_s):
                if echoes and i + 1 not in echoes:
                    continue
                stem = f"bids/{subject}/anat/{name}_echo-{i + 1}_part-{part}_{suffix}"
                self.write(f"{stem}.nii.gz", data[..., i].astype(np.float32))
                fields = {"EchoTime": te, "MagneticFieldStrength": 3.0} if sidecar is None else sidecar
                (self.folder / f"{stem}.json").write_text(json.dumps(fields | {"EchoTime": te}))
        return root


def ball(folder: Path, rng: np.random.Generator) -> Sample:
    """A ball with a smooth field and noise around it."""
    shape, te = (26, 24, 20), (0.005, 0.012, 0.019)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.6
    field_hz = 60 * x * y + 50 * z**2 - 40 * x
    signal = mask[..., None] * np.exp(1j * (0.8 + 2 * np.pi * field_hz[..., None] * te))
    signal = signal * np.exp(-np.array(te) * 25)
    noise = rng.standard_normal((2, *shape, len(te)))
    signal = 1000 * (signal + 0.03 * (noise[0] + 1j * noise[1]))
    phase = np.angle(signal).astype(np.float32)
    return Sample(phase, np.abs(signal).astype(np.float32), mask, te, folder)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two phases, wraps aside."""
    return float(np.abs(np.angle(np.exp(1j * (np.asarray(a, float) - b)))).max())
