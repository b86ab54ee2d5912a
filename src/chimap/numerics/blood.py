"""The susceptibility of blood and its oxygen."""

from __future__ import annotations

import math

DO_CGS_PPM = 0.27
"""Susceptibility of fully deoxygenated against fully oxygenated red cells in ppm, cgs units: Weisskoff and Kiihne 1992 measured it as
0.18, Spees et al. 2001 and Jain et al. 2012 as 0.27."""

DO_PPM = 4 * math.pi * DO_CGS_PPM
"""The same in SI units: 3.39 ppm."""

HAEMATOCRIT = 0.42
"""Red cells as a part of the volume of blood, where none is measured."""

ARTERIAL = 0.98
"""Saturation of arterial blood with oxygen, where none is measured."""


def blood_chi(saturation: float, haematocrit: float = HAEMATOCRIT, do_ppm: float = DO_PPM) -> float:
    r"""Susceptibility of blood in ppm (SI) against the same blood when fully oxygenated.

    :math:`\Delta\chi = H\,\Delta\chi_{do}\,(1 - Y)` with the saturation Y and the haematocrit H, both as parts of 1.
    Weisskoff and Kiihne 1992, doi:10.1002/mrm.1910240219.
    """
    return haematocrit * do_ppm * (1 - saturation)
