"""bnsuite: a benchmark and regression suite for batch normalization."""

import sys

# Nothing above this line, nor the line itself, may need more than the oldest Python that could be named.
if sys.version_info < (3, 10):  # noqa: UP036  # the inner half is started in interpreters that others chose
    sys.exit("bnsuite needs Python 3.10 or newer; this is %d.%d.%d" % sys.version_info[:3])  # noqa: UP031  # likewise

__version__ = "0.7.0"
