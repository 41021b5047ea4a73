"""The Docker engine of this machine, by its SDK: its errors in one line, its leftover containers removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnsuite.launch.environments.environment import EnvironmentUnavailableError
from bnsuite.launch.process import owner

if TYPE_CHECKING:
    from docker import DockerClient

#: Labels of a container: the process that started it, by which a later one removes it, and its environment.
COORDINATOR, HOST, ENVIRONMENT = "bnsuite.coordinator", "bnsuite.host", "bnsuite.environment"

#: Messages of the SDK or the engine, each with its meaning.
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
    """Returns an error of the SDK or the engine in one line, with the fix where there is one."""
    said = " ".join(str(getattr(error, "explanation", None) or error).split()) or type(error).__name__
    for words, meaning in CAUSES:
        if any(word in said for word in words):
            return meaning.format(said=said[:200])
    return f"the Docker engine says: {said[:300]}"


@contextlib.contextmanager
def engine_errors(name: str) -> Iterator[None]:
    """Turns errors of the engine into an EnvironmentUnavailableError of the environment `name`."""
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, OSError) as error:  # what the SDK lets through of requests is an OSError
        raise EnvironmentUnavailableError(name, explained(error)) from error


def labels(environment_id: str) -> dict[str, str]:
    """Returns the labels of a container that this process starts."""
    return {COORDINATOR: owner.this_process(), HOST: owner.host(), ENVIRONMENT: environment_id}


def sweep(client: DockerClient) -> None:
    """Removes containers whose coordinator, a process of this machine, is dead."""
    for container in client.api.containers(all=True, filters={"label": f"{HOST}={owner.host()}"}):
        if owner.is_dead(container["Labels"].get(COORDINATOR, "")):
            remove(client, container["Id"])


def remove(client: DockerClient, name: str) -> None:
    """Removes a container by its name or id; it may be gone, and so may the engine."""
    with contextlib.suppress(Exception):
        client.api.remove_container(name, v=True, force=True)
