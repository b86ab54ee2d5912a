"""Small complex objects for tests of joining: blobs that are smooth on the grid, with a phase that grows with the echo time."""

import numpy as np
from scipy.spatial.transform import Rotation

from chimap.acquisition import Acquisition
from chimap.simulate.resample import crop_kspace
from chimap.stacks.scan import Motion, Stack

TE_S = (0.006, 0.014)
ACQ = Acquisition(TE_S, 3.0, voxel_size_mm=(2.0, 2.0, 2.0))


def centred(shape, voxel_mm):
    """Affine of a grid whose middle is the isocentre."""
    affine = np.diag([*map(float, voxel_mm), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def head(shape, voxel_mm=2.0, motion=None, te_s=TE_S, detail_mm=4.0):
    """Complex echoes (x, y, z, echo) of blobs in the places that `motion` takes them to: exact, nothing is interpolated."""
    rng = np.random.default_rng(5)
    affine = centred(shape, (voxel_mm,) * 3)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    if motion is not None:
        back = np.linalg.inv(motion.matrix)
        at = at @ back[:3, :3].T + back[:3, 3]
    half = 0.5 * voxel_mm * np.array(shape)
    out = np.zeros((len(te_s), *shape), np.complex128)
    blobs = [(np.zeros(3), 0.38 * half, 1.0, 0.0)]
    for _ in range(14):
        centre = rng.uniform(-0.4, 0.4, 3) * half
        blobs.append(
            (centre, detail_mm * rng.uniform(1, 2.2, 3), rng.uniform(-0.5, 0.7), rng.uniform(-20, 20))
        )
    for centre, width, size, hz in blobs:
        shape_ = size * np.exp(-0.5 * (((at - centre) / width) ** 2).sum(-1))
        for e, te in enumerate(te_s):
            out[e] += shape_ * np.exp(2j * np.pi * hz * te)
    return np.moveaxis(out, 0, -1).astype(np.complex64)


def as_stack(echoes, affine, profile=("kspace",) * 3):
    return Stack(np.angle(echoes).astype(np.float32), np.abs(echoes).astype(np.float32), affine, profile)


def thick(echoes, axis, factor=3, voxel_mm=2.0, noise=0.0, seed=0, turn=0.0):
    """A stack with voxels `factor` times as long along an axis, as its k-space would give it."""
    rng = np.random.default_rng(seed)
    shape = tuple(n // factor if a == axis else n for a, n in enumerate(echoes.shape[:3]))
    voxel = tuple(voxel_mm * factor if a == axis else voxel_mm for a in range(3))
    x = np.linspace(-1, 1, shape[0])[:, None, None]
    images = [crop_kspace(e.copy(), shape) * np.exp(1j * turn * (1 + x)) for e in np.moveaxis(echoes, 3, 0)]
    all_ = np.stack(images, -1)
    all_ = all_ + noise * (rng.standard_normal(all_.shape) + 1j * rng.standard_normal(all_.shape))
    return as_stack(all_, centred(shape, voxel))


def apart(a, b, radius_mm=25.0):
    """Largest distance in mm of what two motions make of points around the middle."""
    points = radius_mm * np.concatenate([np.eye(3), -np.eye(3)])
    moved = [points @ m.matrix[:3, :3].T + m.matrix[:3, 3] for m in (a, b)]
    return float(np.linalg.norm(moved[0] - moved[1], axis=1).max())


def turned(degrees):
    return Rotation.from_rotvec(np.deg2rad(degrees)).as_matrix()


MOTION = Motion((1.5, -1.0, 0.8), (2.0, -1.5, 2.5))
