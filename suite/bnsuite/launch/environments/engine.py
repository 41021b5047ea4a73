"""The Docker engine of this machine, by its SDK: reached, its errors told in one line, its leftovers removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.record.errors import InputError

if TYPE_CHECKING:
    from docker import DockerClient

#: Who started a container; another coordinator sweeps it away once that one is dead.
COORDINATOR, HOST, SITE = "bnsuite.coordinator", "bnsuite.host", "bnsuite.site"

#: What the SDK or the engine says, and what it means.
CAUSES = (
    (
        ("PermissionError", "Permission denied"),
        "this user may not speak to the Docker engine; add it to the group docker and log in again, or set DOCKER_HOST",
    ),
    (
        ("FileNotFoundError", "ConnectionRefused", "Connection refused", "Connection aborted", "RemoteDisconnected"),
        "no Docker engine answers; start it (systemctl start docker), or set DOCKER_HOST",
    ),
    (("Read timed out", "ReadTimeout"), "the Docker engine does not answer; look at its log, or start it anew"),
    (
        ("could not select device driver", "nvidia-container-cli", "nvidia-container-runtime"),
        "the engine can't give it the GPUs ({said}); install driver and NVIDIA Container Toolkit, or use --device cpu",
    ),
    (('exec: "sh"',), "has no sh, by which its Python is found; name an image that has one"),
)


def explained(error: BaseException) -> str:
    """What the SDK or the engine said, in one line, with the hint where there is one."""
    said = " ".join(str(getattr(error, "explanation", None) or error).split()) or type(error).__name__
    for words, meaning in CAUSES:
        if any(word in said for word in words):
            return meaning.format(said=said[:200])
    return f"the Docker engine says: {said[:300]}"


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what goes wrong at the engine into an InputError that begins with `name`."""
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, OSError) as error:  # what the SDK lets through of requests is an OSError
        raise InputError(f"{name}: {explained(error)}") from error


def labels(site: str) -> dict[str, str]:
    """What a container of this process carries."""
    return {COORDINATOR: f"{os.getpid()}-{_started(os.getpid())}", HOST: _host(), SITE: site}


def sweep(client: DockerClient) -> None:
    """Remove containers whose coordinator, a process of this machine, is dead."""
    for container in client.api.containers(all=True, filters={"label": f"{HOST}={_host()}"}):
        pid, _, started = container["Labels"].get(COORDINATOR, "").partition("-")
        if pid.isdigit() and _dead(int(pid), started):
            remove(client, container["Id"])


def remove(client: DockerClient, name: str) -> None:
    """Remove a container by its name or id; it may be gone, and so may the engine."""
    with contextlib.suppress(Exception):
        client.api.remove_container(name, v=True, force=True)


def _dead(pid: int, started: str) -> bool:
    """Whether the process that was `started` then is gone; another user's may be there and not be seen in /proc."""
    now = _started(pid)
    if now is not None:
        return now != started
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since this machine was; None if that can't be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return None


def _host() -> str:
    """This boot of this machine and the process ids on it: in a container they are other ones than outside."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
