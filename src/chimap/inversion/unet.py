"""Dipole inversion by a plain U-Net, the baseline of learned inversions."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.networks.session import load
from chimap.networks.tiles import apply
from chimap.numerics.box import Box
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MODEL = "unet"
"""The network that comes with the package."""
CHANNELS = ("local field", "mask")
GAIN = 4.0
"""The map is larger than its field by about this."""


@method(
    "inversion",
    network=True,
    reference=("10.1016/j.neuroimage.2019.03.060", "10.1016/j.neuroimage.2018.06.030"),
)
def unet(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    model: str = MODEL,
    progress: Progress = silent,
) -> Volume:
    r"""Plain U-Net: local field in, susceptibility out, in one pass. A baseline to compare with, not one to use.

    As in DeepQSM and QSMnet, the network has learned the inverse of one dipole kernel, the one of cubic voxels and B0 along the third
    axis. It is told neither voxel size nor direction nor noise, nothing compares its map with the measured field, and what lies farther
    away than its receptive field (29 voxels) does not reach it. On oblique or anisotropic scans its map is plausible and wrong.
    The method `learned` keeps the scan's own kernel.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        Compared with what the network was trained on; not used otherwise.
    model : str
        Network that comes with the package, or the path of an ONNX file with the same channels.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask, with mean 0 inside.

    Raises
    ------
    InputError
        If the network is not one for this method.

    Notes
    -----
    Linear in scale: the field is divided by its mean absolute deviation beforehand. On simulated heads with B0 along the third axis
    it errs about as much as `tkd` (59 %; `tv`: 46 %); on random objects with B0 at 45 degrees by 99 % of the truth.

    DeepQSM: Bollmann et al. 2019, doi:10.1016/j.neuroimage.2019.03.060. QSMnet: Yoon et al. 2018,
    doi:10.1016/j.neuroimage.2018.06.030. These weights are neither's: see `chimap models unet`.
    """
    network = load(model)
    if network.inputs != len(CHANNELS) or network.vectors:
        raise InputError(
            f"network {network.name} is not a plain U-Net from field to susceptibility",
            file=network.file,
            fix='Give one that `chimap train` made of a configuration with task = "unet"',
        )
    network.check(acq, te=False)
    box = Box.around(mask, fast=False)
    inside = box.crop(mask)
    channels, scale = unet_inputs(box.crop(local_field), inside)
    chi = apply(network, channels, mask=inside, progress=progress)[0]
    chi -= np.float32(chi[inside].mean(dtype=np.float64))
    chi *= inside
    chi *= np.float32(GAIN * scale)
    return box.restore(chi)


def unet_inputs(local_field: Volume, mask: Mask) -> tuple[np.ndarray, float]:
    """Channels (2, x, y, z) float32 and the mean absolute deviation of the field in ppm, by which it was divided."""
    values = local_field[mask]
    middle = float(np.median(values))
    scale = max(float(np.abs(values - np.float32(middle)).mean(dtype=np.float64)), 1e-5)
    channels = np.zeros((len(CHANNELS), *mask.shape), np.float32)
    channels[0] = np.where(mask, (local_field - np.float32(middle)) / np.float32(scale), np.float32(0))
    channels[1] = mask
    return channels, scale
