"""A figure as the bytes of a file."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure


def file_bytes(figure: Figure, kind: str = "png", **options: Any) -> bytes:
    """The file, of a `kind` of matplotlib's (png, svg); `options` are those of its `savefig`.

    Without date, and matplotlib's own name and version, the same map gives the same bytes.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=metadata, **options)
    return buffer.getvalue()
