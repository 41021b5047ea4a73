"""The ways in which an engine gives a container the GPUs: its runtime or CDI, and what it says where it can't."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

import nvml_stub
from bnsuite.launch.environments import EnvironmentUnavailableError, parse
from bnsuite.launch.environments.engine import explained
from bnsuite.launch.plan import GPU_CHECKERS, GPU_WORKER_BYTES
from bnsuite.launch.process import isolation
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import Worker
from bnsuite.launch.queries import ask_environment
from bnsuite.record.gpu import Gpu, GpuFacts
from conftest import make_run
from fake_engine import serving
from fake_environment import FakeEnvironment, session

DIGEST = f"sha256:{'7' * 64}"
BY_RUNTIME, BY_CDI = ("", -1, None), ("cdi", 0, ["nvidia.com/gpu=all"])
LEGACY = (
    "failed to create task for container: OCI runtime create failed: nvidia-container-runtime-hook: invoking the "
    "NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not supported. Please use the "
    "NVIDIA Container Runtime (e.g. specify the --runtime=nvidia flag) instead"
)
UNRESOLVED = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all"


class Engine(BaseHTTPRequestHandler):
    """An engine that refuses containers by the driver of their request for devices, for the real SDK."""

    protocol_version = "HTTP/1.1"
    server: EngineServer

    def do_GET(self) -> None:
        """Answer questions: it has one image and no container but the last that was made."""
        path = self.path.partition("?")[0]
        if path.endswith("/version"):
            self._say({"ApiVersion": "1.44", "Os": "linux", "Arch": "amd64"})
        elif "/images/" in path:
            labels = {"org.opencontainers.image.base.name": "python:3.12", "org.opencontainers.image.base.digest": ""}
            self._say(
                {
                    "Id": DIGEST,
                    "Os": "linux",
                    "Architecture": "amd64",
                    "Config": {"Env": [], "Labels": labels},
                    "RepoDigests": [f"trainer@{DIGEST}"],
                }
            )
        else:
            self._say([] if path.endswith("/containers/json") else {"Id": "c0"})

    def do_POST(self) -> None:
        """Make, attach and start a container."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path.endswith("/create"):
            asked = json.loads(body)
            self.server.requested.append(asked["HostConfig"]["DeviceRequests"])
            self.server.variables = asked["Env"]
            self._say({"Id": "c0"})
        elif path.endswith("/attach"):
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            self.wfile.flush()
            self.rfile.read(1)  # until the other end closes it
            self.close_connection = True
        else:
            (request,) = self.server.requested[-1]
            refusal = self.server.refusals.get(request["Driver"])
            self._say({"message": refusal} if refusal else None, 500 if refusal else 204)

    def do_DELETE(self) -> None:
        """Remove a container."""
        self._say(None, 204)

    def _say(self, answer: Any, status: int = 200) -> None:
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class EngineServer(ThreadingHTTPServer):
    """The engine's refusals by the driver asked for, and the requests for devices that were made."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Engine)
        self.refusals: dict[str, str] = {}
        self.requested: list[list[dict[str, Any]]] = []
        self.variables: list[str] = []

    @property
    def ways(self) -> list[tuple[Any, ...]]:
        """The driver, count and names of devices of each request."""
        return [(one["Driver"], one["Count"], one["DeviceIDs"] or None) for (one,) in self.requested]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineServer]:
    """The engine that DOCKER_HOST names."""
    with serving(EngineServer(), monkeypatch) as server:
        yield server


@pytest.fixture
def options(tmp_path: Path) -> WorkerOptions:
    return WorkerOptions("worker", tmp_path, tmp_path / "stage", device="cuda")


def test_the_runtime_is_asked_first(engine: EngineServer, options: WorkerOptions) -> None:
    """As by docker run --gpus all; an engine that grants it is asked in no other way."""
    environment = parse("docker:trainer")
    environment.start(options, "t").end()
    environment.close()
    assert engine.ways == [BY_RUNTIME]


@pytest.mark.parametrize(
    "refusal", [LEGACY, 'could not select device driver "" with capabilities: [[gpu]]', UNRESOLVED]
)
def test_an_engine_that_refuses_its_runtime_is_asked_by_cdi(
    engine: EngineServer, options: WorkerOptions, refusal: str
) -> None:
    """Later workers are asked for by CDI at once, and the run says which it was."""
    engine.refusals[""] = refusal
    environment = parse("docker:trainer")
    for _ in range(2):
        environment.start(options, "t").end()
    assert engine.ways == [BY_RUNTIME, BY_CDI, BY_CDI]
    gpu = Gpu(name="g", count=1, capability="9.0", memory_total_bytes=1, driver=None, nvml=None)
    info = environment.described(make_run().environment.model_copy(update={"gpu": gpu}))
    environment.close()
    assert info.image is not None
    assert (info.image.gpus, info.image.id, info.image.digests) == ("cdi", DIGEST, (f"trainer@{DIGEST}",))
    assert (info.image.base, info.image.base_digest) == ("python:3.12", None)  # a digest that nobody saw is not written


def test_two_refusals_are_one_line(engine: EngineServer, options: WorkerOptions) -> None:
    """That of CDI with its fix, as the toolkit's runtime refuses because it is in the mode for CDI."""
    engine.refusals.update({"": LEGACY, "cdi": UNRESOLVED})
    with pytest.raises(EnvironmentUnavailableError) as caught:
        parse("docker:trainer").start(options, "t")
    assert engine.ways == [BY_RUNTIME, BY_CDI]
    assert "unresolvable CDI devices" in str(caught.value)
    assert "nvidia-ctk cdi generate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_error_is_not_tried_again(engine: EngineServer, options: WorkerOptions) -> None:
    """What is no refusal of the GPUs would fail in the other way too."""
    engine.refusals[""] = "no space left on device"
    with pytest.raises(EnvironmentUnavailableError, match=r"the Docker engine says: .*no space left"):
        parse("docker:trainer").start(options, "t")
    assert engine.ways == [BY_RUNTIME]


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "nvidia-ctk runtime configure"),
        (UNRESOLVED, "nvidia-ctk cdi generate"),
        ("failed to inject CDI devices: no such device", "nvidia-ctk cdi generate"),
        (LEGACY, "nvidia-container-runtime.mode=auto"),
        ("nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1", "install driver"),
    ],
)
def test_each_refusal_has_its_fix(said: str, fix: str) -> None:
    """In one line, with the way without a GPU."""
    line = explained(RuntimeError(said))
    assert fix in line
    assert line.endswith("or use --device cpu")


def test_the_order_of_gpus_is_passed_on(
    engine: EngineServer, options: WorkerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number means the same GPU inside only in the same order."""
    chosen = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    environment = parse("docker:trainer")
    environment.start(options, "t").end()
    environment.close()
    assert {f"{name}={value}" for name, value in chosen.items()} <= set(engine.variables)


def facts(uuid: str) -> GpuFacts:
    none = dict.fromkeys(set(GpuFacts.model_fields) - {"uuid", "mig_slice"})
    return GpuFacts.model_validate({**none, "uuid": uuid, "mig_slice": False})


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a library that plays a driver."""
    return str(nvml_stub.compiled(tmp_path_factory.mktemp("nvml")))


@pytest.mark.parametrize(
    ("inside", "plays", "said"),
    [
        ("GPU-1234", "", None),
        ("GPU-1", "", "fake: its cuda:0 is GPU-1, and this machine's is GPU-1234; set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
        ("GPU-1", "no-driver", None),
        ("MIG-1", "", None),
    ],
)
def test_a_gpu_inside_must_be_the_one_outside(
    nvml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, inside: str, plays: str, said: str | None
) -> None:
    """By the UUIDs of both; where one side can't be asked nothing is compared."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", nvml)
    monkeypatch.setenv("NVML_STUB", plays)
    gpu = Gpu(name="g", count=1, capability="9.0", memory_total_bytes=1, driver=None, nvml=facts(inside))
    info = make_run().environment.model_copy(update={"gpu": gpu}).model_dump(mode="json")
    environment = FakeEnvironment(environment=lambda _: {"device": "cuda:0", "environment": info, "refused": None})
    environment.devices_apart = True
    worker = Worker(WorkerOptions("w", tmp_path, tmp_path), environment)
    if said is None:
        assert ask_environment("cuda", worker)[0] == "cuda:0"
    else:
        with pytest.raises(EnvironmentUnavailableError) as caught:
            ask_environment("cuda", worker)
        assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("inside", "plays", "workers"), [("GPU-1234", "", 1), ("GPU-1234", "no-driver", 2), ("MIG-1", "", 2)]
)
def test_as_many_processes_share_a_gpu_as_have_free_memory_there(
    nvml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, inside: str, plays: str, workers: int
) -> None:
    """Memory that another process uses is not free; where NVML does not know the GPU, all of it is."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", nvml)
    monkeypatch.setenv("NVML_STUB", plays)  # 300 bytes are in use
    monkeypatch.setattr(isolation, "pool_cores", lambda *_: [[0], [1]])
    total = 2 * GPU_WORKER_BYTES
    gpu = Gpu(name="g", count=1, capability="9.0", memory_total_bytes=total, driver=None, nvml=facts(inside))
    info = make_run().environment.model_copy(update={"gpu": gpu}).model_dump(mode="json")
    environment = FakeEnvironment(environment=lambda _: {"device": "cuda:0", "environment": info, "refused": None})
    with session(environment, tmp_path / "o") as one:
        assert one.prepare().workers(GPU_CHECKERS) == [[]] * workers


def test_an_engine_without_the_toolkit_says_so(client: docker.DockerClient, tmp_path: Path) -> None:
    """A real one, in one line with the fix; it is asked in both ways, and no container stays."""
    if client.info().get("Runtimes", {}).get("nvidia") or Path("/dev/nvidiactl").exists():
        pytest.skip("there are GPUs here")
    tag = "bnsuite-test:no-gpu"
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("nothing"))
        client.api.import_image_from_data(made.getvalue(), repository=tag.partition(":")[0], tag=tag.partition(":")[2])
    environment = parse(f"docker:{tag}")
    try:
        with pytest.raises(EnvironmentUnavailableError) as caught:
            environment.start(WorkerOptions("w", tmp_path, tmp_path / "stage", device="cuda"), "t")
    finally:
        environment.close()
        with contextlib.suppress(docker.errors.DockerException):
            client.images.remove(tag, force=True)
    assert str(caught.value).startswith(
        f'docker:{tag}: the engine can\'t give it the GPUs (could not select device driver ""'
    )
    assert str(caught.value).endswith("or use --device cpu")
    assert "\n" not in str(caught.value)
