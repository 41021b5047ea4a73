"""The real image, through the docker SDK: `make image image-test`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import ImageNotFound

from bnsuite import __version__
from conftest import ROOT

if TYPE_CHECKING:
    import docker

#: As a cluster would run it: no network, nothing writable but /tmp.
LOCKED_UP: dict[str, Any] = {"network_mode": "none", "read_only": True, "tmpfs": {"/tmp": "exec"}, "detach": True}  # noqa: S108


@pytest.fixture(scope="module")
def image(client: docker.DockerClient) -> Any:
    name = os.environ.get("BNSUITE_IMAGE")
    if not name:
        pytest.skip("BNSUITE_IMAGE names no image; `make image image-test` builds and tests one")
    try:
        return client.images.get(name)
    except ImageNotFound:
        pytest.fail(f"there is no image {name}; `make image` builds one")


@pytest.fixture
def run(client: docker.DockerClient, image: Any) -> Iterator[Any]:
    """Runs the image to its end: exit status, stdout, stderr."""
    containers = []

    def to_end(*arguments: str, **more: Any) -> tuple[int, str, str]:
        container = client.containers.run(image.id, list(arguments), **{**LOCKED_UP, **more})
        containers.append(container)
        status = container.wait(timeout=600)["StatusCode"]
        out, err = (container.logs(stdout=first, stderr=not first).decode() for first in (True, False))
        return status, out, err

    yield to_end
    for container in containers:
        container.remove(force=True, v=True)


def test_the_quick_check(run: Any) -> None:
    """`docker run bnsuite --device cpu`, locked up: the table, nothing wrong, accepted curves to the last bit.

    Times that a busy machine has made INVALID say nothing of the image.
    """
    status, out, err = run("--device", "cpu", "--all")
    print(out)
    wrong = [line for line in out.splitlines() if re.search("REGRESSED|FAILED|MISSING", line)]
    disturbed = "INVALID timing" in out
    assert wrong == [], err
    assert status == (3 if disturbed else 0), err
    assert disturbed or "nothing wrong" in out.splitlines()[-1]
    assert len(re.findall(r"^train/.* (?:loss identical|(?:loss|target|rate) [+-])", out, re.MULTILINE)) == 8


def test_results_leave_through_a_mount(run: Any, image: Any, tmp_path: Path) -> None:
    """-v DIR:/results, as the user who owns DIR."""
    mount = {str(tmp_path): {"bind": "/results", "mode": "rw"}}
    status, out, err = run(
        "--device", "cpu", "-k", "op/batch_norm1d", volumes=mount, user=f"{os.getuid()}:{os.getgid()}"
    )
    assert status in {0, 3}, out + err  # 3: beside a busy process its launches are INVALID, and leave all the same
    recorded = json.loads((tmp_path / "run.json").read_text())
    assert recorded["revision"] == image.attrs["Config"]["Labels"]["org.opencontainers.image.revision"]
    assert recorded["environment"]["packages"]["torch"] == "2.14.1"
    assert recorded["environment"]["cuda"] == "13.0"
    labels = image.attrs["Config"]["Labels"]
    assert recorded["environment"]["image"]["base"] == labels["org.opencontainers.image.base.name"]
    assert recorded["environment"]["image"]["base_digest"] == labels.get("org.opencontainers.image.base.digest")
    assert (tmp_path / "report.md").exists()


def test_a_mount_that_cannot_be_written_is_told(run: Any, tmp_path: Path) -> None:
    """Somebody else's folder, and one mounted read-only: one line each, with the fix."""
    for mode, user, said in (
        ("rw", "nobody", "Permission denied; make it writable for this user (in a container: docker run --user "),
        ("ro", "root", "Read-only file system; mount it writable (docker run -v DIR:/results), or "),
    ):
        mount = {str(tmp_path): {"bind": "/results", "mode": mode}}
        status, out, err = run("--device", "cpu", volumes=mount, user=user)
        assert (status, out) == (2, "")
        assert err.startswith(f"bnsuite: /results: cannot be written to: {said}")
        assert err.count("\n") == 1


def test_baselines_are_accepted_into_a_mount_alone(run: Any, tmp_path: Path) -> None:
    """What would end with the container is refused, with the way that keeps it; known deviations stay known."""
    for name in ("results", "baselines"):
        (tmp_path / name).mkdir()
    user = f"{os.getuid()}:{os.getgid()}"
    results = {str(tmp_path / "results"): {"bind": "/results", "mode": "rw"}}
    chosen = ("--device", "cpu", "-k", "numerics/strides or behaviour/checkpoint")
    assert run(*chosen, volumes=results, user=user)[0] == 0
    for owner in (user, "root"):
        status, _, err = run("accept", volumes=results, user=owner)
        assert status == 2
        assert "belongs to the image, and ends with the container; mount a folder and name it (docker run -v" in err
    both = {**results, str(tmp_path / "baselines"): {"bind": "/baselines", "mode": "rw"}}
    status, out, err = run("accept", "--baselines", "/baselines", volumes=both, user=user)
    assert status == 0, out + err
    assert (tmp_path / "baselines" / "checks" / "cpu.jsonl").exists()
    status, out, err = run(*chosen, "--baselines", "/baselines", volumes=both, user=user)
    assert status == 0, out + err
    assert "known deviation (pinned)" in out


def test_no_gpu_is_told_in_one_line(run: Any) -> None:
    """Why, and what to do: the driver, the toolkit, --gpus all."""
    status, out, err = run("--device", "cuda")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    for word in ("driver", "NVIDIA Container Toolkit", "--gpus all", "--device cpu"):
        assert word in err


def test_docker_stop_ends_it_in_order(client: docker.DockerClient, image: Any) -> None:
    """SIGTERM is Ctrl-C: status 3, and the table of what there was."""
    container = client.containers.run(
        image.id, ["--device", "cpu", "--profile", "full", "-k", "op/batch_norm"], **LOCKED_UP
    )
    try:
        for line in container.logs(stream=True, stderr=True):
            if b"timing" in line:
                break
        container.stop(timeout=20)
        assert container.wait()["StatusCode"] == 3
        assert "not measured as asked (interrupted)" in container.logs(stderr=False).decode()
    finally:
        container.remove(force=True, v=True)


def test_what_it_is_made_of(image: Any) -> None:
    """A user without rights, labels, what NVIDIA's runtime reads, no shell between `docker run` and the command."""
    config = image.attrs["Config"]
    assert config["User"] == "bnsuite"
    assert config["Entrypoint"] == ["bnsuite"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", config["Labels"]["org.opencontainers.image.revision"])
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    base, _, digest = environment["BNSUITE_BASE"].partition("@")
    assert config["Labels"]["org.opencontainers.image.base.name"] == base
    assert config["Labels"].get("org.opencontainers.image.base.digest", "") == digest
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_its_packages_are_those_of_the_lock(client: docker.DockerClient, image: Any) -> None:
    """Every version in the image is the lock's, and nothing else is installed."""
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}'.lower() for d in m.distributions()))"
    said = client.containers.run(image.id, ["-c", code], entrypoint="python", remove=True, user="nobody").decode()
    installed = {name.replace("_", "-") for name in said.split()}
    lock = (ROOT / "requirements" / "bench.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9._-]+==[^ ;]+)", lock, re.MULTILINE))
    assert {name for name in installed if not name.startswith(("bnsuite==", "pip=="))} <= locked
    assert {"torch==2.14.1", "torchvision==0.29.1"} <= installed
    assert any(name.startswith("nvidia-cudnn-cu13==9.24.") for name in installed)


def test_the_doctor_sees_the_limits_of_its_container(run: Any) -> None:
    """Quota, cores and memory of the container, and not those of the machine."""
    limits = {"nano_cpus": 1_500_000_000, "cpuset_cpus": "0", "mem_limit": "1g"}
    status, out, err = run("doctor", "--json", **limits)
    assert status == 1, err
    states = {one["name"]: one["state"] for one in json.loads(out)["checks"]}
    assert {states[name] for name in ("cpu-quota", "cores", "memory-limit")} == {"disturbs"}
