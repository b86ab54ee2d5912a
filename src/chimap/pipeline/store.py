"""Results of a scan on disk: BIDS names, sidecars with provenance, and which of them need not be made again.

Each stage writes its volumes first and its sidecars after, the sidecar of its first output last. That one
holds the stage's key, a hash of everything that the result depends on, and the hash of each file: a stage
counts as done only if all of it agrees. Killed at any moment, a run therefore finds either a whole
stage or none.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from chimap import __version__
from chimap.io.nifti import load_volume, save_volume, write_json
from chimap.pipeline.measure import plain


@dataclass(frozen=True)
class Output:
    """One file of a stage: what follows the scan's name, and what its sidecar says.

    `stripped`: whether it is 0 outside the mask (BIDS: SkullStripped).
    """

    suffix: str
    units: str
    description: str
    mask: bool = False
    stripped: bool = True


@dataclass
class Artifact:
    """A volume that exists on disk and perhaps in memory."""

    path: Path
    sha256: str
    mask: bool = False
    _array: np.ndarray | None = None

    def get(self) -> np.ndarray:
        """The array, read again if it was dropped: float32 volumes and masks come back bit for bit."""
        if self._array is None:
            data, _ = load_volume(self.path, ndim=3)
            self._array = data > 0.5 if self.mask else data
        return self._array

    def drop(self) -> None:
        """Release the memory."""
        self._array = None


@dataclass
class Done:
    """A stage that is finished: its record and what it made."""

    stage: str
    record: dict[str, Any]
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    resumed: bool = False

    def __getitem__(self, suffix: str) -> Artifact:
        return self.artifacts[suffix]

    def get(self, suffix: str) -> Artifact | None:
        """The artifact, or None where the stage made none of that name."""
        return self.artifacts.get(suffix)


class Store:
    """The folder of a scan's results.

    Parameters
    ----------
    folder : path
        Where the files go (``OUT/sub-01/anat``).
    name : str
        What every file name begins with (``sub-01_run-1``).
    force : bool
        Take nothing as done.
    """

    def __init__(self, folder: Path, name: str, *, force: bool = False):
        self.folder = folder
        self.name = name
        self.force = force

    def path(self, suffix: str, extension: str = ".nii.gz") -> Path:
        """Path of the file with this suffix."""
        return self.folder / f"{self.name}{suffix}{extension}"

    def find(self, stage: str, key: str, primary: str) -> Done | None:
        """The stage as finished before under the same key; None if it has to run."""
        if self.force:
            return None
        try:
            record = json.loads(self.path(primary, ".json").read_text("utf-8"))["Chimap"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isinstance(record, dict) or record.get("stage") != stage or record.get("key") != key:
            return None
        artifacts = {}
        for suffix, entry in record.get("outputs", {}).items():
            path = self.path(suffix)
            # Someone may have edited or replaced the file since, or its sidecar.
            if not path.is_file() or file_sha256(path) != entry["sha256"] or not self._described(suffix):
                return None
            artifacts[suffix] = Artifact(path, entry["sha256"], bool(entry["mask"]))
        return Done(stage, record, artifacts, resumed=True)

    def _described(self, suffix: str) -> bool:
        """Whether the sidecar of an output is there and whole."""
        try:
            return isinstance(json.loads(self.path(suffix, ".json").read_text("utf-8")), dict)
        except (OSError, ValueError, RecursionError):
            return False

    def save(
        self,
        stage: str,
        key: str,
        outputs: tuple[Output, ...],
        arrays: Mapping[str, np.ndarray],
        affine: np.ndarray,
        record: dict[str, Any],
        sidecar: dict[str, Any],
    ) -> Done:
        """Write the volumes, then the sidecars, the first output's last. `outputs` without an array: sidecar only."""
        artifacts = {}
        for output in outputs:
            if output.suffix not in arrays:
                continue
            path = self.path(output.suffix)
            save_volume(path, arrays[output.suffix], affine, description=f"chimap {output.description}")
            artifacts[output.suffix] = Artifact(path, file_sha256(path), output.mask, arrays[output.suffix])
        record = {
            "stage": stage,
            "key": key,
            "version": __version__,
            **record,
            "outputs": {s: {"sha256": a.sha256, "mask": a.mask} for s, a in artifacts.items()},
        }
        for output in reversed(outputs):
            if output is not outputs[0] and output.suffix not in arrays:
                continue
            values: dict[str, Any] = {"Description": output.description, "Units": output.units}
            if not output.mask and not output.suffix.endswith("_dseg"):
                values["SkullStripped"] = output.stripped
            values = {**values, **sidecar, "Chimap": record}
            write_json(self.path(output.suffix, ".json"), plain(values))
        return Done(stage, plain(record), artifacts)


def key_of(**parts: Any) -> str:
    """Hash of everything that a result depends on."""
    text = json.dumps(plain(parts), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """Hash of a file's content."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@functools.cache
def code_sha256(*packages: str) -> str:
    """Hash of the source of packages and of what all methods share."""
    h = hashlib.sha256()
    for package in sorted({*packages, "chimap.numerics"}):
        module = importlib.import_module(package)
        name = module.__spec__.name if module.__spec__ else package
        if hasattr(module, "__path__"):
            root = resources.files(name)
            files = [f for f in root.iterdir() if f.name.endswith(".py")]
            if (templates := root / "templates").is_dir():
                files += [f for f in templates.iterdir() if f.is_file()]
        else:
            parent, _, leaf = name.rpartition(".")
            files = [resources.files(parent) / f"{leaf}.py"]
        for f in sorted(files, key=lambda f: f.name):
            h.update(f"{name}/{f.name}\0".encode())
            h.update(f.read_bytes())
    return h.hexdigest()
