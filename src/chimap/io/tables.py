"""Tables as BIDS has them: text with tabs, and the JSON that says what each column means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def tsv(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, digits: int | None = None) -> str:
    """The rows as text with tabs; n/a where a value is missing, None or empty; floats with so many `digits`."""
    columns = list(columns)

    def cell(value: Any) -> str:
        if value is None or value == "":
            return "n/a"
        return f"{value:.{digits}g}" if digits and isinstance(value, float) else str(value)

    lines = ["\t".join(columns)]
    lines += ["\t".join(cell(row.get(c)) for c in columns) for row in rows]
    return "\n".join(lines) + "\n"


def dictionary(columns: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, str]]:
    """The data dictionary of columns that are given as name to (unit or nothing, description)."""
    return {
        name: {"Description": text, **({"Units": unit} if unit else {})}
        for name, (unit, text) in columns.items()
    }
