"""The pictures that ``bnsuite figures`` drew beside a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bnsuite.record.files import exists
from bnsuite.record.folder import FIGURES

#: Types of pictures that a page shows, by the end of their names.
MEDIA = {".svg": "image/svg+xml", ".png": "image/png", ".gif": "image/gif"}
#: All pictures of a page take at most so many bytes.
MAX_BYTES = 1_200_000


@dataclass(frozen=True)
class Picture:
    """One picture; `content` is None where the picture was too large to be read beside the others."""

    name: str
    media: str
    content: bytes | None


def load(folder: Path, most: int = MAX_BYTES) -> tuple[Picture, ...]:
    """Returns the pictures of the run in `folder` by name, with the contents of as many as fit into `most` bytes."""
    where = folder / FIGURES
    if not exists(where) or not where.is_dir():
        return ()
    found, left = [], most
    for path in sorted(where.iterdir()):
        media = MEDIA.get(path.suffix)
        if media is None or not path.is_file():
            continue
        try:
            fits = path.stat().st_size <= left
            content = path.read_bytes() if fits else None
        except OSError:
            content = None
        left -= len(content or b"")
        found.append(Picture(path.name, media, content))
    return tuple(found)
