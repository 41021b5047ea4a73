"""Writes the generated pages (`make reference`)."""

from __future__ import annotations

from pages import FOLDER, PAGES

for name, page in PAGES.items():
    (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_text(page(), encoding="utf-8")
