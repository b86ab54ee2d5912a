"""``python -m chimap`` is the `chimap` command."""

import sys

from chimap.cli import main

if __name__ == "__main__":
    sys.exit(main())
