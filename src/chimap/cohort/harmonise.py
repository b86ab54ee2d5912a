"""Differences between sites taken out of regional means: ComBat, with the effects of covariates kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chimap.cohort.collect import Subject
from chimap.cohort.regression import design
from chimap.cohort.tables import HARMONISED, Rows, region_names
from chimap.errors import InputError

LEAST_SCANS = 3
"""Sites with fewer scans are not harmonised: their spread is not known."""
LEAST_POOLED = 3
"""With fewer regions than these nothing can be learnt from one region about another."""

_TOLERANCE, _MOST = 1e-6, 1000


@dataclass(frozen=True)
class Combat:
    """Harmonised values and what was taken off.

    Parameters
    ----------
    values : (n, regions) float
        NaN where there was no value, or a region could not be harmonised.
    shift : (sites, regions) float
        What was taken off a site's mean, in the unit of the values.
    scale : (sites, regions) float
        By what the deviations from the model were divided.
    """

    values: np.ndarray
    shift: np.ndarray
    scale: np.ndarray


def combat(values: np.ndarray, site: np.ndarray, covariates: np.ndarray, *, pool: bool = True) -> Combat:
    r"""Harmonise values of several sites.

    For region :math:`g` of scan :math:`j` at site :math:`i` the model is
    :math:`y_{ijg} = \alpha_g + x_{ij}\beta_g + \sigma_g(\gamma_{ig} + \delta_{ig}\varepsilon_{ijg})`. The regression comes from least squares,
    with the mean over sites weighted by their scans as :math:`\alpha`; :math:`\gamma` and :math:`\delta` are the mean and the standard
    deviation of what is left at a site. With `pool` they are drawn towards those of the other regions of the site (normal and inverse
    gamma priors by the method of moments), the more so the fewer scans it has.
    Returned is :math:`\alpha_g + x_{ij}\beta_g + \sigma_g(z_{ijg} - \gamma_{ig})/\delta_{ig}`.

    Parameters
    ----------
    values : (n, regions) float
        NaN: missing.
    site : (n,) int
        Site of each scan, from 0.
    covariates : (n, p) float
        What is to be kept; finite.
    pool : bool
        Let regions learn from one another. Needs three regions; fewer are treated one by one.

    Returns
    -------
    Combat

    Raises
    ------
    InputError
        If the covariates tell the sites apart, so that no effect can be told from that of the site.

    References
    ----------
    Johnson et al. 2007, doi:10.1093/biostatistics/kxj037; for MRI Fortin et al. 2018, doi:10.1016/j.neuroimage.2017.11.024.
    """
    sites, regions = int(site.max()) + 1, values.shape[1]
    member = site[:, None] == np.arange(sites)
    x = np.column_stack([member.astype(float), covariates])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError(
            "site and covariates depend on one another: what belongs to the site cannot be told from what is to be kept",
            fix="Leave the covariate out (--covariates) that is the same for all scans of a site",
        )
    z = np.full(values.shape, np.nan)
    kept = np.full(values.shape, np.nan)
    sigma = np.full(regions, np.nan)
    for g in range(regions):
        there = np.isfinite(values[:, g])
        count = member[there].sum(axis=0)
        if count.min() < LEAST_SCANS or np.linalg.matrix_rank(x[there]) < x.shape[1]:
            continue
        beta = np.linalg.lstsq(x[there], values[there, g], rcond=None)[0]
        rest = values[there, g] - x[there] @ beta
        sigma[g] = np.sqrt(np.mean(rest**2))
        if not sigma[g] > 1e-9 * max(1.0, float(np.abs(values[there, g]).max())):
            continue
        mean = float(count @ beta[:sites]) / int(count.sum())
        kept[there, g] = mean + covariates[there] @ beta[sites:]
        z[there, g] = (values[there, g] - kept[there, g]) / sigma[g]
    usable = np.flatnonzero(np.isfinite(z).any(axis=0))
    shift, scale = (np.full((sites, regions), np.nan) for _ in range(2))
    out = np.full(values.shape, np.nan)
    if usable.size:
        for i in range(sites):
            part = z[np.ix_(member[:, i], usable)]
            gamma, variance = _pooled(part) if pool and usable.size >= LEAST_POOLED else _plain(part)
            delta = np.sqrt(variance)
            out[np.ix_(member[:, i], usable)] = (
                kept[np.ix_(member[:, i], usable)] + sigma[usable] * (part - gamma) / delta
            )
            shift[i, usable], scale[i, usable] = sigma[usable] * gamma, delta
    return Combat(out, shift, scale)


def _plain(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each region of a site."""
    variance = np.nanvar(z, axis=0, ddof=1)
    return np.nanmean(z, axis=0), np.where(variance > 0, variance, 1.0)


def _pooled(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and variance of each region of a site, priors from all of its regions."""
    own, variance = _plain(z)
    count = np.isfinite(z).sum(axis=0)
    centre, spread = own.mean(), own.var(ddof=1)
    m, s2 = variance.mean(), variance.var(ddof=1)
    if not (spread > 0 and s2 > 0):
        return own, variance
    shape, rate = (2 * s2 + m * m) / s2, (m * s2 + m**3) / s2
    gamma, v = own, variance
    for _ in range(_MOST):
        new = (count * spread * own + v * centre) / (count * spread + v)
        square = np.nansum((z - new) ** 2, axis=0)
        new_v = (rate + square / 2) / (count / 2 + shape - 1)
        change = max(np.abs(new - gamma).max(), np.abs(new_v / v - 1).max())
        gamma, v = new, new_v
        if change < _TOLERANCE:
            break
    return gamma, v


def harmonise(subjects: Sequence[Subject], column: str, covariates: Sequence[str]) -> tuple[Rows, list[str]]:
    """Add `mean_ppb_harmonised` to the regions of all scans; the rows of what was taken off, and sentences about it.

    Scans without a site or a covariate, and those of sites with fewer than three scans, stay without.

    Raises
    ------
    InputError
        If fewer than two sites are left, or covariates tell them apart.
    """
    covariates = [c for c in covariates if c != column]
    facts = [s.participant for s in subjects]
    columns = design(facts, covariates)
    known = [column in f for f in facts] & np.isfinite(columns.matrix).all(axis=1)
    counts = {
        v: sum(f.get(column) == v for f, k in zip(facts, known) if k) for f in facts if (v := f.get(column))
    }
    names = sorted(v for v, n in counts.items() if n >= LEAST_SCANS)
    if len(names) < 2:
        have = ", ".join(f"{v} {n}" for v, n in sorted(counts.items())) or "none"
        raise InputError(
            f"--harmonise {column}: two sites of at least {LEAST_SCANS} scans (with all covariates) are needed; there are: {have}",
            fix="Leave --harmonise away, or give fewer covariates",
        )
    used = [n for n, k in enumerate(known) if k and facts[n][column] in names]
    if left := sorted(subjects[n].name for n in set(range(len(subjects))) - set(used)):
        told = f"Not harmonised, for want of {column}, a covariate, or {LEAST_SCANS} scans at the site: {', '.join(left)}"
    else:
        told = ""
    regions = region_names(subjects)
    values = np.full((len(used), len(regions)), np.nan)
    rows = [{r["name"]: r for r in subjects[n].regions} for n in used]
    for j, here in enumerate(rows):
        for g, name in enumerate(regions):
            if name in here and here[name]["mean_ppb"] is not None:
                values[j, g] = here[name]["mean_ppb"]
    site = np.array([names.index(facts[n][column]) for n in used])
    # Of covariates that do not vary among the scans that are left, nothing has to be kept.
    matrix = columns.matrix[used]
    matrix = matrix[:, np.ptp(matrix, axis=0) > 0]
    found = combat(values, site, matrix)
    for j, here in enumerate(rows):
        for g, name in enumerate(regions):
            if name in here and np.isfinite(found.values[j, g]):
                here[name][HARMONISED] = float(found.values[j, g])
    taken: Rows = [
        {
            "site": label,
            "region": name,
            "scans": int(np.isfinite(values[site == i, g]).sum()),
            "shift_ppb": float(found.shift[i, g]),
            "scale": float(found.scale[i, g]),
        }
        for i, label in enumerate(names)
        for g, name in enumerate(regions)
        if np.isfinite(found.shift[i, g])
    ]
    return taken, [_sentence(column, names, site, columns.names, taken), *([told] if told else [])]


def _sentence(column: str, names: Sequence[str], site: np.ndarray, kept: Sequence[str], taken: Rows) -> str:
    sizes = ", ".join(f"{label} ({int((site == i).sum())} scans)" for i, label in enumerate(names))
    effects = f"effects of {', '.join(kept)} kept" if kept else "no covariate kept"
    if not taken:
        return (
            f"No region could be harmonised for {column}: each needs {LEAST_SCANS} values at each of {sizes}"
        )
    most = max(taken, key=lambda r: abs(r["shift_ppb"]))
    return (
        f"Regional means were harmonised for {column} by ComBat: differences in mean and spread between {sizes} were taken off, "
        f"{effects}. The largest shift was {most['shift_ppb']:+.1f} ppb ({most['region']}, {most['site']}). The regression is of the "
        "harmonised means; outliers and charts are of the measured ones"
    )
