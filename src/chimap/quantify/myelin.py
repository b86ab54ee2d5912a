"""Iron and myelin apart: both raise R2*, but only iron raises susceptibility, myelin lowers it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from chimap.errors import InputError
from chimap.types import Mask, Volume

DOI = "10.1016/j.neuroimage.2014.02.026"
_FLATTEST = 0.05


@dataclass(frozen=True)
class TwoSources:
    """The coefficients of the linear model, for one field strength and one kind of tissue (in vivo, fixed ...).

    chi = `chi_iron` Fe + `chi_myelin` M + `chi_rest` in ppb, R2* = `r2star_iron` Fe + `r2star_myelin` M + `r2star_rest` in
    1/s. Fe is in mg/kg; M in whatever unit the coefficients are made for (mass fraction, staining).
    """

    chi_iron: float
    chi_myelin: float
    r2star_iron: float
    r2star_myelin: float
    chi_rest: float = 0.0
    r2star_rest: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(getattr(self, f.name)) for f in fields(self)):
            raise InputError("a coefficient of the model of iron and myelin is not finite")
        if abs(self.angle) < _FLATTEST:
            raise InputError(
                "these coefficients do not tell iron from myelin: susceptibility and R2* change in nearly the same way with both",
                fix="Susceptibility has to fall with myelin, or R2* to grow much less with it",
            )

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2): rows susceptibility, R2*; columns iron, myelin."""
        return np.array([[self.chi_iron, self.chi_myelin], [self.r2star_iron, self.r2star_myelin]])

    @property
    def angle(self) -> float:
        """Sine of the angle between the effects of iron and myelin, each row scaled to length 1: 0 is hopeless."""
        m = self.matrix
        rows = np.linalg.norm(m, axis=1)
        columns = m / np.where(rows > 0, rows, 1)[:, None]
        lengths = np.linalg.norm(columns, axis=0)
        if not (rows.all() and lengths.all()):
            return 0.0
        return float(np.linalg.det(columns / lengths))


def fit_two_sources(chi_ppb: Any, r2star: Any, iron: Any, myelin: Any) -> tuple[TwoSources, dict[str, float]]:
    """The coefficients by least squares from regions whose iron and myelin are known.

    Parameters
    ----------
    chi_ppb, r2star, iron, myelin : (n,)
        Mean of each region, four or more.

    Returns
    -------
    TwoSources
    dict
        The residual's standard deviation, ``chi_sd_ppb`` and ``r2star_sd``.

    Raises
    ------
    InputError
        If there are too few regions, or iron and myelin go together in them.
    """
    columns = [np.asarray(v, np.float64).ravel() for v in (iron, myelin)]
    design = np.stack([*columns, np.ones_like(columns[0])], axis=1)
    targets = np.stack([np.asarray(v, np.float64).ravel() for v in (chi_ppb, r2star)], axis=1)
    if (
        len(design) < 4
        or len(targets) != len(design)
        or not np.isfinite(design).all()
        or not np.isfinite(targets).all()
    ):
        raise InputError(
            "four regions or more with susceptibility, R2*, iron and myelin are needed for the fit"
        )
    spread = design[:, :2].std(axis=0)
    if not (spread > 0).all() or abs(np.corrcoef(design[:, 0], design[:, 1])[0, 1]) > 0.98:
        raise InputError(
            "iron and myelin do not vary independently over these regions", fix="Add other regions"
        )
    solution, *_ = np.linalg.lstsq(design, targets, rcond=None)
    free = max(len(design) - 3, 1)
    residual = np.sqrt(((targets - design @ solution) ** 2).sum(axis=0) / free)
    (ci, ri), (cm, rm), (c0, r0) = solution.tolist()
    model = TwoSources(ci, cm, ri, rm, c0, r0)
    return model, {"chi_sd_ppb": float(residual[0]), "r2star_sd": float(residual[1])}


def iron_and_myelin(
    chi_ppm: Volume,
    r2star: Volume,
    mask: Mask,
    model: TwoSources,
    *,
    chi_sd_ppb: float = 10.0,
    r2star_sd: float = 2.0,
) -> tuple[Volume, Volume]:
    """Iron and myelin of every voxel from susceptibility and R2*, neither below 0.

    Parameters
    ----------
    chi_ppm : (x, y, z) float32
        Susceptibility in ppm, with the reference that the coefficients are made for.
    r2star : (x, y, z) float32
        R2* in 1/s at the coefficients' field strength; where it is 0 both results are 0.
    mask : (x, y, z) bool
        Where to compute.
    model : TwoSources
        The coefficients.
    chi_sd_ppb, r2star_sd : float
        Errors of the two maps. They matter only where the exact solution has a negative part: the other one is then
        the best compromise.

    Returns
    -------
    iron : (x, y, z) float32
        mg/kg.
    myelin : (x, y, z) float32
        In the unit of the coefficients.

    Notes
    -----
    Linear model of Stueber et al. 2014, doi:10.1016/j.neuroimage.2014.02.026. White matter's susceptibility and R2* also depend on the
    angle of its fibres to B0, which this model does not know: there its results are rough. Calcification and veins
    are neither iron nor myelin of tissue and come out as one of them.
    """
    use = mask & (r2star > 0)
    b = np.stack([1000 * chi_ppm[use].astype(np.float64) - model.chi_rest, r2star[use] - model.r2star_rest])
    m = model.matrix
    both = np.linalg.solve(m, b)
    weight = np.array([1 / chi_sd_ppb, 1 / r2star_sd])
    wm, wb = m * weight[:, None], b * weight[:, None]
    # With two unknowns the constrained optimum is the free one, or lies on one of the axes.
    alone = np.maximum((wm.T @ wb) / (wm**2).sum(axis=0)[:, None], 0)
    cost = [((wb - wm[:, [k]] * alone[k]) ** 2).sum(axis=0) for k in (0, 1)]
    first = cost[0] <= cost[1]
    bad = (both < 0).any(axis=0)
    both[0, bad] = np.where(first, alone[0], 0)[bad]
    both[1, bad] = np.where(first, 0, alone[1])[bad]
    iron, myelin = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    iron[use], myelin[use] = both
    return iron, myelin


def two_source_sd(model: TwoSources, chi_sd_ppb: float, r2star_sd: float) -> tuple[float, float]:
    """Standard deviations of iron and myelin for given errors of susceptibility [ppb] and R2* [1/s]."""
    inverse = np.linalg.inv(model.matrix)
    sd = np.sqrt((inverse * np.array([chi_sd_ppb, r2star_sd])) ** 2 @ np.ones(2))
    return float(sd[0]), float(sd[1])
