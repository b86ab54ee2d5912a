"""DECOMPOSE: both kinds of sources from gradient echoes alone, by three pools of signal in a voxel."""

from __future__ import annotations

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.decay import line
from chimap.numerics.threads import jit, slabs
from chimap.registry import method
from chimap.results import Separation
from chimap.separation._joint import REFERENCE_T
from chimap.separation._pools import fit
from chimap.types import Mask, Progress, Volume, silent

FEWEST = 3
START_SHARE = 0.75
"""Share of R2* that the neutral rate starts with."""
START_PPM = 0.2
HIGHEST_RATE = 1000.0


@method("separation", reference="10.1016/j.neuroimage.2021.118477", of="susceptibility of each echo")
def decompose(
    chi_echoes: Volume,
    mask: Mask,
    acq: Acquisition,
    *,
    magnitude: Volume | None = None,
    relaxivity: float = 323.5,
    most_ppm: float = 0.5,
    tolerance: float = 1e-6,
    iterations: int = 60,
    progress: Progress = silent,
) -> Separation:
    r"""DECOMPOSE-QSM: paramagnetic and diamagnetic sources from three pools of signal in each voxel, without R2.

    .. math::
        S(t) = C_+ e^{-(a |\chi_+| + R_{2,0}^*) t + i \frac23 \gamma B_0 \chi_+ t}
        + C_- e^{-(a |\chi_-| + R_{2,0}^*) t + i \frac23 \gamma B_0 \chi_- t} + C_0 e^{-R_{2,0}^* t}

    is fitted to the magnitude times :math:`e^{i \frac23 \gamma B_0 \chi_t t}` with the susceptibility :math:`\chi_t` of each echo. The
    maps are :math:`C_\pm \chi_\pm / (C_+ + C_- + C_0)`. To first order in time such a signal tells the sum of both kinds and one
    number more, the decay, which the neutral rate :math:`R_{2,0}^*` shares: what tells that rate apart is curvature, and small in
    tissue. The result leans on the start of the fit (3/4 of R2* is neutral) where noise hides it.

    Parameters
    ----------
    chi_echoes : (x, y, z, echo) float32
        Susceptibility in ppm from each echo, against tissue without sources (CSF as reference, say). One map repeated for all
        echoes is allowed; the phases then hold no curvature.
    mask : (x, y, z) bool
        Where it is valid.
    acq : Acquisition
        Echo times, three or more, and field strength.
    magnitude : (x, y, z, echo) float32
        Of the same echoes in any unit, needed.
    relaxivity : float
        :math:`a` in 1/s per ppm at 3 T, proportional to B0. The default is that of static dephasing by spheres,
        :math:`2 \pi \gamma B_0 / (9 \sqrt 3)`. Where R2* is below :math:`a |\chi_t|` no pools explain
        the signal, and the maps mean nothing there.
    most_ppm : float
        Largest absolute susceptibility of a pool in ppm.
    tolerance : float
        Stop in a voxel when a step lowers the sum of squares by less than this share.
    iterations : int
        Most iterations in a voxel.

    Returns
    -------
    Separation
        Paramagnetic (0 or more) and diamagnetic (0 or less) susceptibility in ppm, 0 outside the mask and where the first echo has
        no signal.

    Raises
    ------
    InputError
        Without magnitude, with fewer than three echoes, or if a parameter is out of range.

    Notes
    -----
    Chen et al. 2021, doi:10.1016/j.neuroimage.2021.118477. The paper alternates between amplitudes and rates; here all six are fitted
    at once by Levenberg-Marquardt within bounds.
    """
    if acq.echoes < FEWEST:
        raise InputError(
            f"decompose needs {FEWEST} echoes or more; there are {acq.echoes}",
            fix="Use the method chi_separation with R2', or chi_separation_r2star with an R2* map",
        )
    if magnitude is None:
        raise InputError(
            "decompose needs the magnitude of all echoes, and there is none", fix="Give magnitude"
        )
    if magnitude.shape != chi_echoes.shape:
        raise InputError(
            f"magnitude has shape {magnitude.shape} but chi_echoes {chi_echoes.shape}",
            fix="Give the magnitude of all echoes, 4-D",
        )
    for name, value in (("relaxivity", relaxivity), ("most_ppm", most_ppm), ("tolerance", tolerance)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} is {value:g}", fix="Give a positive number")
    if iterations < 1:
        raise InputError(f"iterations is {iterations}", fix="Give 1 or more")
    te = np.asarray(acq.te_s)
    settings = np.array(
        [
            relaxivity * acq.b0_t / REFERENCE_T,
            2 / 3 * acq.rad_per_ppm(1.0),
            most_ppm,
            tolerance,
        ]
    )
    stacks = [np.moveaxis(v, 3, 0) for v in (magnitude, chi_echoes)]
    para, dia = (np.zeros(mask.shape, np.float32) for _ in range(2))
    planes = mask.shape[0]
    # In parts, so that the progress can be told.
    for start in range(0, planes, 16):
        part = slice(start, min(start + 16, planes))
        slabs(
            _voxels, part.stop - start, stacks[0][:, part], stacks[1][:, part], mask[part], te, settings,
            iterations, para[part], dia[part],
        )  # fmt: skip
        progress(part.stop, planes)
    return Separation(paramagnetic_ppm=para, diamagnetic_ppm=dia, mask=mask)


@jit(
    "void(i8, i8, Array(f4, 4, 'A', readonly=True), Array(f4, 4, 'A', readonly=True), Array(b1, 3, 'C', readonly=True),"
    " f8[::1], f8[::1], i8, f4[:,:,::1], f4[:,:,::1])",
    error_model="numpy",
)
def _voxels(start, stop, magnitude, chi, mask, te, settings, iterations, para, dia):
    decay, turn, most, tolerance = settings
    n = te.size
    signal = np.empty(n)
    real = np.empty(n)
    imag = np.empty(n)
    theta = np.empty(6)
    highest = np.array([2.0, 2.0, 2.0, most, most, HIGHEST_RATE])
    scale = np.array([1.0, 1.0, 1.0, 0.1, 0.1, 10.0])
    residual = np.empty(2 * n)
    slope = np.empty((6, 2 * n))
    normal = np.empty((6, 6))
    work = np.empty((6, 6))
    gradient = np.empty(6)
    step = np.empty(6)
    trial = np.empty(6)
    free = np.empty(6, np.bool_)
    for i in range(start, stop):
        for j in range(mask.shape[1]):
            for k in range(mask.shape[2]):
                if not mask[i, j, k] or magnitude[0, i, j, k] <= 0:
                    continue
                mean = 0.0
                power = 0.0
                for e in range(n):
                    signal[e] = magnitude[e, i, j, k]
                    w = (signal[e] * te[e]) ** 2
                    mean += w * chi[e, i, j, k]
                    power += w
                mean /= power
                rate = line(signal, te, HIGHEST_RATE)
                top = 0.0
                bottom = 0.0
                for e in range(n):
                    kept = np.exp(-rate * te[e])
                    top += kept * signal[e]
                    bottom += kept * kept
                for e in range(n):
                    angle = turn * te[e] * chi[e, i, j, k]
                    real[e] = signal[e] * bottom / top * np.cos(angle)
                    imag[e] = signal[e] * bottom / top * np.sin(angle)
                both = (1 - START_SHARE) * rate / decay
                p = max(0.5 * (both + mean), 0.005)
                d = max(0.5 * (both - mean), 0.005)
                theta[3] = min(most, max(START_PPM, 2.5 * p))
                theta[4] = min(most, max(START_PPM, 2.5 * d))
                theta[0] = min(p / theta[3], 1.0)
                theta[1] = min(d / theta[4], 1.0)
                theta[2] = max(1 - theta[0] - theta[1], 0.0)
                theta[5] = START_SHARE * rate
                fit(
                    theta, real, imag, te, decay, turn, highest, scale, tolerance, iterations,
                    residual, slope, normal, work, gradient, step, trial, free,
                )  # fmt: skip
                whole = theta[0] + theta[1] + theta[2]
                if whole > 0:
                    para[i, j, k] = theta[0] * theta[3] / whole
                    dia[i, j, k] = -theta[1] * theta[4] / whole
