"""The curve by which a parameter was chosen, as a picture."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chimap.report.saved import file_bytes
from chimap.tuning import Tuning

_LINE, _MARK = "#2b6cb0", "#d9480f"


def curve_figure(found: Tuning, kind: str = "svg") -> bytes:
    """Score over the parameter with the choice marked; beside it the L-curve, where the rule has one.

    Parameters
    ----------
    found : Tuning
    kind : {"svg", "png"}

    Returns
    -------
    bytes
        The file's content, the same for the same curve.
    """
    rough = next((name for name in found.columns if name.startswith("gradient_")), None)
    both = rough is not None and "misfit" in found.columns
    with rc_context({"svg.hashsalt": "chimap", "font.size": 10}):
        figure = Figure(figsize=(9 if both else 5.2, 3.8), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
        values, scores = np.asarray(found.values), np.asarray(found.scores)
        axes[0].semilogx(values, scores, "o-", color=_LINE, ms=4, lw=1.4)
        axes[0].axvline(found.value, color=_MARK, lw=1.4)
        if found.best == "zero":
            axes[0].axhline(0, color="0.6", lw=0.8)
        axes[0].set_xlabel(found.parameter)
        axes[0].set_ylabel("\n".join(textwrap.wrap(found.score_name, 36)))
        axes[0].set_title(f"{found.method}: {found.parameter} = {found.value:g} by {found.rule}", fontsize=10)
        if both:
            x, y = np.asarray(found.columns["misfit"]), np.asarray(found.columns[rough or ""])
            axes[1].loglog(x, y, "o-", color=_LINE, ms=4, lw=1.4)
            at = np.log(found.value)
            axes[1].plot(
                np.exp(np.interp(at, np.log(values), np.log(x))),
                np.exp(np.interp(at, np.log(values), np.log(y))),
                "o", color=_MARK, ms=9, mfc="none", mew=2,
            )  # fmt: skip
            axes[1].set_xlabel("misfit [standard deviations]")
            axes[1].set_ylabel(f"gradient of the map, {(rough or '').removeprefix('gradient_')}")
            axes[1].set_title("L-curve", fontsize=10)
        for a in axes:
            a.grid(True, which="major", color="0.9", lw=0.6)
        return file_bytes(figure, kind)
