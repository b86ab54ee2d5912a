r"""A head whose white matter has anisotropic susceptibility along known fibres, scanned in several positions.

In white matter the tensor is :math:`X = \bar\chi\,I + \Delta\chi\,(v v^T - I/3)` with the fibre direction v; everywhere else it is
isotropic. What is left out: registration errors, left-over background field, and the frequency that the microstructure of white matter
makes beside its susceptibility (Wharton and Bowtell 2015, doi:10.1002/mrm.25189), which in vivo is not small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import Box
from chimap.numerics.tensor import directions_of, from_matrix, tensor_field
from chimap.simulate.anatomy import GRID
from chimap.simulate.head import FIELD_OF_VIEW_MM, SIZE
from chimap.simulate.phantom import Phantom
from chimap.simulate.resample import average, crop_kspace, image_shape
from chimap.simulate.tissue import LABELS, TISSUES
from chimap.types import Mask, Volume

DELTA_CHI_PPM = 0.018
"""Anisotropy of coherent white matter. A torque balance found 0.0136 to 0.0192 ppm in spinal cord
(van Gelderen et al. 2015, doi:10.1002/mrm.25524)."""
_FIBROUS = {"white matter": 1.0, "brain stem": 0.7}
_PAD_MM = 40.0


@dataclass(frozen=True)
class AnisotropicHead:
    """A brain with its susceptibility tensor.

    Attributes
    ----------
    phantom : Phantom
        Labels, relaxation, mask and grid; its `chi_ppm` is the mean susceptibility.
    tensor_ppm : (x, y, z, 6) float32
        Components xx, xy, xz, yy, yz, zz in ppm along the voxel axes, 0 outside the mask.
    fibres : (x, y, z, 3) float32
        Unit vectors along the fibres (their sign means nothing), 0 where the tissue is isotropic.
    anisotropy_ppm : (x, y, z) float32
        Susceptibility along the fibres less that across.
    """

    phantom: Phantom
    tensor_ppm: Volume
    fibres: Volume
    anisotropy_ppm: Volume


@dataclass(frozen=True)
class PositionScan:
    """Local fields of one object in several positions, in one frame, with their truth on the image's grid.

    Attributes
    ----------
    fields_ppm, noise_ppm : (x, y, z, n) float32
        Local field with noise, and the noise's standard deviation; a position an element of the last axis.
    directions : (n, 3) float64
        B0 along the voxel axes.
    mask : (x, y, z) bool
        At least half of the voxel is inside the brain.
    white_matter : (x, y, z) float32
        Share of the voxel that is white matter or brain stem, 0 to 1.
    tensor_ppm : (x, y, z, 6) float32
        True tensor, averaged over the voxel.
    acq : Acquisition
        Voxel size, field strength and echo times; `b0_dir` is the first direction.
    magnitude : (x, y, z) float32
        Noise-free signal at the first echo, in any unit.
    """

    fields_ppm: Volume
    noise_ppm: Volume
    directions: np.ndarray
    mask: Mask
    white_matter: Volume
    tensor_ppm: Volume
    acq: Acquisition
    magnitude: Volume


def anisotropic_head(
    phantom: Phantom, *, delta_chi_ppm: float = DELTA_CHI_PPM, seed: int = 0, scale: float = 1.0
) -> AnisotropicHead:
    """Give the white matter of a head phantom fibres and an anisotropic susceptibility.

    Three systems of fibres fade into each other: arcs of the corpus callosum that cross between the hemispheres and bend upwards, at its ends
    forwards and backwards; vertical ones of the corticospinal tract that fan out towards the crown; front-to-back ones of the association
    tracts at the sides. Elsewhere directions follow smooth noise. Where systems meet, the anisotropy is lower.

    Parameters
    ----------
    phantom : Phantom
        From `head_phantom`.
    delta_chi_ppm : float
        Anisotropy where all fibres run in parallel, in ppm; 0 makes an isotropic head. White matter has 0.3 to 1 of it.
    seed, scale : int, float
        Those of the phantom.

    Returns
    -------
    AnisotropicHead
    """
    if not -1 < delta_chi_ppm < 1:
        raise InputError(f"an anisotropy of {delta_chi_ppm:g} ppm is outside -1 to 1 ppm")
    labels, inside = phantom.labels, phantom.mask
    share = np.zeros(256, np.float32)
    for name, value in _FIBROUS.items():
        share[LABELS[name]] = value
    here = inside & (share[labels] > 0)
    axes = [
        ((low + high) / 2 + (np.arange(n) - (n - 1) / 2) * d / (SIZE * scale)).astype(np.float32)
        for (low, high), n, d in zip(FIELD_OF_VIEW_MM, labels.shape, phantom.voxel_size_mm, strict=True)
    ]
    index = np.nonzero(here)
    vectors, coherence = _fibres([a[i] for a, i in zip(axes, index, strict=True)], seed)
    delta = np.float32(delta_chi_ppm) * share[labels[index]] * (np.float32(0.3) + np.float32(0.7) * coherence)
    chi = np.where(inside, phantom.chi_ppm, np.float32(0))
    tensor = np.zeros((*labels.shape, 6), np.float32)
    for c in (0, 3, 5):
        tensor[..., c] = chi
    third = np.eye(3, dtype=np.float32) / 3
    tensor[index] += from_matrix(
        delta[:, None, None] * (vectors[:, :, None] * vectors[:, None, :] - third)
    ).astype(np.float32)
    fibres = np.zeros((*labels.shape, 3), np.float32)
    fibres[index] = vectors
    anisotropy = np.zeros(labels.shape, np.float32)
    anisotropy[index] = delta
    return AnisotropicHead(phantom, tensor, fibres, anisotropy)


def _fibres(p: Sequence[np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, (n, 3), and coherence, 0 to 1, at points in model mm."""
    x, y, z = p
    side, depth = np.where(x < 0, -1.0, 1.0), np.abs(x)
    one, zero = np.ones_like(x), np.zeros_like(x)

    def bell(*parts: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * sum(part * part for part in parts))

    # Arcs over the ventricles: level at the midline, upright 45 mm away from it.
    rise = np.deg2rad(np.clip(2.2 * (depth - 6), 0, 80))
    ends = np.clip((y + 8) / 45, -1, 1) ** 3 * np.clip(depth / 20, 0, 2)
    callosum = [np.cos(rise), ends * side, np.sin(rise) * side]
    w_callosum = 1.5 * bell(np.maximum(depth - 22, 0) / 10, np.maximum(np.abs(y + 6) - 36, 0) / 14,
                            (z - 22 - 0.012 * depth**2) / 13)  # fmt: skip
    # From the pons through the internal capsule, then fanning out.
    middle = 6 + 17 / (1 + np.exp(-(z + 8) / 9)) + 0.12 * np.maximum(z - 10, 0)
    fan = (depth - middle) / 30 * np.clip((z + 10) / 30, 0, 1)
    lean = 17 / 9 * bell((z + 8) / 14) * 0.25 + 0.12
    spinal = [(lean + fan) * side, (y + 14) / 60 * np.clip((z + 10) / 30, 0, 1), one]
    w_spinal = 1.3 * bell((depth - middle) / 9, (y + 16 - 0.1 * z) / 15)
    # Front to back at the sides, above and below the insula, bent around it.
    upper = [side * 0.25 * (-y - 10) / 40, one, (-y - 10) / 60]
    w_upper = bell((depth - 37) / 7, (z - 16) / 12, np.maximum(np.abs(y + 12) - 38, 0) / 15)
    lower = [side * 0.3 * (-y - 15) / 40, one, zero - 0.1]
    w_lower = bell((depth - 35) / 9, (z + 14) / 10, np.maximum(np.abs(y + 25) - 40, 0) / 15)

    rng = np.random.default_rng([seed, 77])
    rest = [GRID.at(GRID.noise(70, rng, 0.4), p) + 0.5 for _ in range(3)]
    dyadics = np.zeros((x.size, 3, 3))
    total = np.zeros(x.size)
    for weight, vector in (
        (w_callosum, callosum), (w_spinal, spinal), (w_upper, upper), (w_lower, lower), (0.12 * one, rest),
    ):  # fmt: skip
        v = np.stack(vector, axis=1)
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
        dyadics += weight[:, None, None] * v[:, :, None] * v[:, None, :]
        total += weight
    values, vectors = np.linalg.eigh(dyadics / total[:, None, None])
    return vectors[:, :, 2].astype(np.float32), (values[:, 2] - values[:, 1]).astype(np.float32)


def positions(n: int, most_deg: float = 90.0, *, first: bool = True) -> np.ndarray:
    """Directions of B0 in the frame of the object, spread evenly over a cap around z.

    Parameters
    ----------
    n : int
        How many.
    most_deg : float
        Largest angle to z: 90 for a sample that can be turned anyhow, 20 to 40 for a head in a coil.
    first : bool
        Make the first one z itself.

    Returns
    -------
    (n, 3) float64
    """
    if n < 1 or not 0 < most_deg <= 90:
        raise InputError("positions need n of at least 1 and an angle above 0 to 90 degrees")
    if first and n == 1:
        return np.array([[0.0, 0.0, 1.0]])
    count = n - 1 if first else n
    low = np.cos(np.deg2rad(most_deg))
    # On the spiral of the golden angle equal steps in height hold equal areas.
    height = 1 - (1 - low) * (np.arange(count) + (1.0 if first else 0.5)) / count
    if most_deg == 90:
        # Directions at right angles to z come twice, as h and -h.
        height = 1 - (np.arange(count) + 0.5 + 0.5 * first) / (count + 0.5 * first)
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - height**2)
    spread = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    return np.vstack([[0, 0, 1], spread]) if first else spread


def scan_positions(
    head: AnisotropicHead,
    directions: object,
    voxel_size_mm: Sequence[float],
    *,
    snr: float | None = 60.0,
    te_s: Sequence[float] = (0.005, 0.010, 0.015, 0.020, 0.025),
    seed: int = 0,
) -> PositionScan:
    """Local fields of an anisotropic head for some directions of B0, on a coarser grid than its own.

    The signal at the echo time that counts most is made on the head's grid and its k-space cut to the image's, as a scanner does, so that
    the inversion's own model is not what made the data; the field is its phase. What is outside the brain gives neither signal nor field. Noise is
    that of a field fitted to all echoes of a scan whose magnitude in white matter, extrapolated to echo time 0, is `snr` times its noise.

    Parameters
    ----------
    head : AnisotropicHead
        The object.
    directions : (n, 3)
        B0 along the voxel axes (`positions`).
    voxel_size_mm : 3 float
        Of the image: the head's or larger.
    snr : float or None
        None: no noise.
    te_s : sequence of float
        Echo times in s.
    seed : int
        Of the noise.

    Returns
    -------
    PositionScan
    """
    h = directions_of(directions)
    phantom = head.phantom
    acq = Acquisition(tuple(te_s), phantom.b0_t, tuple(h[0]), tuple(voxel_size_mm))  # type: ignore[arg-type]
    fine, image = image_shape(phantom.labels.shape, phantom.voxel_size_mm, acq.voxel_size_mm)
    box = Box.around(phantom.mask, [int(np.ceil(_PAD_MM / v)) for v in phantom.voxel_size_mm])
    cut = np.stack([box.crop(head.tensor_ppm[..., c]) for c in range(6)], axis=-1)
    fields = tensor_field(cut, h, phantom.voxel_size_mm, pad=1)

    def to_image(volume: Volume) -> Volume:
        large = np.zeros(fine, np.float32)
        large[tuple(slice(0, n) for n in volume.shape)] = volume
        return average(large, image)

    inside = to_image(phantom.mask.astype(np.float32))
    mask = inside >= 0.5
    fibrous = np.isin(phantom.labels, [LABELS[name] for name in _FIBROUS]) & phantom.mask
    white = to_image(fibrous.astype(np.float32))
    rate = acq.rad_per_ppm(float(np.median(acq.te_s)))
    weight = box.crop(phantom.mask * phantom.m0 * np.exp(-np.float32(np.median(acq.te_s)) * phantom.r2star))
    clean = np.empty((*image, len(h)), np.float32)
    for n in range(len(h)):
        signal = np.zeros(fine, np.complex64)
        signal[tuple(slice(0, s) for s in phantom.labels.shape)] = box.restore(
            weight * np.exp(1j * np.float32(rate) * fields[..., n]).astype(np.complex64)
        )
        clean[..., n] = np.angle(crop_kspace(signal, image)) / np.float32(rate)
    tensor = np.stack([to_image(head.tensor_ppm[..., c]) for c in range(6)], axis=-1)
    m0, r2star = to_image(phantom.m0), to_image(phantom.r2star)
    noise = np.zeros(image, np.float32)
    if snr is not None:
        if not snr > 0:
            raise InputError(f"an SNR of {snr:g} is not positive")
        information = np.zeros(image, np.float32)
        for te in acq.te_s:
            echo = (
                np.float32(snr)
                * m0
                / np.float32(TISSUES["white matter"].m0)
                * np.exp(-np.float32(te) * r2star)
            )
            information += (echo * np.float32(acq.rad_per_ppm(te))) ** 2
        noise = np.where(mask, 1 / np.sqrt(np.maximum(information, np.float32(1e-12))), 0).astype(np.float32)
    rng = np.random.default_rng([seed, 5])
    clean += noise[..., None] * rng.standard_normal(clean.shape, dtype=np.float32)
    return PositionScan(
        fields_ppm=np.where(mask[..., None], clean, np.float32(0)),
        noise_ppm=np.repeat(noise[..., None], len(h), axis=-1),
        directions=h,
        mask=mask,
        white_matter=white * mask,
        tensor_ppm=np.where(mask[..., None], tensor, np.float32(0)),
        acq=acq,
        magnitude=m0 * np.exp(-np.float32(acq.te_s[0]) * r2star),
    )  # fmt: skip
