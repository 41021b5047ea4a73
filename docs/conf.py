"""The documentation site: `make docs`."""

import re
from pathlib import Path
from typing import ClassVar

from pygments.lexer import RegexLexer
from pygments.token import Comment, Text
from sphinx.application import Sphinx

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
# Quotes stay as a shell takes them.
smartquotes = False

html_theme = "furo"
html_title = f"bnsuite {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False


class Commands(RegexLexer):
    """Commands with comments; the shell's lexer takes ``torch==2.14.1`` for an assignment."""

    tokens: ClassVar = {"root": [(r"(?<!\S)#[^\n]*", Comment), (r"[^#\n]+|\n|#", Text)]}


def setup(app: Sphinx) -> None:
    """Have blocks of commands shown by the lexer above."""
    app.add_lexer("sh", Commands)
