"""The options of the package index that releases of torch come from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import click

from bnsuite.cli import config
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex


class IndexUrl(click.ParamType[str]):
    """The address of a package index; no message repeats it, for it may hold a password."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the address; BadParameter if it is none of http, https or file."""
        text = str(value)
        try:
            parts = urlsplit(text)
            _ = parts.port  # raises as well
        except ValueError:
            parts = urlsplit("")
        place = parts.path if parts.scheme == "file" else parts.hostname
        if parts.scheme not in {"http", "https", "file"} or not place or not text.isprintable() or " " in text:
            self.fail("is no address of a package index; write it like https://HOST/simple", param, ctx)
        return text


def package_index(function: Callable[..., int]) -> Callable[..., int]:
    """Give a verb the options of the package index, as one `index`: a `PackageIndex`, or None if none was given."""

    @functools.wraps(function)
    def verb(*args: Any, index_url: str | None, extra_index_url: tuple[str, ...], pre: bool, **rest: Any) -> int:
        given = PackageIndex(url=index_url, extra_urls=extra_index_url, pre=pre)
        return function(*args, index=None if given == PackageIndex() else given, **rest)

    for option in (
        click.option("--pre", is_flag=True, help="Take pre-releases too, as pip does with --pre."),
        click.option(
            "--extra-index-url",
            type=IndexUrl(),
            multiple=True,
            metavar="URL",
            help="Another package index beside it; repeatable.",
        ),
        click.option(
            "--index-url",
            type=IndexUrl(),
            metavar="URL",
            help="The package index of releases of torch (default: that of pip's settings). Users and passwords in it "
            "are not recorded.",
        ),
    ):
        verb = option(verb)
    return verb


def require_release(index: PackageIndex | None, environments: Iterable[str]) -> None:
    """Raise InputError if an index was named by an option, and none of the environments comes from one."""
    context = click.get_current_context()
    by_option = any(config.is_given(context, one) for one in ("index_url", "extra_index_url", "pre"))
    if index is not None and by_option and not any(one.startswith("torch==") for one in environments):
        name = "--index-url" if index.url else "--extra-index-url" if index.extra_urls else "--pre"
        raise InputError(f"{name}: no environment is a release of torch; leave it out, or name torch==X.Y.Z")
