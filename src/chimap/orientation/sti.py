"""Susceptibility tensor imaging: a tensor in each voxel from the local fields of several head positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from chimap.acquisition import Acquisition
from chimap.errors import InputError
from chimap.numerics.box import working_box
from chimap.numerics.cg import conjugate_gradients
from chimap.numerics.noise import data_weights
from chimap.numerics.tensor import TensorKernel, design, directions_of, plain
from chimap.orientation._tensor_models import Asymmetric, Cylindrical, Model, Symmetric, axis_unit
from chimap.orientation._tensor_terms import Penalty, apply_gram, edge_weights, gram_of
from chimap.registry import as_mask, as_volume, inside
from chimap.types import Mask, Progress, Volume, silent

Kind = Literal["symmetric", "asymmetric", "axis"]
PAD_MM = 40.0
"""Empty space between the object and its periodic copies. Wider than for a map: a tensor takes errors of the field that vary slowly up."""
WORST_CONDITION = 1e4
"""Directions above this condition number count as not spread."""


@dataclass(frozen=True)
class TensorMap:
    """A susceptibility tensor.

    Attributes
    ----------
    tensor_ppm : (x, y, z, 6) float32
        Components xx, xy, xz, yy, yz, zz in ppm along the voxel axes, 0 outside the mask.
    mask : (x, y, z) bool
        Where it was sought: where any of the fields is valid.
    condition : float
        `direction_condition` of the directions of B0.
    iterations : int
        Conjugate-gradient steps taken.
    residual : float
        Norm of the residual of the normal equations relative to their right-hand side.
    converged : bool
        Whether that came below the tolerance.
    """

    tensor_ppm: Volume
    mask: Mask
    condition: float
    iterations: int
    residual: float
    converged: bool


def direction_condition(directions: Any) -> float:
    """Condition number of a set of B0 directions, (n, 3), for a full tensor; infinite with fewer than six different ones.

    It is that of the matrix that takes the six components of ``Y`` (`chimap.numerics.tensor`) to the fields: how much more noise the
    worst seen mixture of components gets than the best. 1.8 for twelve directions spread over the sphere; within 40, 30 and 20 degrees of one axis
    it is about 8, 16 and 38 for twelve.
    """
    values = np.linalg.svd(design(directions_of(directions)).astype(float), compute_uv=False)
    return float(values[0] / values[5]) if len(values) == 6 and values[5] > 1e-9 * values[0] else float("inf")


def sti(
    fields: Any,
    masks: Any,
    acqs: Sequence[Acquisition],
    *,
    noise: Any = None,
    model: Kind = "symmetric",
    isotropic: Any = None,
    axis: Any = None,
    guide: Any = None,
    smooth: float = 0.1,
    smooth_mean: float = 0.03,
    edges: float = 0.3,
    ridge: float = 0.0,
    axis_weight: float = 0.1,
    noise_floor: float = 0.5,
    tolerance: float = 1e-3,
    iterations: int = 100,
    progress: Progress = silent,
) -> TensorMap:
    r"""Susceptibility tensor from the local fields of one head in several positions, by weighted least squares.

    Minimises, with the tensor X inside the mask and the field :math:`f(h) = h^T Y(X) h` of `chimap.numerics.tensor`,

    .. math:: \sum_i \|W_i (h_i^T Y h_i - f_i)\|^2 + \mu \|\nabla \bar X\|_m^2 + \lambda \|\nabla X'\|_m^2
              + \rho \|X'\|^2 + \alpha \|X' - (X' : M) M\|^2

    with the isotropic part :math:`\bar X`, the anisotropic one :math:`X'`, and the unit tensor M along a known axis.

    Parameters
    ----------
    fields : sequence of (x, y, z), or (x, y, z, n) float32
        Local field in ppm of each position, all on one grid, in one frame of the head.
    masks : (x, y, z) bool, or a sequence of them
        Where each field is valid.
    acqs : sequence of Acquisition
        One a position: voxel size, and `b0_dir` along the voxel axes of the common grid.
    noise : sequence of (x, y, z), or (x, y, z, n) float32, optional
        Standard deviation of each field in ppm; W is its inverse, the typical one being about 1. Without it all weigh the same.
    model : {"symmetric", "asymmetric", "axis"}
        Six unknowns a voxel; nine without the constraint of symmetry, whose symmetric part is returned; or two, mean and anisotropy of a tensor
        with cylindrical symmetry around `axis`.
    isotropic : (x, y, z) bool, optional
        Where the tensor is held isotropic: cerebrospinal fluid, or all that is not white matter.
    axis : (x, y, z, 3) float32, optional
        Fibre directions along the voxel axes, such as the first eigenvector of diffusion; any length, sign means nothing, 0 where unknown. Model
        "symmetric" prefers tensors around them (`axis_weight`), model "axis" knows no others, and takes the tensor as isotropic where they are 0.
    guide : (x, y, z) float32, optional
        Image of the same head whose edges the tensor may have (magnitude, susceptibility): the norm's weight m is small there.
    smooth, smooth_mean : float
        :math:`\lambda` and :math:`\mu` in mm^2: the variance of the field's noise over that of the gradient per mm.
    edges : float
        Share of the mask that counts as edge of the guide, 0 (none) to below 1.
    ridge : float
        :math:`\rho`, no unit: the variance of the field's noise over that of the anisotropic part.
    axis_weight : float
        :math:`\alpha`, no unit, where `axis` is known.
    noise_floor : float
        Error that `noise` does not contain, as a multiple of its median, added in quadrature.
    tolerance : float
        Stop when the residual of the normal equations falls below this share of their right-hand side.
    iterations : int
        Most iterations; 24 transforms each (30 asymmetric), whatever the number of positions.

    Returns
    -------
    TensorMap

    Raises
    ------
    InputError
        If there are fewer than six different directions and neither `isotropic` nor `axis`; if there are fewer than two; if shapes disagree.

    Notes
    -----
    The mean of a tensor that is constant over the whole mask makes next to no field inside: susceptibility is relative, and so is the anisotropy
    unless some tissue is held isotropic. Model: Liu 2010, doi:10.1002/mrm.22482. Isotropic tissue and a morphological prior: Li and van Zijl 2014,
    doi:10.1002/mrm.25322. Asymmetric, with isotropic fluid: Shi et al. 2022, doi:10.1109/JBHI.2022.3182969; that system has rank six of nine, and
    the solution of least norm shrinks components across k, so without `smooth` it is noise. Known axes: Li et al. 2012,
    doi:10.1016/j.neuroimage.2012.04.042.
    """
    if min(smooth, smooth_mean, ridge, axis_weight, noise_floor) < 0 or tolerance <= 0 or iterations < 1:
        raise InputError("tolerance and iterations must be positive, the other numbers not negative")
    if model not in ("symmetric", "asymmetric", "axis"):
        raise InputError(f"there is no tensor model {model!r}", fix="Choose symmetric, asymmetric or axis")
    volumes, valid, weights = _data(fields, masks, noise, noise_floor, len(acqs))
    shape = volumes[0].shape
    where = np.logical_or.reduce(valid)
    held = None if isotropic is None else np.asarray(isotropic, bool) & where
    known = None if axis is None else _axis(axis, where)
    if held is not None and held.shape != shape:
        raise InputError(f"the isotropic mask has shape {held.shape} but the fields {shape}")
    h = np.array([a.b0_dir for a in acqs])
    _enough(h, model, held, known)

    voxel = acqs[0].voxel_size_mm
    box = working_box(where, acqs[0], PAD_MM)
    kernel = TensorKernel(box.shape, voxel)
    here = box.crop(where)
    hold = None if held is None else box.crop(held)
    image = None if guide is None else inside(as_volume(guide, "guide", 3), where, "guide")
    mean_weights = box.crop(edge_weights(image, where, voxel, edges))
    other_weights = mean_weights if hold is None else mean_weights * ~hold
    unit = None if known is None else np.stack([box.crop(u) for u in axis_unit(known)])
    unknowns: Model
    if model == "axis":
        assert unit is not None
        if hold is not None:
            unit *= ~hold
        other_weights = other_weights * unit.any(axis=0)
        unknowns, unit = Cylindrical(kernel, here, unit), None
    else:
        unknowns = (Symmetric if model == "symmetric" else Asymmetric)(kernel, here, hold)
    penalty = Penalty(unknowns.trace, mean_weights, other_weights, voxel, smooth_mean=smooth_mean, smooth=smooth,
                      ridge=ridge, axis_weight=axis_weight, unit=unit)  # fmt: skip
    gram, right = gram_of(box, volumes, weights, design(directions_of(h)))

    def normal(u: np.ndarray) -> np.ndarray:
        y = unknowns.forward(u)
        apply_gram(gram, y)
        out = unknowns.adjoint(y)
        penalty.add(u, out)
        return unknowns.allow(out)

    found = conjugate_gradients(
        normal, unknowns.adjoint(right), tolerance=tolerance, iterations=iterations, progress=progress
    )
    tensor = np.stack([box.restore(t) for t in unknowns.tensor(found.x)])
    return TensorMap(
        plain(tensor), where, direction_condition(h), found.iterations, found.residual, found.converged
    )


def _data(
    fields: Any, masks: Any, noise: Any, floor: float, count: int
) -> tuple[list[Volume], list[Mask], list[Volume]]:
    """Fields, masks and squared weights on a common scale, one a position."""
    volumes = [as_volume(f, f"field {n + 1}", 3) for n, f in enumerate(_split(fields))]
    if len(volumes) != count:
        raise InputError(
            f"{len(volumes)} fields but {count} acquisitions", fix="Give one acquisition a field"
        )
    shape = volumes[0].shape
    for n, v in enumerate(volumes):
        if v.shape != shape:
            raise InputError(
                f"field {n + 1} has shape {v.shape} but the first {shape}", fix="Give fields on one grid"
            )
    given = [masks] * count if np.ndim(masks) == 3 and not isinstance(masks, list | tuple) else _split(masks)
    sds = [None] * count if noise is None else _split(noise)
    if len(given) != count or len(sds) != count:
        raise InputError(
            f"{count} fields, {len(given)} masks and {len(sds)} noise maps", fix="Give one of each a position"
        )
    valid = [as_mask(m, shape) for m in given]
    volumes = [inside(v, m, f"field {n + 1}") for n, (v, m) in enumerate(zip(volumes, valid, strict=True))]
    found = []
    for n, (s, m) in enumerate(zip(sds, valid, strict=True)):
        sd = None if s is None else inside(as_volume(s, f"noise {n + 1}", 3), m, f"noise {n + 1}")
        if sd is not None and sd.shape != shape:
            raise InputError(f"noise {n + 1} has shape {sd.shape} but the fields {shape}")
        found.append(data_weights(m, sd, 1.0, floor))
    typical = min(s for _, s in found)
    return volumes, valid, [w * np.float32((typical / s) ** 2) for w, s in found]


def _split(arrays: Any) -> list[Any]:
    """One array a position, of a sequence or of an array whose last axis counts them."""
    if isinstance(arrays, list | tuple):
        return list(arrays)
    stack = np.asarray(arrays)
    if stack.ndim != 4:
        raise InputError(f"an array of shape {stack.shape}; (x, y, z, position) or a sequence is expected")
    return [stack[..., n] for n in range(stack.shape[3])]


def _axis(axis: Any, where: Mask) -> Volume:
    v = np.asarray(axis, np.float32)
    if v.shape != (*where.shape, 3):
        raise InputError(f"the axis has shape {v.shape}; {(*where.shape, 3)} is expected")
    v = np.where(where[..., None], v, np.float32(0))
    if not np.isfinite(v).all():
        raise InputError("the axis has values inside the mask that are NaN or infinite")
    if not v.any():
        raise InputError("the axis is 0 everywhere in the mask", fix="Give fibre directions in white matter")
    return v


def _enough(h: np.ndarray, model: str, held: Mask | None, known: Volume | None) -> None:
    """Refuse sets of directions that cannot determine what is asked for."""
    cosines = np.abs(h @ h.T)
    if len(h) < 2 or np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))) < 5:
        raise InputError(
            f"{len(h)} directions of B0 within 5 degrees of each other",
            fix="Scan at least two positions of the head, and give the direction of B0 in the common frame for each",
        )
    if model == "axis" and known is None:
        raise InputError("model axis needs the fibre directions", fix="Give axis, or choose model symmetric")
    if model == "asymmetric" and known is not None:
        raise InputError(
            "model asymmetric takes no fibre directions", fix="Leave axis out, or choose symmetric or axis"
        )
    if known is None and held is None and direction_condition(h) > WORST_CONDITION:
        raise InputError(
            f"{len(h)} directions of B0 do not determine the six components of a tensor",
            fix="Scan six well-spread positions or more, or give isotropic tissue or fibre directions (axis)",
        )
