"""What tissues are made of, magnetically: susceptibility, proton density and relaxation.

Susceptibility of brain tissue is rounded from in-vivo measurements (Wharton and Bowtell 2010,
doi:10.1016/j.neuroimage.2010.06.070; Deistung et al. 2013, doi:10.1016/j.neuroimage.2012.09.055), of air, bone and
calcium from Buch et al. 2015, doi:10.1002/mrm.25350. R1 and R2 follow the ranges at 3 T of
Stanisz et al. 2005, doi:10.1002/mrm.20605; the part of R2* that grows with the field follows the iron dependence
of Yao et al. 2009, doi:10.1016/j.neuroimage.2008.10.029.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimap.types import Volume

AIR_PPM = 9.4
"""Susceptibility of air against tissue water."""


@dataclass(frozen=True)
class Tissue:
    """One tissue, at 3 T.

    Attributes
    ----------
    label : int
        Number in the label map. 1 to 16 are those that `chimap.metrics.score` and QSM-CI use.
    chi_ppm, texture_ppm : float
        Mean susceptibility against water, and the standard deviation of its smooth variation inside the tissue.
    m0 : float
        Proton density, water = 1.
    r1 : float
        1/T1 in 1/s at 3 T.
    r2, r2_field : float
        The parts of R2* at 3 T, in 1/s, that do not and that do grow with the field.
    """

    label: int
    chi_ppm: float
    texture_ppm: float
    m0: float
    r1: float
    r2: float
    r2_field: float


TISSUES: dict[str, Tissue] = {
    #                            label   chi  texture   M0    R1    R2  R2(B0)
    "background air": Tissue(0, AIR_PPM, 0.0, 0.0, 1.0, 10.0, 0.0),
    "caudate": Tissue(1, 0.050, 0.008, 0.82, 0.75, 11.0, 11.0),
    "globus pallidus": Tissue(2, 0.130, 0.014, 0.75, 1.00, 13.0, 25.0),
    "putamen": Tissue(3, 0.060, 0.010, 0.82, 0.78, 11.0, 14.0),
    "red nucleus": Tissue(4, 0.100, 0.010, 0.78, 0.92, 12.0, 20.0),
    "dentate nucleus": Tissue(5, 0.100, 0.012, 0.78, 0.88, 12.0, 18.0),
    "substantia nigra": Tissue(6, 0.120, 0.014, 0.78, 0.92, 12.0, 24.0),
    "thalamus": Tissue(7, 0.015, 0.007, 0.80, 0.82, 11.0, 9.0),
    "white matter": Tissue(8, -0.030, 0.008, 0.70, 1.12, 13.0, 8.0),
    "grey matter": Tissue(9, 0.020, 0.008, 0.83, 0.68, 10.0, 6.0),
    "CSF": Tissue(10, 0.0, 0.002, 1.00, 0.25, 1.0, 1.0),
    "veins": Tissue(11, 0.250, 0.015, 0.85, 0.60, 10.0, 25.0),
    "skin": Tissue(12, 0.0, 0.010, 0.65, 1.10, 20.0, 10.0),
    "bone": Tissue(13, -2.1, 0.100, 0.08, 1.80, 250.0, 50.0),
    "air": Tissue(14, AIR_PPM, 0.0, 0.0, 1.0, 10.0, 0.0),
    "muscle": Tissue(15, 0.0, 0.010, 0.70, 0.72, 25.0, 8.0),
    "calcification": Tissue(16, -2.5, 0.100, 0.35, 1.00, 60.0, 60.0),
    "microbleed": Tissue(17, 1.0, 0.050, 0.60, 0.90, 30.0, 60.0),
    "brain stem": Tissue(18, -0.010, 0.008, 0.73, 1.02, 12.0, 8.0),
    "fat": Tissue(19, 0.60, 0.030, 0.85, 2.60, 15.0, 8.0),
    "marrow": Tissue(20, 0.30, 0.030, 0.50, 2.20, 30.0, 25.0),
    "eye": Tissue(21, 0.0, 0.002, 1.00, 0.25, 2.0, 1.0),
}

LABELS = {name: tissue.label for name, tissue in TISSUES.items()}


def lookup(attribute: str) -> Volume:
    """Values of one attribute of all tissues, by label number."""
    table = np.zeros(256, np.float32)
    for tissue in TISSUES.values():
        table[tissue.label] = getattr(tissue, attribute)
    return table


def r1_at(b0_t: float) -> Volume:
    """R1 in 1/s by label: T1 of tissue grows with the cube root of the field, that of fluids does not.

    Bottomley et al. 1984, doi:10.1118/1.595535.
    """
    table = lookup("r1")
    tissue = np.ones(256, bool)
    tissue[[LABELS["CSF"], LABELS["eye"]]] = False
    return np.where(tissue, table * np.float32((3.0 / b0_t) ** (1 / 3)), table).astype(np.float32)


def r2star_at(b0_t: float) -> Volume:
    """R2* in 1/s by label, without what the field's gradients between voxels add."""
    return lookup("r2") + lookup("r2_field") * np.float32(b0_t / 3.0)
