"""The report of a reconstruction: one HTML file that opens offline, with pictures, tables and a viewer.

`write_report` and the drawing libraries behind it are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chimap.report.data import MapItem, ReportData, StageItem

if TYPE_CHECKING:
    from chimap.report.html import write_report

__all__ = ["MapItem", "ReportData", "StageItem", "write_report"]


def __getattr__(name: str) -> Any:
    if name == "write_report":
        from chimap.report.html import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
