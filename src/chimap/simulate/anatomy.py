"""The large smooth forms of a procedural head, on the model grid: brain hulls, skull, face, airways.

Coordinates in mm: origin near the anterior commissure, x to the right, y to the front, z up. Every form is made of
ellipsoids and rods put together in code and bent by smooth noise; nothing is read from a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.simulate.shapes import ModelGrid, Points, capsule, chain, cut, ellipsoid, union
from chimap.types import Volume

GRID = ModelGrid((-100.0, -135.0, -125.0), (100.0, 130.0, 105.0), 2.5)
FORAMEN_Z = -66.0
"""Height in mm where the skull ends and the spine begins; the brain mask ends there."""


@dataclass(frozen=True)
class Forms:
    """Signed distances in mm (negative inside) and random fields, all on `GRID`."""

    warp: list[Volume]
    cerebrum: Volume
    cerebellum: Volume
    stem: Volume
    cavity: Volume
    canal: Volume
    head: Volume
    airways: Volume
    face_bone: Volume
    eyes: Volume
    normal: list[Volume]
    folds: Volume
    fold_slope: Volume
    clouds: Volume
    thickness: Volume
    fine: Volume


def forms(seed: int) -> Forms:
    """Make all large forms of one head; `seed` chooses the person."""
    rng = np.random.default_rng([seed, 0])
    noise = GRID.noise
    warp = [noise(60, rng, 0.4) * np.float32(1.3) for _ in range(3)]
    folds = noise(17.5, rng, 0.17)
    clouds, thickness, fine = noise(45, rng, 0.5), noise(30, rng, 0.5), noise(10, rng, 0.4)
    p = [c + w for c, w in zip(GRID.points(), warp, strict=True)]
    side = [np.abs(p[0]), p[1], p[2]]

    cerebrum = _cerebrum(p, side)
    cerebellum = union(
        ellipsoid(side, (22, -62, -34), (30, 27, 21)), ellipsoid(p, (0, -61, -31), (14, 24, 24)), 8
    )
    stem = _stem(p)
    canal = chain(p, [(0, -31, -52, 9), (0, -34, -80, 8), (0, -38, -150, 8)])
    cavity = union(union(cerebrum, cerebellum, 10), stem, 5) - np.float32(2.6) - np.float32(0.5) * clouds
    # The brain rests on the base of the skull: no fluid pockets deeper than the lobes.
    above = np.float32(FORAMEN_Z) - p[2]
    cavity = cut(union(cavity, canal - 1, 6), above, 2)
    airways = _airways(p, side, fine)
    head = _surface(p, side, cavity)
    grad = GRID.gradient(cerebrum)
    norm = np.sqrt(sum(g * g for g in grad)) + np.float32(1e-6)
    slope = np.sqrt(sum(g * g for g in GRID.gradient(folds)))
    return Forms(
        warp=warp,
        cerebrum=cerebrum,
        cerebellum=cerebellum,
        stem=stem,
        cavity=cavity,
        canal=canal,
        head=head,
        airways=airways,
        face_bone=_face_bone(p, side, airways),
        eyes=ellipsoid(side, (31, 62, -24), (12, 12, 12)),
        normal=[g / norm for g in grad],
        folds=folds,
        fold_slope=slope,
        clouds=clouds,
        thickness=thickness,
        fine=fine,
    )


def _cerebrum(p: Points, side: Points) -> Volume:
    """Hull of both hemispheres, without the sulci and the fissure between them."""
    hull = union(
        ellipsoid(side, (6, -10, 13), (60, 80, 58)), ellipsoid(side, (14, -46, 14), (52, 52, 50)), 14
    )
    # Flat underneath: orbital surface in front, tentorium behind.
    base = np.float32(-20) + np.float32(13) * np.exp(-((p[0] / 38) ** 2)) / (1 + np.exp((p[1] + 38) / 8))
    hull = cut(hull, base - p[2], 10)
    temporal = union(
        ellipsoid(side, (40, -8, -21), (22, 40, 22), 8), ellipsoid(side, (46, -40, -8), (20, 36, 20)), 8
    )
    return union(hull, temporal, 8)


def _stem(p: Points) -> Volume:
    medulla = chain(
        p, [(0, -20, -8, 13), (0, -24, -22, 12), (0, -27, -48, 8), (0, -31, -62, 6), (0, -34, -80, 5)]
    )
    cord = chain(p, [(0, -34, -80, 5), (0, -38, -150, 5)])
    pons = ellipsoid(p, (0, -20, -33), (17, 13, 14))
    return union(union(medulla, cord), pons, 5)


def _surface(p: Points, side: Points, cavity: Volume) -> Volume:
    """Skin."""
    face = union(ellipsoid(p, (0, 42, -48), (56, 44, 54)), ellipsoid(side, (22, 48, -84), (26, 30, 22)), 14)
    face = union(face, ellipsoid(p, (0, 64, -98), (22, 18, 16)), 14)
    nose = union(capsule(p, (0, 80, -22), (0, 98, -50), 4, 8), ellipsoid(side, (9, 90, -53), (6, 9, 6)), 6)
    brow = ellipsoid(p, (0, 60, -10), (44, 20, 16))
    neck = capsule([p[0], p[1] * 1.08, p[2]], (0, -24, -60), (0, -34, -170), 54, 56)
    skin = union(cavity - 13, face, 22)
    skin = union(union(skin, brow, 10), neck, 24)
    skin = union(skin, nose, 8)
    ear = ellipsoid([side[0] - 0.35 * np.abs(p[1] + 20), p[1], p[2]], (76, -22, -20), (5, 15, 26), 0)
    return union(skin, ear, 3)


def _airways(p: Points, side: Points, fine: Volume) -> Volume:
    """All air inside the head: sinuses, nose, throat, ear canals, mastoid cells."""
    frontal = ellipsoid(side, (11, 72, 4), (11, 5, 13)) + fine
    sphenoid = ellipsoid(side, (7, 18, -33), (8, 12, 9)) + fine * np.float32(0.7)
    ethmoid = ellipsoid(side, (7, 46, -32), (6, 18, 9)) + fine * 3
    maxillary = ellipsoid(side, (29, 46, -54), (13, 15, 16)) + fine
    nasal = union(
        ellipsoid(side, (6, 58, -50), (3.5, 34, 14)), capsule(side, (9, 92, -60), (6, 74, -56), 4), 3
    )
    # Turbinates: the nose is not an empty hall.
    nasal = np.maximum(nasal, np.float32(1.2) - np.abs(np.mod(p[2] + fine * 2, 9) - 4.5))
    throat = chain(
        [p[0] * 0.7, p[1], p[2]],
        [(0, 14, -52, 7), (0, 4, -64, 6), (0, 2, -90, 6), (0, 4, -110, 8), (0, 6, -160, 9)],
    )
    mouth = ellipsoid(p, (0, 50, -76), (18, 24, 2.5))
    canal = chain(side, [(90, -22, -28, 3.5), (66, -21, -28, 3.2), (46, -16, -27, 3.2), (42, -15, -27, 4.5)])
    mastoid = np.maximum(ellipsoid(side, (56, -34, -34), (9, 11, 14)), fine * 3)
    out = frontal
    for space in (sphenoid, ethmoid, maxillary, nasal, throat, mouth, canal, mastoid):
        out = np.minimum(out, space)
    return out


def _face_bone(p: Points, side: Points, airways: Volume) -> Volume:
    """Jaws, the walls of the sinuses, cheek bones and vertebrae."""
    walls = np.maximum(airways - 2.2, ellipsoid(p, (0, 42, -42), (46, 44, 40)))
    palate = ellipsoid(p, (0, 52, -68), (26, 26, 4))
    teeth = np.maximum(np.abs(ellipsoid(p, (0, 48, -76), (26, 34, 12))) - 4, 40 - p[1])
    jaw = np.minimum(
        chain(side, [(46, 0, -44, 5), (46, 4, -80, 7), (26, 58, -98, 7), (0, 68, -100, 8)]),
        chain(side, [(58, -6, -38, 3), (60, 20, -40, 3.5), (44, 58, -42, 5)]),
    )
    base = ellipsoid(p, (0, 8, -36), (20, 26, 12))
    petrous = capsule(side, (60, -24, -30), (18, -6, -30), 10, 6)
    spine = np.maximum(
        union(
            capsule(p, (0, -20, -72), (0, -24, -160), 11), capsule(p, (0, -40, -72), (0, -44, -160), 15), 8
        ),
        np.float32(2.5) - np.abs(np.mod(p[2], 18) - 9),
    )
    out = walls
    for bone in (palate, teeth, jaw, base, petrous, spine):
        out = np.minimum(out, bone)
    return out
