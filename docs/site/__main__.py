"""The command line: ``python -m docs.site OUTPUT``. What it does is in `docs.site.building`."""

import sys

from docs.site.building import main

if __name__ == "__main__":
    sys.exit(main())
