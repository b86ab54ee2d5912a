"""Rigid registration of the magnitudes of several scans of one head, with SimpleITK (an extra), and how far it can be trusted."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from chimap.errors import ChimapError, InputError
from chimap.numerics.threads import get_threads
from chimap.types import Mask, Progress, Volume, silent

Grid = tuple[Sequence[float], Sequence[float], Sequence[float]]
SMOOTH_MM = 12.0
"""Standard deviation of the local mean that magnitudes are divided by: the coils stay where they are when the head moves."""
LEVELS = ((8.0, 3.0), (4.0, 1.0), (2.0, 0.0))
"""Coarse to fine: size of the voxels, standard deviation of the smoothing, both in mm. Finer ones add time, not accuracy."""
STEPS = 100
RIM_MM = 4.0
SEARCH: tuple[tuple[Grid, Grid], ...] = (
    (((-40, -20, 0, 20, 40), (-40, -20, 0, 20, 40), (-20, 0, 20)), ((-20, 0, 20),) * 3),
    (((-10, 0, 10),) * 3, ((-10, 0, 10),) * 3),
)
"""Where the start is sought, coarse and then around the best: degrees about, and mm along, the axes right-left, back-front and up-down."""
MOST_POINTS = 1500
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Image:
    """A magnitude with the mask of the brain and its place: `affine` (4, 4) takes voxels to mm (RAS)."""

    magnitude: Volume
    mask: Mask
    affine: np.ndarray


@dataclass(frozen=True)
class Registration:
    """A rigid motion of the head between two scans, and how sure it is.

    Attributes
    ----------
    matrix : (4, 4) float
        From a point of the head in the reference scan to where it is in the other, in mm (RAS).
    correlation : float
        Of the magnitudes (local means taken out) inside the reference's mask, after registration.
    correlation_before : float
        The same with the scanner's own coordinates.
    inverse_deg, inverse_mm : float
        Inverse consistency: the angle, and the mean distance over the brain, by which registering there and back misses.
    """

    matrix: np.ndarray
    correlation: float
    correlation_before: float
    inverse_deg: float
    inverse_mm: float

    def to_dict(self, centre_mm: np.ndarray) -> dict[str, Any]:
        """For a sidecar: `centre_mm` is the point of the head whose shift is told."""
        shift = (self.matrix @ (*centre_mm, 1))[:3] - centre_mm
        return {
            "Matrix": np.round(self.matrix, 6).tolist(),
            "RotationDegrees": round(angle_deg(self.matrix), 3),
            "ShiftOfBrainMillimetres": np.round(shift, 3).tolist(),
            "Correlation": round(self.correlation, 4),
            "CorrelationBefore": round(self.correlation_before, 4),
            "InverseConsistencyDegrees": round(self.inverse_deg, 4),
            "InverseConsistencyMillimetres": round(self.inverse_mm, 4),
        }


def register(reference: Image, moving: Image, *, progress: Progress = silent) -> Registration:
    """Find where the head of `reference` lies in `moving`.

    Parameters
    ----------
    reference, moving : Image
        Of the same head with the same contrast; grids may differ.
    progress : callable
        Told of each of six steps (three levels there, three back).

    Raises
    ------
    InputError
        If SimpleITK is not installed.
    ChimapError
        If the registration fails.

    Notes
    -----
    The correlation of the magnitudes over the reference's brain is maximised over rotation and shift, from coarse to fine, on all
    voxels: nothing is drawn by chance. The two directions are averaged (half of the inverse's miss is taken back). The start is
    the best of some thousand motions about the centres of the masks; tilts up to 40 degrees are found.
    """
    itk = _library()
    ours, theirs = _local(reference), _local(moving)
    images = [_image(itk, i, v) for i, v in ((reference, ours), (moving, theirs))]
    steps = [0]

    def told() -> None:
        steps[0] += 1
        progress(steps[0], 2 * len(LEVELS))

    there = _rigid(itk, images[0], images[1], _start(reference, moving, ours, theirs), told)
    back = _rigid(itk, images[1], images[0], np.linalg.inv(there), told)
    miss = back @ there
    matrix = there @ _half(np.linalg.inv(miss))
    centre = centre_of(reference)
    return Registration(
        matrix=matrix,
        correlation=_correlation(ours, theirs, reference, moving, matrix),
        correlation_before=_correlation(ours, theirs, reference, moving, np.eye(4)),
        inverse_deg=angle_deg(miss),
        inverse_mm=_mean_distance(miss, reference, centre),
    )


def angle_deg(matrix: np.ndarray) -> float:
    """Angle of the rotation of a rigid matrix."""
    r = matrix[:3, :3]
    axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    return float(np.rad2deg(np.arctan2(np.linalg.norm(axis), np.trace(r) - 1)))


def centre_of(image: Image) -> np.ndarray:
    """Centre of the brain in mm (RAS)."""
    return (image.affine @ (*ndimage.center_of_mass(image.mask), 1))[:3]


def _library() -> Any:
    try:
        return importlib.import_module("SimpleITK")
    except ImportError as e:
        raise InputError(
            "registration of several head orientations needs SimpleITK, which is not installed",
            fix='Install it with: pip install "chimap[registration]"',
        ) from e


def _local(image: Image) -> Volume:
    """The magnitude over its mean nearby: free of the coils' shading, about 1, and 1 outside the mask's surroundings."""
    sigma = SMOOTH_MM / _size(image)
    inside = image.mask.astype(np.float32)
    m = np.nan_to_num(image.magnitude.astype(np.float32))
    near = ndimage.gaussian_filter(inside, sigma)
    mean = ndimage.gaussian_filter(m * inside, sigma) / np.maximum(near, 1e-3)
    out = np.where(near > 0.02, m / np.maximum(mean, 1e-6 + 0.05 * float(m[image.mask].mean())), 0)
    return np.clip(out, 0, 3).astype(np.float32)


def _image(itk: Any, image: Image, local: Volume) -> tuple[Any, Any]:
    """The local contrast as ITK's image, and the mask with a rim as another."""
    size = _size(image)
    rim = ndimage.distance_transform_edt(~image.mask, sampling=size) <= RIM_MM
    out = []
    for volume in (local, rim.astype(np.uint8)):
        made = itk.GetImageFromArray(np.ascontiguousarray(volume.transpose(2, 1, 0)))
        affine = _LPS @ image.affine
        made.SetSpacing([float(v) for v in size])
        made.SetOrigin([float(v) for v in affine[:3, 3]])
        made.SetDirection([float(v) for v in (affine[:3, :3] / size).ravel()])
        out.append(made)
    return out[0], out[1]


def _start(reference: Image, moving: Image, ours: Volume, theirs: Volume) -> np.ndarray:
    """The motion, of those in `SEARCH` about the brains' centres, that correlates best on a lattice of smoothed values.

    Masks may be wrong by some cm: shifts are sought, too.
    """
    lattice = np.argwhere(reference.mask)
    lattice = lattice[:: max(1, len(lattice) // MOST_POINTS)]
    a = _smoothed(ours, reference)[tuple(lattice.T)].astype(float)
    a -= a.mean()
    b = _smoothed(theirs, moving)
    centres = centre_of(reference), centre_of(moving)
    points = lattice @ reference.affine[:3, :3].T + reference.affine[:3, 3] - centres[0]
    to_voxels = np.linalg.inv(moving.affine)
    middle = np.zeros(6)
    for angles, shifts in SEARCH:
        best, at = -np.inf, middle
        for step in itertools.product(*angles, *shifts):
            tried = middle + step
            r = Rotation.from_euler("xyz", tried[:3], degrees=True).as_matrix()
            place = (points @ r.T + centres[1] + tried[3:]) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            v = ndimage.map_coordinates(b, place.T, order=1).astype(float)
            v -= v.mean()
            value = float(a @ v / max(np.linalg.norm(v), 1e-30))
            if value > best:
                best, at = value, tried
        middle = at
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("xyz", middle[:3], degrees=True).as_matrix()
    found[:3, 3] = centres[1] + middle[3:] - found[:3, :3] @ centres[0]
    return found


def _smoothed(local: Volume, image: Image) -> Volume:
    return ndimage.gaussian_filter(local, LEVELS[0][1] / _size(image))


def _size(image: Image) -> np.ndarray:
    return np.linalg.norm(image.affine[:3, :3], axis=0)


def _rigid(
    itk: Any, fixed: tuple[Any, Any], moving: tuple[Any, Any], start: np.ndarray, told: Callable[[], None]
) -> np.ndarray:
    """Matrix (RAS) from the fixed to the moving image."""
    mask = itk.GetArrayViewFromImage(fixed[1])
    middle = fixed[1].TransformContinuousIndexToPhysicalPoint(
        [float(v) for v in reversed(ndimage.center_of_mass(mask))]
    )
    transform = itk.VersorRigid3DTransform()
    transform.SetCenter(middle)
    matrix = _LPS @ start @ _LPS
    transform.SetMatrix([float(v) for v in _orthonormal(matrix[:3, :3]).ravel()], 1e-6)
    shift = matrix[:3, :3] @ middle + matrix[:3, 3] - np.asarray(middle)
    transform.SetTranslation([float(v) for v in shift])
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfThreads(get_threads())
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(fixed[1])
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=STEPS, gradientMagnitudeTolerance=1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    finest = min(fixed[0].GetSpacing())
    method.SetShrinkFactorsPerLevel([max(1, round(mm / finest)) for mm, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([s for _, s in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.AddCommand(itk.sitkMultiResolutionIterationEvent, told)
    try:
        method.Execute(fixed[0], moving[0])
    except RuntimeError as e:
        raise ChimapError(
            f"the registration failed ({str(e).strip().splitlines()[-1]})",
            fix="Look at the magnitudes and masks",
        ) from e
    out = np.eye(4)
    out[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    out[:3, 3] = np.asarray(transform.GetTranslation()) + middle - out[:3, :3] @ middle
    return _LPS @ out @ _LPS


def _orthonormal(r: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(r)
    return u @ v


def _half(matrix: np.ndarray) -> np.ndarray:
    """The rigid motion that, done twice, is nearly `matrix` (which is close to none)."""
    out = np.eye(4)
    out[:3, :3] = _orthonormal((np.eye(3) + matrix[:3, :3]) / 2)
    out[:3, 3] = matrix[:3, 3] / 2
    return out


def _correlation(ours: Volume, theirs: Volume, reference: Image, moving: Image, matrix: np.ndarray) -> float:
    to_voxels = np.linalg.inv(moving.affine) @ matrix @ reference.affine
    theirs = ndimage.affine_transform(
        theirs, to_voxels[:3, :3], to_voxels[:3, 3], output_shape=ours.shape, order=1
    )
    a, b = ours[reference.mask].astype(float), theirs[reference.mask].astype(float)
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-30))


def _mean_distance(miss: np.ndarray, reference: Image, centre: np.ndarray) -> float:
    points = np.argwhere(reference.mask)[:: max(1, int(reference.mask.sum()) // 20_000)]
    mm = points @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    moved = mm @ miss[:3, :3].T + miss[:3, 3]
    return float(np.linalg.norm(moved - mm, axis=1).mean())
