"""The checks of the Docker engine: its answers by a server on a socket, and the toolkit's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bnsuite.doctor import engine
from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.launch.environments.engine import EngineError, EngineFacts, facts, facts_of
from fake_engine import serving
from fake_host import fake_host, look, shown

CUDA = DoctorRequest(device="cuda")
PLAIN = EngineFacts("28.3.0", "systemd", "2", ("runc",), ())
SPEC = "kind: nvidia.com/gpu\nmounts: /usr/lib/libcuda.so.{}\n"
LOADED = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module  580.65.06  Release\n"}


class Answers(BaseHTTPRequestHandler):
    """An engine that answers every request with the same JSON."""

    info: ClassVar[Any] = {}

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.44", **self.info} if isinstance(self.info, dict) else self.info).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answers]]:
    """The engine that DOCKER_HOST names, for the real SDK."""
    with serving(HTTPServer(("127.0.0.1", 0), Answers), monkeypatch):
        yield Answers
    Answers.info = {}


def engine_host(root: Path, found: EngineFacts, files: dict[str, str] | None = None, *commands: str) -> Host:
    names = {"docker", *commands}
    host = fake_host(root, files)
    return replace(host, engine=lambda: found, which=lambda name: f"/usr/bin/{name}" if name in names else None)


def test_without_a_sign_of_an_engine_none_is_missed(tmp_path: Path) -> None:
    """Neither its command, nor its socket, nor DOCKER_HOST."""
    host = fake_host(tmp_path)
    assert shown(look(engine.SUBJECT, host)["docker-engine"]) == "not-applicable: no Docker engine to ask"
    silent = look(engine.SUBJECT, host, environ={"DOCKER_HOST": "unix:///x"})["docker-engine"]
    assert shown(silent) == "disturbs: no Docker engine answers; start it"


def test_an_engine_that_answers_is_fine(tmp_path: Path) -> None:
    """Its version and its driver of control groups are shown."""
    found = look(engine.SUBJECT, engine_host(tmp_path, PLAIN))
    assert shown(found["docker-engine"]) == "ok: Docker 28.3.0, cgroup driver systemd"
    assert shown(found["container-gpu"]) == "not-applicable: no NVIDIA GPU here, and none asked for"


@pytest.mark.parametrize(
    ("found", "files", "commands", "fix"),
    [
        (PLAIN, {}, (), "install-toolkit"),
        (PLAIN, {}, ("nvidia-ctk",), "configure-toolkit"),
        (replace(PLAIN, runtimes=("nvidia", "runc")), {}, ("nvidia-ctk",), None),
        (replace(PLAIN, cdi_devices=("nvidia.com/gpu=all",)), {}, (), None),
        (replace(PLAIN, cdi_devices=("vendor.com/net=0",)), {}, (), "install-toolkit"),
        (PLAIN, {"etc/cdi/nvidia.yaml": SPEC.format("580.65.06"), **LOADED}, (), "configure-toolkit"),
        (
            replace(PLAIN, cdi_devices=("nvidia.com/gpu=0",)),
            {"var/run/cdi/nvidia.yaml": SPEC.format("550.54.14"), **LOADED},
            (),
            "renew-cdi",
        ),
        (
            replace(PLAIN, cdi_devices=("nvidia.com/gpu=0",)),
            {"var/run/cdi/nvidia.yaml": SPEC.format("580.65.06"), **LOADED},
            (),
            None,
        ),
    ],
)
def test_containers_get_the_gpus_by_the_toolkit_or_by_cdi(
    tmp_path: Path, found: EngineFacts, files: dict[str, str], commands: tuple[str, ...], fix: str | None
) -> None:
    """One of the two must be there, and made for the driver that is loaded."""
    host = engine_host(tmp_path, found, files, *commands)
    assert look(engine.SUBJECT, host, CUDA)["container-gpu"].fix == fix


def test_the_sdk_asks_the_engine(served: type[Answers]) -> None:
    """Runtimes, devices and drivers are those of its answer; an engine before API 1.50 has no devices."""
    served.info = {"ServerVersion": "20.10.24", "CgroupDriver": "cgroupfs", "Runtimes": {"runc": {}, "nvidia": {}}}
    assert facts(30.0) == EngineFacts("20.10.24", "cgroupfs", "", ("nvidia", "runc"), None)
    served.info = {
        "ServerVersion": "28.3.0",
        "CDISpecDirs": ["/etc/cdi"],
        "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
    }
    assert facts(30.0).cdi_devices == ("nvidia.com/gpu=0",)


@pytest.mark.parametrize("info", [[], "x", {"Runtimes": 5, "DiscoveredDevices": ["x"]}])
def test_an_answer_that_is_nonsense_is_one_line(served: type[Answers], info: Any) -> None:
    """Whatever listens there need not be an engine."""
    served.info = info
    with pytest.raises(EngineError) as caught:
        facts(30.0)
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the way to start it."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match="no Docker engine answers; start it"):
        facts(30.0)


def test_fields_of_other_versions_may_be_absent() -> None:
    """As in the answer of another engine that speaks the same API."""
    assert facts_of({}) == EngineFacts("", "", "", (), None)
