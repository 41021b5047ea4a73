"""A Docker engine of a test, behind a socket, for the real SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pytest

Server = TypeVar("Server", bound=HTTPServer)
#: Seconds after which a server notes that it is to end; the default of half a second is waited for in each test.
POLL_S = 0.01


@contextmanager
def serving(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Makes `server` the engine that DOCKER_HOST names."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
