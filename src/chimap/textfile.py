"""Small text files from outside: read with a limit of size, and only if they are files at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chimap.errors import InputError

MOST_BYTES = 32 << 20
"""No sidecar, table or transform comes near to that."""


def read_bytes(path: str | Path) -> bytes:
    """The content of a small file.

    Raises
    ------
    InputError
        If it is missing, a folder, a device or a pipe (which might never end), larger than 32 MB, or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError("this is a folder; a file is expected", file=path)
        if not path.is_file():
            kind = (
                "this is a device or a pipe; a file is expected" if path.exists() else "there is no such file"
            )
            raise InputError(kind, file=path, fix="Check the path")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"the file has {size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB of text are expected",
                file=path,
                fix="Check that this is the right file",
            )
        return path.read_bytes()
    except OSError as e:
        raise InputError(f"cannot be read ({e.strerror or e})", file=path) from e


def read_text(path: str | Path) -> str:
    """The content of a small UTF-8 file, with or without a byte-order mark; raises `InputError` as `read_bytes` does."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("this is not text in UTF-8", file=path, fix="Save it as UTF-8") from None


def read_json(path: str | Path) -> Any:
    """The value that a small JSON file holds; raises `InputError` as `read_text` does, and for what is no JSON."""
    try:
        return json.loads(read_text(path))
    except ValueError as e:
        raise InputError(f"this is not readable JSON ({e})", file=path, fix="Repair the file") from e
    except RecursionError:
        raise InputError("the JSON is nested too deeply", file=path, fix="Repair the file") from None
