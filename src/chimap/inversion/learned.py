"""Dipole inversion by a network inside the physics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.inversion._learned_inputs import CHANNELS, NOISE_PPM, STEPS_INPUT, learned_inputs
from chimap.inversion._learned_refine import refined
from chimap.inversion._learned_steps import Unrolled, network_step
from chimap.networks.session import Network, load
from chimap.numerics.fft import convolve
from chimap.offers import DEVIATION, RESIDUAL, offer
from chimap.registry import method
from chimap.types import Mask, Progress, Volume, silent

MODEL = "inversion"
"""The network that comes with the package."""
REFINE = 0
"""Steps of the refinement: it fits the field's own errors of the model, too, and cost 1 to 4 points of NRMSE on simulated heads."""
LAPLACE = float(np.sqrt(2))
"""Standard deviation of a Laplace distribution of scale 1."""
CALM = 0.01
"""Smallest scale of the error, relative to the map's: the network foretells what is above it."""


@dataclass(frozen=True)
class LearnedMap:
    """What the network says.

    Attributes
    ----------
    chi : (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask.
    deviation : (x, y, z) float32
        Standard deviation in ppm that it expects of its error.
    residual : (x, y, z) float32
        What of the local field the map does not explain, in ppm.
    """

    chi: Volume
    deviation: Volume
    residual: Volume


@method("inversion", reference=("10.1109/TMI.2018.2865356", "10.1007/978-3-030-59713-9_13"), network=True)
def learned(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    r2star: Volume | None = None,
    noise: Volume | None = None,
    model: str = MODEL,
    refine: int = REFINE,
    smv_mm: float = 0.0,
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> Volume:
    r"""Unrolled network: steps of data consistency with the scan's own dipole kernel, each followed by a small 3-D network.

    .. math::
        \chi_{k+1} = \chi_k + N_k(\chi_k,\; D\,w\,(D\chi_k - f),\; w\,(D\chi_k - f),\; w,\; \mathrm{guides})

    from :math:`\chi_0`, the map of `guided`. Voxel size, direction of B0 and noise enter through ``D`` and ``w``, so one
    network serves all scans of the ranges on its model card; a scan outside them is computed with a warning.

    Parameters
    ----------
    local_field : (x, y, z) float32
        Local field in ppm.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        B0 direction and voxel size.
    magnitude : (x, y, z) or (x, y, z, echo) float32, optional
        As of `guided`.
    r2star : (x, y, z) float32, optional
        R2* in 1/s. With magnitude and R2* the network is better than without.
    noise : (x, y, z) float32, optional
        Standard deviation of the local field in ppm.
    model : str
        Name of a network of the package, or path of an ONNX file (see `chimap train`).
    refine : int
        Steps after the network that move the map towards the field as far as the error that the network expects allows: for fields
        with little noise and no other error. 0: none.
    smv_mm : float
        As of `guided`: the first map is made so, and what it leaves of the field, the residual, loses its means over spheres. For measured fields.
    memory_gb : float
        Memory in GB that one tile of the network may take.

    Returns
    -------
    (x, y, z) float32
        Susceptibility in ppm, 0 outside the mask; its mean inside, which the field does not tell, is that of `guided`.

    Raises
    ------
    InputError
        If the network is not one for this method.

    Notes
    -----
    After the unrolled networks of Aggarwal et al. 2019 (MoDL), doi:10.1109/TMI.2018.2865356, and Lai et al. 2020 (LPCNN),
    doi:10.1007/978-3-030-59713-9_13. It was trained on random objects, no heads: see `chimap models inversion`.
    """
    made = learned_map(
        local_field,
        mask,
        acq,
        magnitude=magnitude,
        r2star=r2star,
        noise=noise,
        model=model,
        refine=refine,
        smv_mm=smv_mm,
        memory_gb=memory_gb,
        progress=progress,
    )
    offer(DEVIATION, made.deviation)
    offer(RESIDUAL, made.residual)
    return made.chi


def learned_map(
    local_field: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    r2star: Volume | None = None,
    noise: Volume | None = None,
    model: str = MODEL,
    refine: int = REFINE,
    smv_mm: float = 0.0,
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> LearnedMap:
    """`learned` with the error that it expects and the residual; the arguments are the same."""
    if refine < 0:
        raise InputError(f"refine is {refine}; it must not be negative", fix="Give 0 for no refinement")
    if memory_gb <= 0:
        raise InputError(f"memory_gb is {memory_gb:g}; it must be positive", fix="Try 1")
    network = load(model)
    steps = _steps_of(network)
    known = noise if noise is not None else np.where(mask, np.float32(NOISE_PPM), np.float32(0))
    network.check(acq, noise=known, mask=mask, te=False)
    total = steps + 2

    if smv_mm < 0:
        raise InputError(f"smv_mm is {smv_mm:g}; it must not be negative", fix="Try 12, or 0")
    inputs = learned_inputs(
        local_field, mask, acq, noise=noise, magnitude=magnitude, r2star=r2star, smv_mm=smv_mm
    )
    progress(1, total)
    scan = Unrolled(inputs, mask, acq)
    error = np.zeros(scan.here.shape, np.float32)
    for step in range(steps):
        correction, error = network_step(network, scan.look(), scan.here, step, steps, memory_gb)
        scan.move(correction)
        progress(step + 2, total)
    # The network gives the inverse softplus of a Laplace distribution's scale.
    spread = np.zeros(scan.box.shape, np.float32)
    deviation = np.float32(LAPLACE) * (np.logaddexp(np.float32(0), error) + np.float32(CALM))
    spread[scan.box.corner] = deviation * scan.here
    x = scan.chi
    if refine:
        x = refined(x, spread, scan.field, scan.weights, float(np.exp(inputs.level)), scan.kernel, refine)
        x -= np.float32(x[scan.inside].mean(dtype=np.float64))
        x *= scan.inside
    progress(total, total)
    residual = scan.field - convolve(x, scan.kernel)
    residual *= scan.inside
    scale = np.float32(inputs.scale)
    chi, deviation, residual = (scan.box.restore(v) * scale * mask for v in (x, spread, residual))
    chi[mask] += np.float32(inputs.mean_ppm)
    return LearnedMap(chi, deviation, residual)


def _steps_of(network: Network) -> int:
    """Number of steps; raises InputError for a network of another kind."""
    steps = network.lengths.get(STEPS_INPUT, 0)
    if network.inputs != CHANNELS or steps < 1:
        raise InputError(
            f"network {network.name} is not one of an unrolled inversion",
            file=network.file,
            fix='Give one that `chimap train` made of a configuration with task = "inversion"',
        )
    return steps
