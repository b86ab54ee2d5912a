"""Look at results in the browser: all maps of a folder in three planes, and two of them side by side.

The page comes from this machine only (127.0.0.1) under an address that cannot be guessed; nothing is written and
nothing is sent elsewhere. Ctrl-C ends it. For results on another machine, start it there with --port 8765
--no-browser, forward the port (ssh -t -L 8765:127.0.0.1:8765 HOST ...), and open the address here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "look at results in the browser; compare two runs or methods"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this command."""
    parser.add_argument(
        "folders",
        metavar="OUT",
        type=Path,
        nargs="+",
        help="folder that chimap run wrote into, or one above; several folders are listed together",
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to listen on (default: a free one)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    parser.add_argument(
        "--full",
        action="store_true",
        help="send volumes of more than 40 million voxels as they are, not as means over cubes of voxels",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    import sys
    import threading
    import webbrowser

    from chimap.errors import InputError
    from chimap.viewer.server import ViewServer
    from chimap.viewer.volumes import MOST_VOXELS

    if not 0 <= args.port <= 65535:
        raise InputError(f"port {args.port} is not a port", fix="Give a number from 1024 to 65535")
    with ViewServer(args.folders, args.port, sys.maxsize if args.full else MOST_VOXELS) as server:
        print(f"{len(server.catalogue.scans)} scans, {len(server.catalogue.maps)} maps")
        print(f"open {server.url}", flush=True)
        if not args.no_browser:
            # Some browsers keep the call until they are closed.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        if not args.quiet:
            print("Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
