"""The documentation site: `make docs`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

project = "bnsuite"
author = "the bnsuite authors"
release = re.findall(r'__version__ = "(.+)"', (ROOT / "suite/bnsuite/__init__.py").read_text(encoding="utf-8"))[0]
version = release

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# A block without a language is a command or output.
highlight_language = "text"
nitpicky = True

html_theme = "furo"
html_title = f"bnsuite {release}"
html_copy_source = False
html_show_copyright = False
