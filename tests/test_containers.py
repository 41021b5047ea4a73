"""Images as places for workers, in real containers: `make image image-test`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

from bnsuite.cases import profile
from bnsuite.launch.datasets import ask_stage
from bnsuite.launch.environments import image as image_site
from bnsuite.launch.environments import parse
from bnsuite.launch.environments.engine import COORDINATOR, labels
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import Catalogue, CheckAnswer, TrainingAnswer
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import RequestFailedError, Worker
from bnsuite.launch.queries import ask_environment
from bnsuite.record.errors import InputError
from conftest import ROOT
from wrong_torch import WRONG

START = {"do": "start"}
CATALOGUE = {"do": "catalogue", "profile": "quick"}


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it holds within a few seconds."""
    for _ in range(100):
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_a_worker_in_an_image_answers_as_one_here(client: Any, base: str, worker: Any, tmp_path: Path) -> None:
    """The catalogue, the place, and a training to the last bit, on the same data; nothing is left."""
    request = {"do": "curve", "case": "train/synthetic-mlp/bn/lr=0.01", "seed": 3, "device": "cpu"}
    there, here = worker(f"docker:{base}"), worker(".")
    assert ask_stage(["synthetic"], tmp_path / "stage", None, worker(".")) == {}
    assert len(there.ask(CATALOGUE, Catalogue, 60).cases) == len(profile("quick"))
    assert there.ask(request, TrainingAnswer, 120).curve == here.ask(request, TrainingAnswer, 120).curve
    device, environment = ask_environment("cpu", there)
    assert (device, environment.threads) == ("cpu", 1)
    assert int(environment.variables["MALLOC_MMAP_THRESHOLD_"]) > 1 << 30
    there.end()
    assert soon(lambda: not ours())


@pytest.fixture(scope="module")
def base(client: docker.DockerClient) -> Iterator[str]:
    """An image that has torch; by a tag of its own, since an image without one goes with the last made from it."""
    name = os.environ.get("BNSUITE_IMAGE")
    if not name:
        pytest.skip("BNSUITE_IMAGE names no image; `make image image-test` builds and tests one")
    tag = f"bnsuite-test:{os.getpid()}"
    client.images.get(name).tag(tag)
    yield tag
    client.images.remove(tag, noprune=True)


@pytest.fixture
def image(client: docker.DockerClient, base: str) -> Iterator[Callable[..., str]]:
    """Makes an image from the base: more lines of a Dockerfile, and modules that come before its own, as torch may."""
    made = []

    def build(*lines: str, **files: str) -> str:
        context = io.BytesIO()
        dockerfile = "\n".join([f"FROM {base}", "COPY *.py /faults/", "ENV PYTHONPATH=/faults", *lines])
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, text in {**{f"{name}.py": text for name, text in files.items()}, "_.py": ""}.items():
                add(tar, name, text)
            add(tar, "Dockerfile", dockerfile)
        context.seek(0)
        built, _ = client.images.build(fileobj=context, custom_context=True, forcerm=True, network_mode="none")
        made.append(built.id)
        return f"docker:{built.id}"

    yield build
    for one in made:
        client.images.remove(one, force=True)


def add(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Makes workers in the environment that is written so."""
    made: list[tuple[Worker, Any]] = []

    def start(
        text: str,
        *,
        device: str = "cpu",
        implementation: str | None = None,
        cases: tuple[str, ...] = (),
        workloads: tuple[str, ...] = (),
    ) -> Worker:
        site = parse(text)
        options = WorkerOptions(
            f"worker-{len(made)}",
            tmp_path,
            tmp_path / "stage",
            implementation=implementation,
            cases=cases,
            workloads=workloads,
            device=device,
        )
        worker = Worker(options, site)
        made.append((worker, site))
        return worker

    yield start
    for worker, site in made:
        worker.end()
        site.close()


def ours() -> list[str]:
    """The containers of this process that there are, ended ones too."""
    mine = labels("")[COORDINATOR]
    with contextlib.closing(docker.from_env()) as client:
        return [one["Id"] for one in client.api.containers(all=True, filters={"label": f"{COORDINATOR}={mine}"})]


FACTS = """
import json, os
def can_write(folder):
    try:
        open(folder + "/x", "w").close()
        return True
    except OSError:
        return False
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
raise RuntimeError(json.dumps({
    "user": os.getuid(),
    "writable": [one for one in ("/", "/tmp", "/bnsuite/inner", "/bnsuite/stage", "/opt") if can_write(one)],
    "network": os.listdir("/sys/class/net"),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "exec": "noexec" not in next(line for line in open("/proc/mounts") if " /tmp " in line),
    "inner": sorted(os.listdir("/bnsuite/inner/bnsuite")),
    "home": os.environ["HOME"],
    "token": "BNSUITE_TOKEN" in os.environ,
}))
"""


def test_a_container_is_cut_off(image: Any, worker: Any) -> None:
    """No root, no network, nothing to write to but /tmp, no capability; of ours only the inner half is there."""
    with pytest.raises(RequestFailedError) as caught:
        worker(image(torch=FACTS)).ask(START, Catalogue, 60)
    facts = json.loads(str(caught.value).partition(": ")[2])
    assert facts.pop("user") not in {0, None}
    assert facts == {
        "writable": ["/tmp"],  # noqa: S108  # the container's own
        "network": ["lo"],
        "capabilities": 0,
        "no_new_privileges": "1",
        "exec": True,
        "inner": ["__init__.py", "cases", "measure"],
        "home": "/tmp",  # noqa: S108  # likewise
        "token": False,
    }


NOISY = "import os\nos.write(1, b'hello\\n{}\\nno end')\nos.write(2, b'to stderr\\n')"


def test_noise_in_an_image_is_no_answer(image: Any, worker: Any, tmp_path: Path) -> None:
    """What its sitecustomize prints goes to the logs."""
    one = worker(image(sitecustomize=NOISY))
    assert one.ask(CATALOGUE, Catalogue, 60).cases
    one.end()
    assert "no end" in (tmp_path / "worker-0-noise.txt").read_text()
    assert "to stderr" in (tmp_path / "worker-0.txt").read_text()


@pytest.mark.parametrize(
    ("files", "lines", "said"),
    [
        ({"torch": "raise ModuleNotFoundError(\"No module named 'torch'\")"}, (), ": torch is not installed there; "),
        (
            {"torch": "import os; os.kill(os.getpid(), 11)"},
            (),
            ": no worker starts there: the process was ended by S",
        ),
        (
            {"torch": "import os; os.kill(os.getpid(), 9)"},
            (),
            "was ended by SIGKILL; the kernel ends processes so",
        ),
        ({"torch": "import os; os.write(2, b'no licence\\n'); os._exit(3)"}, (), "ended with status 3: no licence"),
        (
            {},
            ("USER root", "RUN mkdir /only && ln -s /bin/sh /only/sh", "ENV PATH=/only"),
            "ended with status 127: there is neither python nor python3 on the image's PATH",
        ),
        ({}, ("ENV PATH=/nowhere",), ": has no sh, by which its Python is found; name an image that has one"),
        (
            {"sitecustomize": "import sys; sys.version_info = (3, 8, 1, 'final', 0)"},
            (),
            "ended with status 1: bnsuite needs Python 3.10 or newer; this is 3.8.1",
        ),
    ],
    ids=["no torch", "signal", "killed", "status", "no python", "no sh", "old"],
)
def test_an_image_that_cannot_be_judged_is_told(
    image: Any, worker: Any, files: dict[str, str], lines: tuple[str, ...], said: str
) -> None:
    """In one line, and nothing is left."""
    one = worker(image(*lines, **files))
    with pytest.raises(InputError) as caught:
        ask_environment("cpu", one)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert soon(lambda: not ours())


def test_memory_that_runs_out_is_told(image: Any, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much there was."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(image_site, "MEMORY_SHARE", (256 << 20) / total)
    monkeypatch.setattr(image_site, "SHM_BYTES", 16 << 20)
    with pytest.raises(ChildError, match=r"^memory ran out: the container may use 0\.2 GiB$"):
        worker(image(torch="x = bytearray(1 << 30)\nfor at in range(0, len(x), 4096): x[at] = 1")).ask(
            START, Catalogue, 60
        )


def test_a_user_s_own_layer_comes_along(base: str, worker: Any, tmp_path: Path) -> None:
    """From its file, with what lies beside it; one that can't be imported is told as anywhere."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "layer.py").write_text("from torch.nn import BatchNorm2d as factory\n")
    file = tmp_path / "mine" / "layer.py"
    assert ask_environment("cpu", worker(f"docker:{base}", implementation=f"{file}:factory"))[0] == "cpu"
    with pytest.raises(InputError, match="has no callable 'other'"):
        ask_environment("cpu", worker(f"docker:{base}", implementation=f"{file}:other"))


def test_a_user_s_own_cases_come_along(base: str, worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From their files, with what lies in the current folder; they are found and looked at as anywhere."""
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.chdir(mine)
    (mine / "helper.py").write_text(
        "from bnsuite.cases import Observation\ndef observe(subject):\n    yield Observation('a', 1.0, limit=2.0)\n"
    )
    (mine / "own.py").write_text(
        "import helper\nfrom bnsuite.cases import NumericsCase\n"
        "MINE = [NumericsCase(group='own', name='x', observe=helper.observe, rule='r', quick=True)]\n"
    )
    there = worker(f"docker:{base}", cases=(f"{mine / 'own.py'}:MINE",))
    assert there.ask(CATALOGUE, Catalogue, 60).cases[-1].id == "numerics/own/x"
    request = {"do": "check", "case": "numerics/own/x", "seed": 0, "device": "cpu"}
    assert [one.what for one in there.ask(request, CheckAnswer, 60).observations] == ["a"]


def test_a_workload_comes_along(base: str, worker: Any) -> None:
    """The folder of its file is mounted; nothing of it is imported to list its cases."""
    there = worker(f"docker:{base}", workloads=(str(ROOT / "examples" / "workloads" / "transformer.py"),))
    ids = [one.id for one in there.ask(CATALOGUE, Catalogue, 60).cases]
    assert {"workload/transformer/forward", "workload/transformer/step"} <= set(ids)


def test_the_image_that_brought_a_change_is_found(client: Any, image: Any, tmp_path: Path) -> None:
    """Of five monthly images of one repository the third has a wrong batch norm, and so have those after it."""
    repository = f"bnsuite-test-{os.getpid()}/monthly"
    tags = [f"{repository}:2025-{month:02}" for month in range(1, 6)]
    for place, tag in enumerate(tags):  # a tag goes with its image
        built = image(f"ENV MONTH={place}", sitecustomize=WRONG if place >= 2 else "")
        client.images.get(built.removeprefix("docker:")).tag(tag)
    arguments = ["--good", f"docker:{tags[0]}", "--bad", f"docker:{tags[-1]}", "-k", "numerics/ref and eval/eps"]
    done = subprocess.run(
        [sys.executable, "-m", "bnsuite", "bisect", *arguments, "--device", "cpu", "--out", str(tmp_path / "o")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert f"docker:{tags[2]} is the first bad one (REGRESSED numerics of numerics/reference/" in done.stdout
    answer = json.loads((tmp_path / "o" / "bisect.json").read_text())
    assert (answer["last_good"], answer["first_bad"]) == (f"docker:{tags[1]}", f"docker:{tags[2]}")
    assert answer["environments"] == [f"docker:{tag}" for tag in tags]
    assert all((tmp_path / "o" / step["folder"] / "interleaved.json").exists() for step in answer["steps"])


def test_an_image_that_is_not_there_is_told(client: Any) -> None:
    with pytest.raises(InputError) as caught:
        parse("docker:nobody/has-this:1").prepare()
    assert str(caught.value) == (
        "docker:nobody/has-this:1: the Docker engine has no image nobody/has-this:1; docker pull nobody/has-this:1"
    )


def test_an_image_for_another_processor_is_told(client: Any) -> None:
    """Before it is started; where it could be emulated its times would mean nothing."""
    tar_bytes = io.BytesIO()
    config = {"architecture": "s390x", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    manifest = [{"Config": "config.json", "RepoTags": ["bnsuite-test:s390x"], "Layers": []}]
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        add(tar, "config.json", json.dumps(config))
        add(tar, "manifest.json", json.dumps(manifest))
    client.images.load(tar_bytes.getvalue())
    try:
        with pytest.raises(InputError, match=r"^docker:bnsuite-test:s390x: is made for linux/s390x, and this machine "):
            parse("docker:bnsuite-test:s390x").prepare()
    finally:
        client.images.remove("bnsuite-test:s390x", force=True)


def test_gpus_that_cannot_be_had_are_told(client: Any, base: str, worker: Any) -> None:
    """Where the engine has no runtime for them."""
    if client.info().get("Runtimes", {}).get("nvidia") or Path("/dev/nvidiactl").exists():
        pytest.skip("there are GPUs here")
    with pytest.raises(InputError, match=r"the engine can't give it the GPUs \(.*\); install .*, or use --device cpu"):
        worker(f"docker:{base}", device="cuda").ask(START, Catalogue, 60)
    assert soon(lambda: not ours())


COORDINATE = """
import sys, time
from pathlib import Path
from bnsuite.launch.environments import parse
from bnsuite.launch.process.messages import Catalogue
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.worker import Worker
site, scratch = parse(sys.argv[1]), Path(sys.argv[2])
worker = Worker(WorkerOptions("w", scratch, scratch / "stage"), site)
worker.ask({"do": "catalogue", "profile": "quick"}, Catalogue, 60)
print("ready", flush=True)
worker.ask({"do": "start"}, Catalogue, 600)
"""


def test_a_container_does_not_outlive_the_coordinator(client: Any, image: Any, tmp_path: Path) -> None:
    """Even one that hangs ends, and is removed, when the coordinator is killed outright."""
    name = image(torch="import time; time.sleep(600)")
    command = [sys.executable, "-c", COORDINATE, name, str(tmp_path)]
    coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    assert coordinator.stdout.readline() == "ready\n"
    (container,) = [
        one["Id"]
        for one in client.api.containers(filters={"label": COORDINATOR})
        if one["Labels"][COORDINATOR].startswith(f"{coordinator.pid}-")
    ]
    time.sleep(1)
    coordinator.kill()
    coordinator.wait()
    assert soon(lambda: not client.api.containers(all=True, filters={"id": container}))


def test_a_worker_is_ended_from_another_thread(client: Any, image: Any, worker: Any) -> None:
    """As Ctrl-C does it: the request under way fails at once, and nothing is left."""
    one = worker(image(torch="import time; time.sleep(600)"))
    assert one.ask(CATALOGUE, Catalogue, 60).cases
    threading.Timer(1.0, one.close).start()
    with pytest.raises(ChildError, match="SIGKILL"):
        one.ask(START, Catalogue, 600)
    assert soon(lambda: not ours())


def test_what_a_dead_coordinator_left_is_swept(client: Any, base: str) -> None:
    """And what a living one has started stays."""
    mark = labels("")
    dead = {**mark, COORDINATOR: "4194303-1"}
    left, kept = (client.containers.create(base, ["true"], labels=one) for one in (dead, mark))
    try:
        parse(f"docker:{base}").prepare()
        with pytest.raises(APIError):
            left.reload()
        kept.reload()
    finally:
        for one in (left, kept):
            with contextlib.suppress(APIError):
                one.remove(force=True, v=True)
