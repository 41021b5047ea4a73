"""The Docker engine of this machine, by its SDK: its errors in one line, its leftover containers removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        ("could not select device driver",),
        (
            "the engine can't give it the GPUs ({said}); install the NVIDIA Container Toolkit and let it configure the "
            "engine (nvidia-ctk runtime configure --runtime=docker, then restart the engine), or use --device cpu"
        ),
    ),
    (
        ("unresolvable CDI devices", "failed to inject CDI devices", "CDI device injection failed"),
        (
            "the engine can't give it the GPUs ({said}); describe them anew for the driver that is loaded "
            "(nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml), or use --device cpu"
        ),
    ),
    (
        ("NVIDIA Container Runtime Hook directly",),
        (
            "the engine can't give it the GPUs ({said}); set the toolkit's runtime to a mode that takes --gpus "
            "(nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto), or use --device cpu"
        ),
    ),
    (
        ("nvidia-container-cli", "nvidia-container-runtime"),
        "the engine can't give it the GPUs ({said}); install driver and NVIDIA Container Toolkit, or use --device cpu",
    ),
    (('exec: "sh"',), "has no sh, by which its Python is found; name an image that has one"),
)


#: Words of an engine that refuses a request for the GPUs in one way, and may grant it in another.
GPU_REFUSALS = (
    "could not select device driver",
    "unresolvable CDI devices",
    "failed to inject CDI devices",
    "CDI device injection failed",
    "NVIDIA Container Runtime Hook directly",
)


def refuses_gpus(error: BaseException) -> bool:
    """Returns True if the engine refuses the way in which it was asked for the GPUs."""
    said = " ".join(str(getattr(error, "explanation", None) or error).split())
    return any(words in said for words in GPU_REFUSALS)


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


@dataclass(frozen=True)
class EngineFacts:
    """The engine's account of itself; `cdi_devices` is None where it is too old to tell (API before 1.50)."""

    version: str
    cgroup_driver: str
    cgroup_version: str
    runtimes: tuple[str, ...]
    cdi_devices: tuple[str, ...] | None


class EngineError(Exception):
    """The engine can't be asked; the message is one line with the fix."""


def facts(timeout_s: float) -> EngineFacts:
    """Returns the facts of the engine, within about `timeout_s` for each of two requests; raises EngineError."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=timeout_s)  # type: ignore[arg-type]  # a fraction of a second is fine as well
        try:
            return facts_of(client.info())
        finally:
            client.close()
    except (DockerException, OSError, ValueError, TypeError, AttributeError) as error:
        raise EngineError(explained(error)) from error


def facts_of(info: dict[str, Any]) -> EngineFacts:
    """Returns the facts in the engine's answer to ``/info``; fields of other versions may be absent."""
    devices = info.get("DiscoveredDevices")
    if devices is None and "CDISpecDirs" not in info:
        found = None
    else:
        found = tuple(sorted(str(one.get("ID", "")) for one in devices or () if one.get("Source") == "cdi"))
    return EngineFacts(
        version=str(info.get("ServerVersion", "")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        cgroup_version=str(info.get("CgroupVersion", "")),
        runtimes=tuple(sorted(map(str, info.get("Runtimes") or ()))),
        cdi_devices=found,
    )


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
