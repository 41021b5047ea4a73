"""Checks of the Docker engine, and of its way to the GPUs: NVIDIA Container Toolkit or CDI."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bnsuite.doctor.gpu import has_gpu, loaded_driver
from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, disturbs, fine, not_applicable
from bnsuite.launch.environments.engine import EngineError, EngineFacts

#: Where descriptions of devices lie by default, and the kind of those of NVIDIA's GPUs.
CDI_FOLDERS, CDI_KIND = ("etc/cdi", "var/run/cdi"), "nvidia.com/gpu"
#: The library that names the driver for which a description was made.
LIBRARY = re.compile(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class ContainerFacts:
    """The host, and its engine or the reason why it does not answer; neither where there is no sign of one."""

    host: Host
    request: DoctorRequest
    engine: EngineFacts | None
    error: str | None


def probe(host: Host, request: DoctorRequest) -> ContainerFacts:
    """Asks the engine, if there is a sign of one: its command, its socket, or DOCKER_HOST."""
    signs = (host.which("docker"), host.there("var/run/docker.sock"), host.environ.get("DOCKER_HOST"))
    if not any(signs):
        return ContainerFacts(host, request, None, None)
    try:
        return ContainerFacts(host, request, host.engine(), None)
    except EngineError as error:
        return ContainerFacts(host, request, None, str(error))


def docker_engine(facts: ContainerFacts) -> Result:
    """Images can be measured only if the engine answers."""
    if facts.engine is not None:
        return fine(version=facts.engine.version, cgroup_driver=facts.engine.cgroup_driver)
    if facts.error is None:
        return not_applicable("no-engine")
    return disturbs("start-engine", error=facts.error)


def container_gpu(facts: ContainerFacts) -> Result:
    """The engine needs the toolkit's runtime, or descriptions of the devices, to give a container the GPUs."""
    if not has_gpu(facts.host, facts.request):
        return not_applicable("no-gpu")
    if facts.engine is None:
        return not_applicable("no-engine")
    host = facts.host
    specs = {
        path: text
        for folder in CDI_FOLDERS
        for pattern in ("*.yaml", "*.json")
        for path in host.names(folder, pattern)
        if CDI_KIND in (text := host.text(path) or "")
    }
    devices = [one for one in facts.engine.cdi_devices or () if one.startswith(CDI_KIND)]
    toolkit = next(filter(None, map(host.which, ("nvidia-ctk", "nvidia-container-runtime-hook"))), None)
    runtime = "nvidia" in facts.engine.runtimes
    observed = {"runtime": runtime, "cdi_devices": len(devices), "cdi_specs": len(specs), "toolkit": bool(toolkit)}
    if not (runtime or devices or specs or toolkit):
        return disturbs("install-toolkit", **observed)
    driver = loaded_driver(host)
    stale = [f"/{path}" for path, text in specs.items() if driver and _other_driver(text, driver)]
    if stale:
        return disturbs("renew-cdi", **observed, specs=[*stale], driver=driver)
    if not (runtime or devices):
        return disturbs("configure-toolkit", **observed)
    return fine(**observed)


def _other_driver(text: str, driver: str) -> bool:
    """Returns True if a description of devices is that of another driver."""
    named = set(LIBRARY.findall(text))
    return bool(named) and driver not in named


SUBJECT = Subject("engine", probe, {"docker-engine": docker_engine, "container-gpu": container_gpu})
