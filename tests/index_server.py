"""A package index of a test, behind HTTP, for the real pip: pages of links, with a password if one is wanted."""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: Seconds after which a server notes that it is to end.
POLL_S = 0.01


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, to a user if there has to be one."""

    def __init__(self, *rest: Any, user: str | None, **more: Any) -> None:
        self._user = user
        super().__init__(*rest, **more)

    def do_GET(self) -> None:
        """Sends a page or a wheel, or 401 to anybody else."""
        wanted = f"Basic {base64.b64encode((self._user or '').encode()).decode()}"
        if self._user is not None and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(folder: Path, user: str | None = None) -> Iterator[str]:
    """Serves the wheels of `folder` as torch's page of a static index; yields its address, for `user` (name:password).

    The page is made when this is entered (PEP 503).
    """
    page = folder / "simple" / "torch" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.glob("*.whl"))
    page.write_text("".join(f'<a href="../../{html.escape(name)}">{html.escape(name)}</a>\n' for name in names))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), user=user))
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    try:
        yield f"http://{f'{user}@' if user else ''}127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
