"""Molar susceptibility of what calibration phantoms are filled with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chimap.errors import InputError

_MU0, _AVOGADRO, _BOLTZMANN, _BOHR = 4e-7 * math.pi, 6.02214076e23, 1.380649e-23, 9.2740100657e-24


@dataclass(frozen=True)
class Agent:
    """A paramagnetic solute.

    `moment` is its effective magnetic moment in Bohr magnetons, from which Curie's law gives the molar susceptibility;
    where there is none, `ppm_per_mm` is what was measured. `doi` and `note` say where the number is from.
    """

    name: str
    text: str
    moment: float | None
    ppm_per_mm: float | None
    doi: str
    note: str


AGENTS: dict[str, Agent] = {
    a.name: a
    for a in (
        Agent(
            "gadolinium",
            "gadolinium(III) chelates",
            7.94,
            None,
            "10.1002/mrm.27410",
            "Curie's law with S = 7/2, g = 2; QSM of 15 scanners from 1.5 to 9.4 T measured 0.350 ppm per mmol/L",
        ),
        Agent(
            "manganese",
            "manganese(II) chloride",
            5.92,
            None,
            "10.1002/mrm.21710",
            "Curie's law with S = 5/2, g = 2",
        ),
        Agent(
            "ferritin",
            "iron in ferritin, per mmol of iron",
            None,
            0.0614,
            "10.1016/j.neuroimage.2013.04.022",
            "measured by QSM, 1.10 ppb per microgram of iron per gram (55.845 g/mol)",
        ),
    )
}


def molar_susceptibility(agent: str, temperature_c: float = 20.0) -> float:
    r"""Volume susceptibility (SI) per concentration in ppm per mmol/L.

    Curie's law, :math:`\chi_M = \mu_0 N_A \mu_{eff}^2 / (3 k_B T)`, for ions that follow it; a measured number else
    (which `temperature_c` does not change).

    Parameters
    ----------
    agent : str
        A name in `AGENTS`.
    temperature_c : float
        Temperature of the phantom in degrees Celsius, 0 to 60. One degree changes the result by 0.34 %.

    Raises
    ------
    InputError
        If the agent is not known, or the temperature out of range.
    """
    if agent not in AGENTS:
        raise InputError(
            f"there is no agent {agent!r}",
            fix=f"Choose one of: {', '.join(AGENTS)}; or give the molar susceptibility",
        )
    if not 0 <= temperature_c <= 60:
        raise InputError(f"temperature {temperature_c:g} C is outside 0 to 60", fix="Give degrees Celsius")
    known = AGENTS[agent]
    if known.moment is None:
        return float(known.ppm_per_mm or 0.0)
    per_mol = _MU0 * _AVOGADRO * (known.moment * _BOHR) ** 2 / (3 * _BOLTZMANN * (273.15 + temperature_c))
    return per_mol * 1e6  # 1 mmol/L is 1 mol/m3
