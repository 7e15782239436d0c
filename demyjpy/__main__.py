"""``python -m demyjpy``: the same as the command ``demyjpy``."""

import sys

from demyjpy.cli import main

sys.exit(main())
