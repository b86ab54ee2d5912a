"""Learned single-step inversion: wrapped phase to susceptibility by an unrolled network."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._admm import Problem
from chimap.inversion._from_phase import outside_field
from chimap.inversion._learned_inputs import (
    CHANNELS,
    GAIN,
    NOISE_FLOOR,
    NOISE_PPM,
    STEPS_INPUT,
    residual_filter,
)
from chimap.inversion._learned_phase_inputs import phase_inputs
from chimap.inversion._learned_refine import refined
from chimap.inversion.learned import CALM, LAPLACE
from chimap.networks.session import load
from chimap.networks.tiles import apply
from chimap.numerics.fft import convolve
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

OUTSIDE_STEPS = 5
"""Conjugate-gradient steps by which the background follows a new map."""
WEAKEST = 0.001
"""Floor of the preconditioner of sources outside, as a share of its largest value."""


@method(
    "inversion",
    of="phase",
    network=True,
    reference=("10.1016/j.neuroimage.2022.119410", "10.1109/TMI.2018.2865356"),
)
def learned_phase(
    phase: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    model: str = "phase_inversion",
    refine: int = 3,
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> Volume:
    r"""Unrolled network from wrapped phase: nothing is unwrapped, and the background is estimated along with the map.

    .. math::
        \chi_{k+1} = \chi_k + N_k(\chi_k,\; D\,w\,r_k,\; w\,r_k,\; w,\; \mathrm{guides}), \quad r_k = D\chi_k + b_k - f

    Differences of the wrapped phase between neighbours are the data, as in `tgv_phase`; their least-squares field is `f`. Its
    background :math:`b_k` is the field of sources outside the mask that comes nearest to :math:`f - D\chi_k`, estimated anew for each
    map. :math:`\chi_0` is a few iterations of `guided` on what the first background leaves. Voxel size and direction of B0 enter by
    the dipole kernel ``D`` of the scan, so one network serves all scans of the ranges on its model card; a scan outside them
    is computed with a warning.

    Parameters
    ----------
    phase : (x, y, z, echo) float32
        Wrapped phase in rad.
    mask : (x, y, z) bool
        Where it is valid; voxels without signal have to be left out.
    acq : Acquisition
        Echo times, B0 strength and direction, voxel size.
    magnitude : (x, y, z, echo) float32, optional
        Weights of echoes and voxels, the noise of the field, and, with the decay over the echoes, the guide to edges.
    model : str
        Name of a network of the package, or path of an ONNX file (see `chimap train`).
    refine : int
        Steps of conjugate gradients towards the data after the network. 0: none.
    memory_gb : float
        Memory in GB that one tile of the network may take.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask, with mean 0 inside.

    Raises
    ------
    InputError
        If the network is not one for this method, or the magnitude has not the shape of the phase.

    Notes
    -----
    From wrapped phase in one step: Gao et al. 2022 (iQSM), doi:10.1016/j.neuroimage.2022.119410, there without the scan's own kernel.
    Unrolling: Aggarwal et al. 2019, doi:10.1109/TMI.2018.2865356.

    The network that comes with the package had a short training on random objects, and is an example to train further, not one to
    use: on a simulated 7 T head its error is 77.5 %, that of `tgv_phase` 53.5 %, of V-SHARP and `tkd` 69.0 %. See
    `chimap models phase_inversion`.
    """
    if memory_gb <= 0:
        raise InputError(f"memory_gb is {memory_gb:g}; it must be positive", fix="Try 1")
    if refine < 0:
        raise InputError(f"refine is {refine}; it must not be negative", fix="Give 0 for no refinement")
    if magnitude is not None and magnitude.shape != phase.shape:
        raise InputError(
            f"magnitude has shape {magnitude.shape} but phase {phase.shape}",
            fix="Give the magnitude of every echo",
        )
    network = load(model)
    steps = network.lengths.get(STEPS_INPUT, 0)
    if network.inputs != CHANNELS or steps < 1:
        raise InputError(
            f"network {network.name} is not one of an unrolled inversion",
            file=network.file,
            fix='Give one that `chimap train` made of a configuration with task = "phase_inversion"',
        )
    inputs, noise = phase_inputs(phase, magnitude, mask, acq)
    network.check(acq, noise=noise, mask=mask)
    progress(1, steps + 2)
    problem = Problem.of(inputs.field, mask, acq, noise, NOISE_PPM, NOISE_FLOOR)
    box, kernel, field, weights = problem.box, problem.kernel, problem.field, problem.weights
    inverse = residual_filter(kernel)
    part = box.corner
    here = problem.inside[part]
    x = box.crop(inputs.start)
    channels = np.empty((CHANNELS, *here.shape), np.float32)
    channels[4] = weights[part]
    channels[5], channels[6] = box.crop(inputs.guides[0])[part], box.crop(inputs.guides[1])[part]
    channels[8] = here
    channels[7] = np.float32(inputs.level) * channels[8]
    error = np.zeros(here.shape, np.float32)
    for step in range(steps):
        residual = _misfit(problem, field, x)
        residual *= weights
        channels[0] = x[part]
        np.multiply(convolve(residual, kernel)[part], np.float32(GAIN) * here, out=channels[1])
        np.multiply(convolve(residual, inverse)[part], here, out=channels[2])
        np.multiply(residual[part], np.float32(GAIN), out=channels[3])
        vector = np.eye(steps, dtype=np.float32)[step]
        correction = apply(network, channels, memory_gb=memory_gb, mask=here, vectors={STEPS_INPUT: vector})[
            0
        ]
        new = x[part]
        new += correction
        new -= np.float32(new[here].mean(dtype=np.float64))
        new *= here
        progress(step + 2, steps + 2)
    if refine:
        # The field less its background, as the map that is to be refined leaves it.
        local = convolve(x, kernel) - _misfit(problem, field, x)
        spread = np.zeros(box.shape, np.float32)
        spread[part] = np.float32(LAPLACE) * (np.logaddexp(np.float32(0), error) + np.float32(CALM)) * here
        x = refined(x, spread, local, weights, float(np.exp(inputs.level)), kernel, refine)
        x -= np.float32(x[problem.inside].mean(dtype=np.float64))
        x *= problem.inside
    progress(steps + 2, steps + 2)
    return box.restore(x) * np.float32(inputs.scale) * mask


def _misfit(problem: Problem, field: Volume, x: Volume) -> Volume:
    """The field of `x` and of the sources outside that go with it, less the measured one."""
    misfit = convolve(x, problem.kernel)
    misfit -= field
    problem.field = -misfit
    misfit += outside_field(problem, OUTSIDE_STEPS)
    return misfit
