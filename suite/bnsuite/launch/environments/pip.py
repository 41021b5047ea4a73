"""How pip is called: by its settings, and by an index that the user names."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from bnsuite.record.package_index import PackageIndex, without_secrets

#: Settings of the user that would have pip install elsewhere, or find packages outside the new environment.
REMOVED = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")

#: Messages of pip if it cannot reach its index, with the meaning.
UNREACHABLE = (
    r"Connection(Error|Refused)|connection broken|Timeout|NameResolution|Max retries|ProxyError|SSLError",
    "the package index can't be reached; connect this machine, or set PIP_INDEX_URL or PIP_FIND_LINKS",
)
#: Messages of pip if its index wants another user, with the meaning.
REFUSED = (
    r"\b40[13] Client Error",
    "the package index refuses access; check its address, and name user and password there or in ~/.netrc",
)
#: Messages of pip if an index is neither https nor on this machine, with the meaning.
UNTRUSTED = (
    r"is not a trusted or secure host",
    "pip does not trust an index without https; name its https address, or set PIP_TRUSTED_HOST",
)


def variables(index: PackageIndex | None) -> dict[str, str]:
    """Returns the environment of a process of pip.

    Addresses are handed over so, and not as arguments, which every user of the machine can read.
    """
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    if index is None:
        return kept
    if index.url is not None:
        kept |= {"PIP_INDEX_URL": index.url}
        kept.pop("PIP_NO_INDEX", None)
    if index.extra_urls:
        kept |= {"PIP_EXTRA_INDEX_URL": " ".join(index.extra_urls)}
    return kept | ({"PIP_PRE": "1"} if index.pre else {})


def refusals(log: Path) -> str:
    """Returns the lines of pip's log that say that an index refused access, which pip itself does not show."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if re.search(REFUSED[0], line))
    return ""


def shown(index: PackageIndex | None) -> str:
    """Returns how a message calls the index, such as "the package index https://example.org/simple"."""
    if index is None or index.url is None:
        return "the package index"
    return f"the package index {without_secrets(index.url)}"
