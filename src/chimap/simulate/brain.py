"""The brain's tissues at points: folded cortex, white matter, nuclei, ventricles, cerebellum, brain stem."""

from __future__ import annotations

import numpy as np

from chimap.simulate.anatomy import GRID, Forms
from chimap.simulate.shapes import Points, capsule, chain, ellipsoid
from chimap.simulate.tissue import LABELS


def brain_labels(forms: Forms, raw: Points) -> np.ndarray:
    """Labels at scattered points inside the skull.

    Parameters
    ----------
    forms : Forms
        The large forms.
    raw : three (n,) float32
        Points in mm, before bending.

    Returns
    -------
    (n,) uint8

    Notes
    -----
    Sulci are sheets that hang from the hull: the zero level of band-limited noise, read at each point's foot on the hull
    (so that the sheets stand upright on it), down to a depth that varies. Zero levels of such noise form a
    labyrinth of nearly constant width, as gyri do. Distances to sheets, hull and midline give cortex and fluid.
    """
    at = GRID.at
    p = [c + at(w, raw) for c, w in zip(raw, forms.warp, strict=True)]
    side = [np.abs(p[0]), p[1], p[2]]
    out = np.full(p[0].shape, LABELS["CSF"], np.uint8)

    d = -at(forms.cerebrum, raw)
    pial = _pial_distance(forms, raw, p, d)
    thick = 2.6 + 0.3 * at(forms.fine, raw)
    out[pial > 0] = LABELS["grey matter"]
    out[pial > thick] = LABELS["white matter"]

    deep = np.flatnonzero(at(forms.cerebellum, raw) < 0)
    q = [c[deep] for c in raw]
    out[deep] = _cerebellum(forms, q, [c[deep] for c in p])

    stem = at(forms.stem, raw) < 0
    out[stem] = LABELS["brain stem"]
    core = np.flatnonzero((side[0] < 48) & (p[1] > -80) & (p[1] < 45) & (p[2] > -52) & (p[2] < 44))
    out[core] = _core(out[core], [c[core] for c in side], at(forms.fine, [c[core] for c in raw]))
    return out


def _pial_distance(forms: Forms, raw: Points, p: Points, d: np.ndarray) -> np.ndarray:
    """Depth in mm below the nearest brain surface, sulci counted (negative: in fluid)."""
    at = GRID.at
    x, y, z = p
    foot = [c + at(n, raw) * np.maximum(d, 0) for c, n in zip(raw, forms.normal, strict=True)]
    # A little bending with depth, so that no sulcus is a plane.
    bend = 0.9 * at(forms.fine, raw)
    reach = np.clip(15 + 5 * at(forms.clouds, foot) + 3 * at(forms.thickness, foot), 5, 25)
    level = at(forms.folds, foot) / np.maximum(at(forms.fold_slope, foot), 0.13)
    width = 0.95 - 0.4 * np.clip(d / reach, 0, 1)
    sulci = np.hypot(level + bend * np.clip(d / 8, 0, 1), np.maximum(d - reach, 0)) - width

    # The cleft between the hemispheres reaches down to the corpus callosum, and has sulci of its own.
    middle = np.abs(x + 0.6 * bend) - 1.0
    arch = ellipsoid([np.zeros_like(y), y, z], (0, -12, 2), (1e3, 40, 27))
    cleft = np.hypot(np.maximum(middle, 0), np.maximum(-arch, 0)) + np.minimum(middle, 0)
    cleft = np.where(arch < 0, np.hypot(middle, arch), cleft)
    mirror = [np.where(x > 0, 60.0, -60.0).astype(np.float32), y, z]
    level = at(forms.folds, mirror) / np.maximum(at(forms.fold_slope, mirror), 0.13)
    medial = np.hypot(level + bend * np.clip(middle / 8, 0, 1), np.maximum(middle - 10, 0)) - 0.6
    medial = np.where(arch > 4, medial, 99)

    # The Sylvian fissure runs obliquely from the front below to the back above, down to the insula.
    oblique = (z + 3 + 0.35 * y + 2.5 * at(forms.thickness, raw)) / 1.06
    over = np.maximum(np.maximum(y - 20, -36 - y), 0)
    sylvian = np.sqrt(oblique**2 + np.maximum(34 - np.abs(x), 0) ** 2 + over**2) - 1.3

    # The middle of the brain has no cortex.
    core = ellipsoid([np.abs(x), y, z], (6, -13, 3), (28, 42, 23))
    folded = np.minimum(np.minimum(sulci, cleft), np.minimum(medial, sylvian))
    return np.minimum(d, np.maximum(folded, -core))


def _cerebellum(forms: Forms, raw: Points, p: Points) -> np.ndarray:
    """Thin horizontal leaves that radiate from the middle, on white branches."""
    d = -GRID.at(forms.cerebellum, raw)
    dy, dz = -(p[1] + 44), p[2] + 36
    radius = np.hypot(dy, dz)
    angle = np.arctan2(dz, dy) + 0.06 * GRID.at(forms.thickness, raw) + 0.004 * np.abs(p[0])
    leaf = np.abs(np.mod(angle * (26 / (2 * np.pi)), 1) - 0.5)
    gap = (0.5 - leaf) * (2 * np.pi / 26) * np.maximum(radius, 6)
    reach = 9 + 3 * GRID.at(forms.fine, raw)
    pial = np.minimum(d, np.hypot(gap, np.maximum(d - reach, 0)) - 0.35)
    out = np.where(pial > 1.9, LABELS["white matter"], LABELS["grey matter"])
    return np.where(pial > 0, out, LABELS["CSF"]).astype(np.uint8)


def _core(out: np.ndarray, s: Points, fine: np.ndarray) -> np.ndarray:
    """Ventricles, nuclei and peduncles over what is there; `s` are points with both sides folded onto x > 0."""
    out = out.copy()
    rough = 0.35 * fine

    def paint(name: str, distance: np.ndarray) -> None:
        out[distance + rough < 0] = LABELS[name]

    # White matter that joins stem and cerebrum, cerebellum and pons.
    paint("white matter", chain(s, [(8, -16, -10, 7), (14, -12, -4, 6), (22, -8, 8, 6)]))
    paint("white matter", capsule(s, (11, -28, -34), (20, -48, -36), 6))
    squeezed = [s[0] * 1.25, s[1], s[2]]
    lateral = chain(
        squeezed,
        [(9, 26, 4, 2.5), (9, 16, 10, 4), (13, -4, 19, 5), (20, -26, 18, 5.5), (29, -40, 8, 6.5)],
    )
    lateral = np.minimum(lateral, chain(s, [(23, -40, 8, 5.5), (22, -62, 6, 2.5)]))
    lateral = np.minimum(lateral, chain(s, [(24, -40, 6, 5), (32, -26, -10, 3), (32, -8, -16, 2)]))
    # The septum and the arch of the fornix keep the two apart.
    paint("CSF", np.maximum(lateral, 1.2 - s[0]))
    paint("thalamus", ellipsoid(s, (11.5, -18, 7), (8, 14.5, 8.5), 24))
    paint(
        "caudate",
        np.minimum(
            ellipsoid(s, (13.5, 13, 5), (5.5, 9.5, 8.5), 14),
            chain(s, [(15, 10, 11, 4.5), (18.5, -8, 20, 3.2), (24, -26, 19, 2)]),
        ),
    )
    paint("putamen", ellipsoid(s, (26, 0, 1), (5.3, 16, 9.5), 14))
    paint("globus pallidus", ellipsoid(s, (19.5, -4.5, -0.5), (4.6, 9.5, 6.2), 22))
    paint("CSF", np.maximum(ellipsoid(s, (0, -10, 0), (2.0, 15, 10)), -99.0))
    paint("CSF", chain(s, [(0, -24, -4, 1.3), (0, -33, -16, 1.2), (0, -38, -24, 2.5)]))
    paint("CSF", ellipsoid(s, (0, -41, -35), (8, 6, 11)))
    paint("red nucleus", ellipsoid(s, (5.3, -20, -9), (3.4, 3.7, 4.4)))
    paint("substantia nigra", ellipsoid(s, (9.5, -14.5, -13), (2.6, 7.0, 4.2), 38))
    # A crumpled sheet, open towards the middle.
    sheet = np.abs(ellipsoid(s, (15, -56, -35), (7.5, 9, 6)) + 1.1 * fine) - 1.5
    paint("dentate nucleus", np.maximum(sheet, 10.5 - s[0]))
    return out
