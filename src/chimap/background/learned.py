"""Background removal by a network whose background is made harmonic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion

from chimap.acquisition import Acquisition
from chimap.background._harmonic import Harmonic
from chimap.background._learned_inputs import CHANNELS, CONDITIONS, CONDITIONS_INPUT, learned_inputs
from chimap.background._unreliable import from_around
from chimap.errors import InputError
from chimap.networks.session import Network, load
from chimap.networks.tiles import apply
from chimap.registry import method
from chimap.results import LocalField
from chimap.types import Mask, Progress, Volume, silent

MODEL = "background"
"""The network that comes with the package."""
NOISE_PPM = 0.004
"""Noise to compare with the network's training where a scan states none."""


@method("background", network=True, reference=("10.1002/nbm.1670", "10.1002/nbm.3064", "10.1101/522151"))
def learned(
    total_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    noise: Volume | None = None,
    magnitude: Volume | None = None,
    model: str = MODEL,
    rim: int = 1,
    unreliable: float = 25.0,
    progress: Progress = silent,
) -> LocalField:
    r"""Network: it says what PDF has left of the background or taken of the tissue; the two together are made harmonic.

    PDF explains the total field :math:`f` by a background :math:`b_{PDF}`. What it errs by is largest at the mask's edge, where
    sources on both sides look alike. A U-Net predicts this error :math:`e` from the local field of PDF, that of LBV, the background, the
    noise, the depth below the edge and the magnitude. The background that is taken off is the harmonic function closest to both together,

    .. math:: l = f - b, \qquad \min_b \sum_x (b - b_{PDF} - e)^2 \quad \text{with} \quad \nabla^2 b = 0,

    so that whatever the network says, inside the mask nothing is taken off that sources outside could not have caused. Next to the
    edge the fields of sources close by change too much from voxel to voxel for differences to tell; in the outermost `rim` voxels
    :math:`b = b_{PDF} + e`.

    Parameters
    ----------
    total_field : (x, y, z) float32
        Total field in ppm.
    mask : (x, y, z) bool
        Where the total field is known.
    acq : Acquisition
        Voxel size in mm and direction of B0.
    noise : (x, y, z) float32, optional
        Standard deviation of the total field in ppm: weights the voxels, and is a channel of the network.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        Magnitude in any unit: a channel of the network.
    model : str
        Network that comes with the package, or the path of an ONNX file with the same channels.
    rim : int
        Outermost voxels, in steps by faces, in which the background need not be harmonic. 0: it is everywhere.
    unreliable : float
        In voxels whose noise exceeds this many times the median, the local field is taken from the sources there that
        best explain the field around. 0: it stays as measured.

    Returns
    -------
    LocalField
        Local field in ppm, over the whole mask; its noise is that of the total field.

    Raises
    ------
    InputError
        If `rim` is negative, or the network is not one for this method.

    Notes
    -----
    The network was trained on random objects within random surroundings, no heads: see `chimap models background`. On simulated heads its
    local field is a little better than that of PDF (46 % error over the whole mask instead of 48 %), and worse than that of `joint` (38 %),
    which knows what a brain is like. Prefer `joint` there.

    PDF: Liu et al. 2011, doi:10.1002/nbm.1670. LBV: Zhou et al. 2014, doi:10.1002/nbm.3064. A network from total to local field
    without such steps: SHARQnet, Bollmann et al. 2019, doi:10.1101/522151.
    """
    if rim < 0:
        raise InputError(f"rim is {rim}", fix="Give 0 or more voxels")
    network = load(model)
    _require(network)
    known = noise if noise is not None else np.where(mask, np.float32(NOISE_PPM), np.float32(0))
    network.check(acq, noise=known, mask=mask, te=False)
    inputs = learned_inputs(total_field, mask, acq, noise=noise, magnitude=magnitude)
    progress(1, 3)
    inside = inputs.box.crop(mask)
    vectors = {CONDITIONS_INPUT: inputs.conditions}
    left = apply(network, inputs.channels, mask=inside, vectors=vectors)[0]
    progress(2, 3)
    field = inputs.box.crop(total_field)
    background = field - inputs.local_ppm
    background += np.float32(inputs.scale) * left
    local = field - harmonic_part(background, inside, acq.voxel_size_mm, rim)
    local -= np.float32(local[inside].mean(dtype=np.float64))
    local *= inside
    local = from_around(inputs.box.restore(local), noise, mask, unreliable, acq.voxel_size_mm, acq.b0_dir)
    progress(3, 3)
    return LocalField(field_ppm=local, noise_ppm=None if noise is None else noise.copy(), mask=mask.copy())


def harmonic_part(
    field: Volume, inside: Mask, voxel: Sequence[float], rim: int = 0, iterations: int = 6
) -> Volume:
    """The harmonic function on a mask that is closest to a field, in any unit.

    Parameters
    ----------
    field : (x, y, z) float32
    inside : (x, y, z) bool
    voxel : 3 float
        Voxel size in mm.
    rim : int
        Outermost voxels of the mask that stay as they are.
    iterations : int
        Conjugate gradient iterations for the values at the edge.

    Returns
    -------
    (x, y, z) float32
        In the rim, and where what is left of the mask is one voxel thin, it is the field itself.
    """
    core = binary_erosion(inside, iterations=rim) if rim else inside
    inner = binary_erosion(core)
    if not inner.any():
        return field
    solver = Harmonic(core, inner, voxel, core.astype(np.float32))
    within = field * core
    rest = solver.smallest(solver.laplacian(within), iterations, silent)
    return np.where(solver.reached(), within - rest, field)


def _require(network: Network) -> None:
    if network.inputs != len(CHANNELS) or network.lengths != {CONDITIONS_INPUT: CONDITIONS}:
        raise InputError(
            f"network {network.name} is not one of background removal",
            file=network.file,
            fix='Give one that `chimap train` made of a configuration with task = "background"',
        )
