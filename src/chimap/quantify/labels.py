"""Names of labels: which belong to one structure, which to its left and right half, and FreeSurfer's numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from chimap.errors import InputError

_SIDED = {
    "Cerebral-White-Matter": (2, 41),
    "Cerebral-Cortex": (3, 42),
    "Lateral-Ventricle": (4, 43),
    "Inf-Lat-Vent": (5, 44),
    "Cerebellum-White-Matter": (7, 46),
    "Cerebellum-Cortex": (8, 47),
    "Thalamus": (10, 49),
    "Caudate": (11, 50),
    "Putamen": (12, 51),
    "Pallidum": (13, 52),
    "Hippocampus": (17, 53),
    "Amygdala": (18, 54),
    "Accumbens-area": (26, 58),
    "VentralDC": (28, 60),
    "vessel": (30, 62),
    "choroid-plexus": (31, 63),
}
_MIDDLE = {
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    24: "CSF",
    72: "5th-Ventricle",
    77: "WM-hypointensities",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
FREESURFER: dict[int, str] = {
    **{number: f"Left-{name}" for name, (number, _) in _SIDED.items()},
    **{number: f"Right-{name}" for name, (_, number) in _SIDED.items()},
    **_MIDDLE,
}
"""Numbers and names of FreeSurfer's aseg, which FastSurfer and SynthSeg use as well."""

_ALIASES = {
    "wm": ("white matter", "cerebral white matter"),
    "white matter": ("white matter", "cerebral white matter"),
    "csf": ("lateral ventricle", "ventricles", "csf"),
    "ventricles": ("lateral ventricle", "ventricles"),
    "globus pallidus": ("globus pallidus", "pallidum"),
    "pallidum": ("globus pallidus", "pallidum"),
}
"""What people call a structure, and its names in tables, the first that is there wins."""

_SIDE = re.compile(
    r"^(?:(?P<before>left|right|lh|rh|l|r|ctx lh|ctx rh) )?(?P<rest>.*?)(?: (?P<after>left|right|lh|rh|l|r))?$"
)


def plain_name(name: str) -> str:
    """Lower case, with blanks for dashes, underscores and dots: ``Left-Thalamus`` -> ``left thalamus``."""
    return " ".join(re.sub(r"[-_.,()]+", " ", name.lower()).split())


def side_of(name: str) -> tuple[str, str]:
    """The side ("left", "right" or "") that a name tells, and the plain name without it.

    Understood: ``Left-Putamen``, ``putamen left``, ``L_putamen``, ``putamen_R``, ``lh.putamen``, ``ctx-rh-cuneus``.
    """
    plain = plain_name(name)
    m = _SIDE.match(plain)
    if m is None:
        return "", plain
    word = m["before"] or m["after"]
    if not word or not m["rest"] or (m["before"] and m["after"]):
        return "", plain
    return ("left" if word.split()[-1][0] == "l" else "right"), m["rest"]


def looks_like_freesurfer(present: Iterable[int]) -> bool:
    """Whether numbers of labels seem to be FreeSurfer's: both halves of two structures or more, and few strangers."""
    have = {int(n) for n in present if n > 0}
    pairs = sum(a in have and b in have for a, b in _SIDED.values())
    known = sum(n in FREESURFER or 1000 <= n < 3000 for n in have)
    return pairs >= 2 and known >= 0.8 * len(have)


def find_labels(wanted: str, names: Mapping[int, str], present: Iterable[int]) -> tuple[int, ...]:
    """Numbers of the labels that a word stands for.

    Parameters
    ----------
    wanted : str
        A number, several joined by ``+`` (``2+41``), or a name, with or without side; without, both halves count. ``wm`` and ``csf``
        are understood.
    names : mapping
        Number to name.
    present : iterable of int
        Numbers in the image.

    Raises
    ------
    InputError
        If there is no such label in the image.
    """
    have = sorted({int(n) for n in present if n != 0})
    if re.fullmatch(r"\d+(\+\d+)*", wanted.strip()):
        numbers = tuple(int(n) for n in wanted.split("+"))
        found = tuple(n for n in numbers if n in have)
    else:
        plain = plain_name(wanted)
        found = ()
        for candidate in (plain, *_ALIASES.get(plain, ())):
            found = tuple(
                n for n in have if candidate in (plain_name(names.get(n, "")), side_of(names.get(n, ""))[1])
            )
            if found:
                break
    if not found:
        known = ", ".join(names.get(n, str(n)) for n in have[:40]) or "none"
        raise InputError(f"there is no region {wanted!r} among the labels", fix=f"Choose one of: {known}")
    return found


def region_mask(labels: np.ndarray, numbers: Iterable[int]) -> np.ndarray:
    """Where the labels are one of the numbers."""
    return np.isin(labels, list(numbers))
