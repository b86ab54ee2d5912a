"""One head scanned in several positions: the phantom is turned on its fine grid, the scanner stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.simulate.dataset import scanner_affine
from chimap.simulate.phantom import Phantom
from chimap.simulate.resample import image_shape
from chimap.simulate.scan import SimulatedScan, simulate_scan
from chimap.simulate.sources import Sources
from chimap.types import Progress, Volume

Change = Callable[[np.ndarray], np.ndarray]
MARGIN_MM = 12.0
"""Air that is added on every side, so that a tilted head stays in the picture."""


@dataclass(frozen=True)
class HeadPosition:
    """How the head lies against its first position, for voxel axes that run to the right, to the front and up.

    Attributes
    ----------
    nod_deg : float
        Chin towards the chest (negative: head back).
    tilt_deg : float
        Crown towards the right shoulder (negative: left).
    turn_deg : float
        Face to the left (negative: right). About B0, it says nothing new about the susceptibility.
    shift_mm : 3 float
        Along the voxel axes.
    """

    nod_deg: float = 0.0
    tilt_deg: float = 0.0
    turn_deg: float = 0.0
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def rotation(self) -> np.ndarray:
        """Matrix (3, 3) that takes a direction in the head from its first position to this one: nod, then tilt, then turn."""
        nod, tilt, turn = np.deg2rad([self.nod_deg, self.tilt_deg, self.turn_deg])
        a = np.array([[1, 0, 0], [0, np.cos(nod), np.sin(nod)], [0, -np.sin(nod), np.cos(nod)]])
        b = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        c = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        return c @ b @ a


def standard_positions(
    count: int, within_deg: float = 25.0, *, seed: int | None = None
) -> list[HeadPosition]:
    """`count` positions: upright, then crown (or chin) to alternate sides, all tilts within an angle that people manage.

    Parameters
    ----------
    count : int
        1 or more; those after the first lie evenly on a ring, at `within_deg` from upright.
    within_deg : float
        Largest tilt, 1 to 90 degrees.
    seed : int, optional
        Adds turns of up to 5 degrees and shifts of up to 6 mm, as people make them.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    if count < 1:
        raise InputError(f"{count} orientations asked for", fix="Give 1 or more")
    if not 1 <= within_deg <= 90:
        raise InputError(f"a tilt of {within_deg:g} degrees is outside 1 to 90")
    rng = None if seed is None else np.random.default_rng([seed, 11])
    out = [HeadPosition()]
    for n in range(count - 1):
        # Far from one another from the first on: with 3 positions 90 degrees apart, with more evenly around.
        round_deg = 90.0 * n if count <= 3 else 360.0 * n / (count - 1)
        a = np.deg2rad(round_deg)
        axis = within_deg * np.array([np.sin(a), np.cos(a)])
        turn, shift = 0.0, np.zeros(3)
        if rng is not None:
            turn, shift = float(rng.uniform(-5, 5)), rng.uniform(-6, 6, 3)
        moved_mm = (float(shift[0]), float(shift[1]), float(shift[2]))
        out.append(HeadPosition(float(axis[0]), float(axis[1]), turn, moved_mm))
    return out


def simulate_orientations(
    phantom: Phantom,
    acq: Acquisition,
    positions: Sequence[HeadPosition],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: object,
) -> Iterator[SimulatedScan]:
    """Scan a phantom in several positions, one after the other.

    Parameters
    ----------
    phantom : Phantom
        In its first position; its voxel axes run to the right, to the front and up.
    acq : Acquisition
        The same for all scans: grid and B0 stay, the head moves.
    positions : sequence of HeadPosition
        Against the phantom as it is.
    seed : int
        The noise and the receiver of scan n come from `seed` + n.
    progress, settings
        As of `simulate_scan`.

    Yields
    ------
    SimulatedScan
        Each with its truth on its own grid. ``parameters["head_motion"]`` is the matrix (4, 4) from a point of the head in its
        first position to where it is now, in mm of the written image's affine.

    Notes
    -----
    The turned phantom is interpolated by cubic splines, held within the values around so that no edge overshoots; labels and
    mask go by the nearest voxel. The first position, if it is that of the phantom, is not interpolated.
    """
    phantom = with_margin(phantom, acq)
    size = np.asarray(phantom.voxel_size_mm)
    shape = np.asarray(phantom.labels.shape)
    # Turned about the middle of the brain: the operator centres the field of view on it.
    middle = (np.array(ndimage.center_of_mass(phantom.mask)) - (shape - 1) / 2) * size
    world = scanner_affine(acq.with_(voxel_size_mm=(1.0, 1.0, 1.0)), (1, 1, 1))[:3, :3]
    for n, position in enumerate(positions):
        r = position.rotation()
        motion = np.eye(4)
        motion[:3, :3] = r
        motion[:3, 3] = middle - r @ middle + np.asarray(position.shift_mm)
        scan = simulate_scan(
            moved(phantom, motion),
            acq,
            seed=seed + n,
            progress=progress,
            **settings,  # type: ignore[arg-type]
        )
        written = np.eye(4)
        written[:3, :3] = world @ r @ world.T
        written[:3, 3] = world @ motion[:3, 3]
        yield replace(scan, parameters={**scan.parameters, "head_motion": written.tolist()})


def with_margin(phantom: Phantom, acq: Acquisition, margin_mm: float = MARGIN_MM) -> Phantom:
    """The phantom with some mm more of what lies at each face of its grid (air, and neck below), to a grid that fits the image's."""
    pads = [6 * int(np.ceil(margin_mm / v / 6)) for v in phantom.voxel_size_mm]
    wanted = [n + 2 * p for n, p in zip(phantom.labels.shape, pads, strict=True)]
    fine, _ = image_shape(wanted, phantom.voxel_size_mm, acq.voxel_size_mm)
    width = [(p, f - n - p) for p, f, n in zip(pads, fine, phantom.labels.shape, strict=True)]

    def pad(volume: np.ndarray) -> np.ndarray:
        return np.pad(volume, width, mode="edge")

    return _changed(phantom, pad, pad, pad)


def moved(phantom: Phantom, motion: np.ndarray) -> Phantom:
    """The phantom after a rigid motion (4, 4) in mm about the grid's centre; beyond its grid its faces go on."""
    if np.allclose(motion, np.eye(4), atol=1e-9):
        return phantom
    back = np.linalg.inv(motion)
    size = np.asarray(phantom.voxel_size_mm)
    centre = (np.asarray(phantom.labels.shape) - 1) / 2
    matrix = back[:3, :3] * size / size[:, None]
    offset = back[:3, 3] / size + centre - matrix @ centre

    def nearest(volume: np.ndarray) -> np.ndarray:
        return ndimage.affine_transform(volume, matrix, offset, order=0, mode="nearest")

    def inside(mask: np.ndarray) -> np.ndarray:
        share = ndimage.affine_transform(mask.astype(np.float32), matrix, offset, order=1, mode="nearest")
        return share >= 0.5

    def smooth(volume: Volume) -> Volume:
        out = ndimage.affine_transform(volume, matrix, offset, order=3, mode="nearest")
        for limit, hold in ((ndimage.minimum_filter, np.maximum), (ndimage.maximum_filter, np.minimum)):
            hold(out, nearest(limit(volume, 3)), out=out)
        return out

    return _changed(phantom, nearest, inside, smooth)


def _changed(phantom: Phantom, labels: Change, mask: Change, values: Callable[[Volume], Volume]) -> Phantom:
    """The phantom with each kind of its volumes put through one function."""
    sources = phantom.sources
    return replace(
        phantom,
        chi_ppm=values(phantom.chi_ppm),
        m0=values(phantom.m0),
        r1=values(phantom.r1),
        r2star=values(phantom.r2star),
        labels=labels(phantom.labels),
        mask=mask(phantom.mask),
        sources=sources and Sources(values(sources.paramagnetic_ppm), values(sources.r2prime)),
    )
