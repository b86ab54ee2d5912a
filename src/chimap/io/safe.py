"""Writing files whole or not at all: a temporary file beside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from chimap.errors import OutputError, of_os_error


def output_error(error: OSError, path: str | Path) -> OutputError:
    """What an `OSError` while writing means to the user, in one line."""
    return of_os_error(error, path) or OutputError(
        f"cannot be written ({error.strerror or error})", file=path
    )


def make_folder(path: str | Path) -> Path:
    """Create a folder with its parents; raises `OutputError` where that cannot be done."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise output_error(e, path) from e
    return path


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file to write into, which takes its name only once it is complete and on the disk.

    Folders are made as needed. If anything fails, `path` is as it was before and no temporary file stays.

    Raises
    ------
    OutputError
        If the system refuses (read-only folder, full disk).
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
        with os.fdopen(handle, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        # mkstemp makes files private; give the permissions that open() would have given.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as e:
        raise output_error(e, path) from e
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path: str | Path, text: str) -> Path:
    """Write text as UTF-8, whole or not at all."""
    with whole_file(path) as f:
        # Names of files may hold bytes that are no text.
        f.write(text.encode("utf-8", "backslashreplace"))
    return Path(path)


def write_json(path: str | Path, values: Any) -> Path:
    """Write JSON (indented, keys in the order given, numpy numbers and paths allowed), whole or not at all."""
    return write_text(path, json.dumps(values, indent=2, default=_jsonable, ensure_ascii=False) + "\n")


def _jsonable(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk; not every file system lets a folder be synced.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
