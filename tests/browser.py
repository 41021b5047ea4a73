"""A headless Chromium, spoken to over a pipe in its own protocol: no driver, no port, no package."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Names that Debian, Ubuntu and Google give the program.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Seconds that one answer may take, on a machine that does other things as well.
PATIENCE_S = 120.0


def program() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser refused something, or gave no answer."""


class Tab:
    """One page; everything it wrote to the console, and every request it made."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command; returns its result."""
        return self._browser.do(method, self._session, **parameters)

    def open(self, path: Path) -> None:
        """Loads a file and waits until it is shown."""
        self._browser.events.clear()
        self.do("Page.navigate", url=path.as_uri())
        self._browser.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression; BrowserError if it throws."""
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Gives the page a window of so many pixels."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def media(self, kind: str = "", *, scheme: str = "light") -> None:
        """Shows the page as on paper ("print") or on a screen, in a colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", media=kind, features=features)

    def screenshot(self) -> bytes:
        """Returns what the window shows, as PNG."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])

    def pdf(self) -> bytes:
        """Returns the printed page."""
        return base64.b64decode(self.do("Page.printToPDF", printBackground=True)["data"])

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and violations of the page's policy."""
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}
        return [json.dumps(one["params"])[:500] for one in self._browser.events if one["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """Everything that was asked for, but what the page has in itself."""
        urls = [
            one["params"]["request"]["url"]
            for one in self._browser.events
            if one["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]


class Browser:
    """A running Chromium."""

    def __init__(self, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self._process, self._reading, self._writing = process, reading, writing
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def tab(self) -> Tab:
        """Opens an empty page."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        return Tab(self, self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def do(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Sends a command; returns its result."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        left = json.dumps(command).encode() + b"\0"
        while left:
            left = left[os.write(self._writing, left) :]
        for message in self._messages():
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)
        raise BrowserError(f"{method}: no answer")

    def wait_for(self, event: str) -> None:
        """Waits until the browser tells of an event."""
        if any(one["method"] == event for one in self.events):
            return
        for message in self._messages():
            self.events.append(message)
            if message.get("method") == event:
                return
        raise BrowserError(f"{event} did not happen")

    def _messages(self) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + PATIENCE_S
        while True:
            message, end, rest = self._rest.partition(b"\0")
            if end:
                self._rest = rest
                yield json.loads(message)
                continue
            ready, _, _ = select.select([self._reading], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self._reading, 1 << 20) if ready else b""
            if not more:
                return
            self._rest += more


@contextlib.contextmanager
def started(path: str, folder: Path) -> Iterator[Browser]:
    """Starts a Chromium with a profile of its own in `folder`, and ends it."""
    command_out, command_in = os.pipe()
    answer_out, answer_in = os.pipe()

    def place() -> None:
        """Puts the pipes where the browser looks for them."""
        low, high = os.dup(command_out), os.dup(answer_in)  # neither is 3 or 4 any more once both are copied
        os.dup2(low, 13)
        os.dup2(high, 14)
        os.dup2(13, 3)
        os.dup2(14, 4)

    options = [
        "--headless=new",
        "--no-sandbox",  # a container's root has no user namespaces
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
    ]
    with (folder / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(
            [path, *options], preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=stderr
        )
        os.close(command_out)
        os.close(answer_in)
        try:
            yield Browser(process, answer_out, command_in)
        finally:
            os.close(command_in)
            os.close(answer_out)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
