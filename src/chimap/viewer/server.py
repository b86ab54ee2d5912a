"""The server behind the page: this machine only, one secret address, reading only.

It listens on 127.0.0.1. Every address begins with a random token, so other users of the machine and other pages in the
browser cannot guess it; a request whose Host is another name is refused (a foreign name that was made to point to
127.0.0.1). No address is a path: files are looked up by key in the catalogue, which holds nothing but maps and
reports under the folders, links followed.
"""

from __future__ import annotations

import http.server
import json
import re
import secrets
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chimap.errors import ChimapError, InputError
from chimap.report.viewer import lookup_tables
from chimap.viewer.catalogue import Catalogue, describe, inside, read_catalogue
from chimap.viewer.volumes import MOST_VOXELS, packed

HOST = "127.0.0.1"
_STATIC = {
    "": ("chimap.viewer", "static/view.html", "text/html; charset=utf-8"),
    "view.js": ("chimap.viewer", "static/view.js", "text/javascript; charset=utf-8"),
    "maps.js": ("chimap.viewer", "static/maps.js", "text/javascript; charset=utf-8"),
    "overlay.js": ("chimap.viewer", "static/overlay.js", "text/javascript; charset=utf-8"),
    "sidebar.js": ("chimap.viewer", "static/sidebar.js", "text/javascript; charset=utf-8"),
    "view.css": ("chimap.viewer", "static/view.css", "text/css; charset=utf-8"),
    "planes.js": ("chimap.report", "templates/planes.js", "text/javascript; charset=utf-8"),
    "report.css": ("chimap.report", "templates/report.css", "text/css; charset=utf-8"),
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report brings its own script; in the sandbox it is of no origin, and cannot read what else is served here.
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Any port: the page may come through a forwarded one.
_HERE = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class ViewServer(http.server.ThreadingHTTPServer):
    """Serves the page for folders of results.

    Parameters
    ----------
    roots : paths
        Folders of results.
    port : int
        0 takes a free one.
    most_voxels : int
        Larger volumes are sent as means over cubes of voxels.

    Raises
    ------
    InputError
        If a folder is missing, holds no NIfTI files, or the port is taken.
    """

    daemon_threads = True
    # On a port that was closed a moment ago the next server may start at once.
    allow_reuse_address = True

    def __init__(self, roots: Sequence[Path], port: int = 0, most_voxels: int = MOST_VOXELS):
        self.roots = [Path(r) for r in roots]
        self.most_voxels = most_voxels
        self.token = secrets.token_urlsafe(24)
        self.busy = threading.Lock()
        self.catalogue: Catalogue = read_catalogue(self.roots)
        if not self.catalogue.maps:
            raise InputError(
                "there are no NIfTI files in this folder",
                file=", ".join(str(r) for r in roots),
                fix="Give the folder that chimap run wrote into",
            )
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as e:
            fix = "Give another one, or leave --port out to get a free one"
            raise InputError(f"port {port} cannot be used ({getattr(e, 'strerror', e)})", fix=fix) from e

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def refresh(self) -> Catalogue:
        """Look again: a reconstruction may have gone on meanwhile."""
        self.catalogue = read_catalogue(self.roots)
        return self.catalogue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, unless the page was only closed while it loaded."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "chimap"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._answer()

    def _refuse(self) -> None:
        self._error(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is for the address."""

    def _answer(self) -> None:
        names = self.headers.get_all("Host") or []
        if len(names) != 1 or not _HERE.fullmatch(names[0]):
            return self._error(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 only")
        try:
            address = urlsplit(self.path)
        except ValueError:
            return self._error(HTTPStatus.BAD_REQUEST, "this is not an address")
        _, token, name = (*address.path.split("/", 2), "", "")[:3]
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return self._error(
                HTTPStatus.NOT_FOUND, "no such page; take the address that chimap view printed"
            )
        query = {k: v[0] for k, v in parse_qs(address.query).items()}
        try:
            if address.path == f"/{token}/{name}" and name in _STATIC:
                package, file, kind = _STATIC[name]
                self._send(kind, files(package).joinpath(file).read_bytes())
            elif address.path == f"/{token}":
                self._error(HTTPStatus.PERMANENT_REDIRECT, "a slash is missing", {"Location": f"/{token}/"})
            elif name == "catalogue":
                self._json(describe(self.server.refresh()))
            elif name == "colours":
                self._json(json.dumps(lookup_tables()))
            elif name == "volume" and query.get("key") in self.server.catalogue.maps:
                self._volume(query["key"], query.get("part", "0"))
            elif name == "report" and query.get("key") in self.server.catalogue.reports:
                self._report(query["key"])
            else:
                self._error(HTTPStatus.NOT_FOUND, "there is no such file")
        except ChimapError as e:
            # The page knows files by name; where they lie on the disk stays here.
            what = f"{Path(e.file).name}: {e.what}" if e.file else e.what
            self._error(HTTPStatus.UNPROCESSABLE_ENTITY, what)
        except MemoryError:
            self._error(HTTPStatus.INSUFFICIENT_STORAGE, "there is not enough memory for this volume")

    def _volume(self, key: str, part: str) -> None:
        if not part.isascii() or not part.isdigit() or len(part) > 9:
            raise InputError("part is not a whole number")
        entry = self.server.catalogue.maps[key]
        # One volume at a time bounds the memory.
        with self.server.busy:
            body = self._zip(packed(entry, int(part), self.server.most_voxels))
        self._send("application/octet-stream", body, zipped=True)

    def _report(self, key: str) -> None:
        path, root = self.server.catalogue.reports[key]
        if not inside(path, root):
            return self._error(HTTPStatus.NOT_FOUND, "there is no such file")
        self._send("text/html; charset=utf-8", path.read_bytes(), policy=_REPORT_POLICY)

    def _json(self, text: str) -> None:
        self._send("application/json", self._zip([text.encode()]), zipped=True)

    def _takes_gzip(self) -> bool:
        return "gzip" in self.headers.get("Accept-Encoding", "")

    def _zip(self, pieces: Iterable[bytes]) -> bytes:
        """One body of the pieces, gzip'd if the browser takes that."""
        return b"".join(_gzip(pieces) if self._takes_gzip() else pieces)

    def _send(
        self,
        kind: str,
        body: bytes,
        *,
        zipped: bool = False,
        policy: str = _PAGE_POLICY,
        status: HTTPStatus = HTTPStatus.OK,
        more: dict[str, str] | None = None,
    ) -> None:
        """Send a body; `zipped` says that it went through `_zip`."""
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": policy}
        if zipped:
            headers["Vary"] = "Accept-Encoding"
            if self._takes_gzip():
                headers["Content-Encoding"] = "gzip"
        for name, value in (headers | _HEADERS | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: HTTPStatus, what: str, more: dict[str, str] | None = None) -> None:
        # What came with a refused request is not read, so the connection cannot go on.
        self.close_connection = True
        body = json.dumps({"error": what}).encode()
        self._send("application/json", body, status=status, more={"Connection": "close", **(more or {})})


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield squeeze.compress(piece)
    yield squeeze.flush()
