"""The pages of the reference that are made from the code: by `make reference`, and compared with it by a test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pages import command_line, families, files, schemas

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"

#: Each page by the name of its file, and the function that returns its text.
PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line.page,
    "files.md": files.page,
    "families.md": families.page,
    **{f"schemas/{schemas.name(file)}": partial(schemas.text, file, model) for file, _, model in files.FILES},
}
