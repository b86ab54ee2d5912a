"""What a search for a parameter found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tuning:
    """The chosen value of a parameter and the curve that it was read from.

    Attributes
    ----------
    method, parameter, rule : str
        What was tuned, and how.
    value : float
        The choice.
    values, scores : tuple of float
        The values that were tried, in ascending order, and the rule's score of each (`score_name` says what it is).
    score_name : str
        Name and meaning of the score.
    best : {"min", "max", "zero"}
        Which score the rule looks for.
    columns : mapping
        What else was computed for each value, by name.
    runs : int
        How many times the method ran.
    note : str
        What the user should know (the choice lies at the end of the range, the noise was estimated ...); or empty.
    references : tuple of str
        DOIs of the rule.
    """

    method: str
    parameter: str
    rule: str
    value: float
    values: tuple[float, ...]
    scores: tuple[float, ...]
    score_name: str
    best: str
    columns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    runs: int = 0
    note: str = ""
    references: tuple[str, ...] = ()

    def table(self) -> list[dict[str, float]]:
        """The curve, one row a value."""
        return [
            {
                self.parameter: v,
                "score": s,
                **{name: column[i] for name, column in self.columns.items()},
            }
            for i, (v, s) in enumerate(zip(self.values, self.scores, strict=True))
        ]

    def as_tsv(self) -> str:
        """The table as text with tabs, the chosen value marked in the last column."""
        rows = self.table()
        nearest = min(range(len(rows)), key=lambda i: abs(self.values[i] / self.value - 1))
        lines = ["\t".join([*rows[0], "nearest_to_choice"])]
        for i, row in enumerate(rows):
            lines.append("\t".join([*(f"{v:.6g}" for v in row.values()), str(int(i == nearest))]))
        return "\n".join(lines) + "\n"

    def record(self) -> dict[str, Any]:
        """What a sidecar keeps of it."""
        return {
            "parameter": self.parameter,
            "value": self.value,
            "rule": self.rule,
            "runs": self.runs,
            "values": list(self.values),
            "scores": list(self.scores),
            "score": self.score_name,
            **({"note": self.note} if self.note else {}),
        }
