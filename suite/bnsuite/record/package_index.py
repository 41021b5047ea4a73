"""The package index that releases of torch come from, where the user names one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from bnsuite.record.value import Value


class PackageIndex(Value):
    """Package indexes in place of those that pip is set up for; recorded without users, passwords and queries."""

    #: The address of the index, by --index-url; None for that of pip's settings.
    url: str | None = None
    #: Further ones, by --extra-index-url.
    extra_urls: tuple[str, ...] = ()
    #: Whether pip may take pre-releases, by --pre.
    pre: bool = False

    def without_secrets(self) -> PackageIndex:
        """Returns the index as it may be shown and recorded."""
        url = None if self.url is None else without_secrets(self.url)
        return self.model_copy(update={"url": url, "extra_urls": tuple(map(without_secrets, self.extra_urls))})

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        return (*([] if self.url is None else [self.url]), *self.extra_urls)


def without_secrets(url: str) -> str:
    """Returns an address without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def text_without_secrets(text: str, index: PackageIndex | None) -> str:
    """Returns what a program says without the secrets of any address in it."""
    for url in index.urls if index is not None else ():
        text = text.replace(url, without_secrets(url))
    return re.sub(r"(?<=://)[^/\s]*@", "", text)
