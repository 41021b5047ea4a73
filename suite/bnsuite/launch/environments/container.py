"""A worker in a container, over the engine's attached socket, on which stdout and stderr are interleaved."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.launch.environments.engine import explained, remove
from bnsuite.launch.process.child import ChildError, LogFile, exit_reason
from bnsuite.launch.process.stream import Lines, Listener

if TYPE_CHECKING:
    from docker import DockerClient

STDOUT = 1
_HEADER_BYTES = 8

#: The most that is kept of the output of a container.
MAX_LOG_BYTES = 64 << 20

#: The engine reports the end of a container within moments of closing its socket.
END_S = 10.0


class Frames:
    """Decodes the engine's stream: a header of the stream's number and the size, big-endian, then so many bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream, self._left = 0, 0

    def decode(self, some: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields the pieces in `some`, with the number of their stream; a frame may come in several."""
        self._buffer += some
        while self._buffer:
            if not self._left:
                if len(self._buffer) < _HEADER_BYTES:
                    return
                self._stream, self._left = self._buffer[0], int.from_bytes(self._buffer[4:_HEADER_BYTES], "big")
                del self._buffer[:_HEADER_BYTES]
            piece = bytes(self._buffer[: self._left])
            del self._buffer[: len(piece)]
            self._left -= len(piece)
            if piece:
                yield self._stream, piece


class Container:
    """A started container whose first process supervises a worker."""

    def __init__(self, client: DockerClient, settings: dict[str, Any], log: Path, token: str) -> None:
        """Creates, attaches and starts it; raises errors of the SDK, and leaves nothing behind then."""
        self._client, self._name, self._limit_bytes = client, settings["name"], settings["mem_limit"]
        self._began = int(time.time()) - 1
        self._frames, self._ended = Frames(), False
        self._log = LogFile(log, MAX_LOG_BYTES)
        self._noise = LogFile(log.with_name(f"{log.stem}-noise.txt"))
        try:
            created = client.containers.create(**settings)
            attached: Any = created.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._attached, self._socket = attached, getattr(attached, "_sock", attached)
            self._socket.settimeout(None)
            created.start()
        except BaseException:
            remove(client, self._name)
            raise
        self._listener = Listener(self._socket.fileno(), self._read, Lines(token, self._noise))

    def send(self, line: str) -> None:
        """Writes one line to the worker's stdin."""
        try:
            self._socket.sendall(line.encode() + b"\n")
        except OSError:
            raise ChildError(self.exit_reason()) from None

    def receive(self, timeout_s: float) -> str | None:
        """Returns the next message, or None when the container has ended; SilentError if none comes in time."""
        return self._listener.receive(timeout_s)

    def _read(self) -> bytes | None:
        try:
            some = self._socket.recv(1 << 16)
        except OSError:
            return None
        if not some:
            return None
        messages = b""
        for stream, piece in self._frames.decode(some):
            if stream == STDOUT:
                messages += piece
            else:
                self._log(piece)
        return messages

    def exit_reason(self) -> str:
        """Returns how the container ended: out of memory, by a signal, or with a status and its last line."""
        self._listener.drain(END_S)
        try:
            status, out_of_memory = self._end()
        except Exception as error:  # noqa: BLE001  # urllib3's own come through here as well
            return explained(error)
        if status is None:
            return "closed its messages but goes on running"
        if out_of_memory:
            return f"memory ran out: the container may use {self._limit_bytes / (1 << 30):.1f} GiB"
        if status > 128:
            return exit_reason(128 - status)
        return exit_reason(status, self._log.last_line or self._noise.last_line)

    def _end(self) -> tuple[int | None, bool]:
        """Returns the exit status, and if memory ran out, from the engine's events: the container is gone by now."""
        status, out_of_memory = None, False
        events = self._client.api.events(
            since=self._began, until=int(time.time() + END_S), filters={"container": self._name}, decode=True
        )
        with contextlib.closing(events):
            for event in events:
                out_of_memory |= event["Action"] == "oom"
                if event["Action"] == "die":
                    status = int(event["Actor"]["Attributes"]["exitCode"])
                    break
        return status, out_of_memory

    def kill(self) -> None:
        """Kills all that runs in it, at once; a receive under way returns None."""
        with contextlib.suppress(Exception):
            self._client.api.kill(self._name)

    def end(self) -> None:
        """Removes the container and closes its socket."""
        if self._ended:
            return
        self._ended = True
        remove(self._client, self._name)
        self._listener.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            self._attached.close()
