"""The documentation site: built by the real Sphinx, with every warning an error."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from conftest import ROOT
from doc_commands import pages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(ROOT / "docs"), str(out)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


class _Page(HTMLParser):
    """The links and anchors of a page, and all that it loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the attributes name."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given["id"]} if "id" in given else set()
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        self.loaded |= {given[name] for name in ("src", "srcset") if name in given}
        self.loaded |= {given["href"]} if tag == "link" and "href" in given else set()


def test_every_page_is_in_the_site(site: Path) -> None:
    """Each Markdown file of docs/ has its page, and the menu leads to it."""
    menu = _Page((site / "index.html").read_text(encoding="utf-8")).links
    for page in pages():
        if page.is_relative_to(ROOT / "docs") and page.name != "index.md":
            name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
            assert (site / name).exists()
            assert name in menu


def test_links_and_anchors_within_the_site_exist(site: Path) -> None:
    """No link within the site leads nowhere, to no page and to no heading."""
    read = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in read.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            name, anchor = urldefrag(link)
            target = (path.parent / unquote(name)).resolve() if name else path
            if not target.exists() or (anchor and target in read and anchor not in read[target].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    """Pages work without a network: scripts, styles and pictures are those of the site."""
    for path in site.rglob("*.html"):
        loaded = _Page(path.read_text(encoding="utf-8")).loaded
        assert not [one for one in loaded if re.match(r"(https?:)?//", one)], path
