"""``python -m bnsuite``."""

import sys

from bnsuite.cli import main

sys.exit(main())
