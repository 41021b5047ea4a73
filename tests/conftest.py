"""What several test files share: the real command, faulty cases for it, and runs made by hand."""

from __future__ import annotations

import os

# One thread in the tests' own process: two that share their cores with anything else wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException

from bnsuite.cases.data.images import default_folder
from bnsuite.record.details import Detail
from bnsuite.record.gpu import GpuWatch
from bnsuite.record.renames import with_kind
from bnsuite.record.schema import (
    CaseResult,
    Curve,
    EnvironmentInfo,
    Isolation,
    Memory,
    Observation,
    Outcome,
    PlannedCase,
    Run,
    RunOptions,
    Status,
    Timing,
)

ROOT = Path(__file__).resolve().parents[1]
#: Where MNIST and Fashion-MNIST are, if they are; the tests that need them download nothing.
IMAGES = Path(os.environ.get("BNSUITE_DATA") or default_folder())

#: Cases that misbehave, which every process of a run adds to the real catalogue.
FAULTY_CASES = ROOT / "tests" / "faulty_cases.py"


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen[str]]:
    """Starts the real command in a folder of its own, with the faulty cases in its catalogue."""
    (tmp_path / "path").mkdir()
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "scratch").mkdir()
    environment = {
        **os.environ,
        "BNSUITE_CASES": str(FAULTY_CASES),
        "PYTHONPATH": str(tmp_path / "path"),
        "TMPDIR": str(tmp_path / "scratch"),
    }

    def launch(*arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bnsuite", *arguments],
            cwd=tmp_path,
            env={**environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return launch


@pytest.fixture
def bnsuite(start: Callable[..., subprocess.Popen[str]]) -> Command:
    """Runs the real command to its end."""

    def run(*arguments: str, **more: str) -> Finished:
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=900)  # a lockstep may take all its launches
        return Finished(process.returncode, out, err)

    return run


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    """The Docker engine, where one answers."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, read by the real pip, and a cache of one's own."""
    (tmp_path / "index").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "index"


def timing(
    median_s: float,
    control_s: float = 1e-4,
    copy_s: float | None = None,
    *,
    cpu_share: float | None = 1.0,
    confirms: bool = False,
    gpu: GpuWatch | None = None,
) -> Timing:
    """A launch whose samples have this median."""
    return Timing(
        samples_s=(median_s * 0.98, median_s, median_s * 1.03),
        iterations=1,
        controls_s={"copy": (copy_s or control_s,), "linear": (control_s,)},
        cpu_share=cpu_share,
        memory=Memory(allocated_peak_bytes=1 << 20, rss_peak_bytes=1 << 28),
        confirms=confirms,
        gpu=gpu,
    )


def watched(foreign: int | None = 0, throttled: tuple[str, ...] = (), **more: Any) -> GpuWatch:
    """What NVML saw of a GPU beside so many foreign processes; `more` is by the name of its field."""
    seen = GpuWatch(
        throttled=throttled,
        reasons=throttled,
        foreign=foreign,
        sm_clock_mhz_min=1700,
        sm_clock_mhz_max=1980,
        temperature_c_max=50,
        power_w_max=300.0,
        energy_j=20.0,
        ecc_errors=0,
        used_bytes=1 << 30,
        own_bytes=None,
        samples=3,
        sampling_s=0.001,
        trouble=None,
    )
    return GpuWatch.model_validate({**seen.model_dump(), **more})


def curve(seed: int, *, target_at: float = 3.0, final: float = 0.1, early: float = 0.4, epochs: int = 10) -> Curve:
    """A curve that falls in a straight line through 0.2 after `target_at` epochs and ends at `final`."""
    val = (*(max(final, 1.0 - 0.8 * epoch / target_at) for epoch in range(epochs)), final)
    return Curve(
        seed=seed,
        train_loss=(*(max(final, value) for value in val[1:-1]), final),
        val_loss=val,
        val_accuracy=(0.5,) * (epochs + 1),
        early_loss=early,
    )


def detail(seed: int) -> Detail:
    """What else is known of a seed, as little as there can be."""
    return Detail(
        seed=seed,
        steps_per_epoch=23,
        diverged_epoch=2,
        epoch_s=(0.1, 0.2),
        peak_memory_bytes=1 << 28,
        gradient_norms={"0-Conv2d": (0.5, None)},
        eval_mode=None,
        train_mode=None,
        histograms=(),
        units=(),
        fitted=None,
    )


#: The gates of each family, where it is not timing alone.
GATES = {
    "memory": ("timing", "memory"),
    "train": ("timing", "convergence"),
    "numerics": ("numerics",),
    "behaviour": ("behaviour",),
}


def described(name: str) -> tuple[str, dict[str, str]]:
    """The kind and the labels of a case, as the catalogue would give them."""
    family, *words = name.split("/")
    if family in {"numerics", "behaviour"}:
        return "check", {"gate": family, "family": words[0]}
    if family == "train":
        settings = dict(setting.partition("=")[::2] for setting in words[2:])
        return "training", {"data": "", **dict(zip(("workload", "norm"), words, strict=False)), **settings}
    return {"ratio": "ratio", "op": "layer"}.get(family, "workload"), {}


def result(
    name: str,
    *,
    timings: tuple[Timing, ...] = (),
    curves: tuple[Curve, ...] = (),
    version: int = 1,
    outcomes: dict[str, Outcome] | None = None,
    bounds: dict[str, float] | None = None,
    observations: tuple[Observation, ...] = (),
) -> CaseResult:
    """A case with what was measured of it."""
    family = name.split("/", 1)[0]
    gates = GATES.get(family, ("timing",))
    described = with_kind({"id": name, "family": family, "dataset": None, "cuda_only": False})
    measured = {family: observations, "timing": timings, "memory": timings, "convergence": curves}
    return CaseResult(
        case=PlannedCase(
            id=name,
            kind=described["kind"],
            labels=described["labels"],
            family=family,
            version=version,
            gates=gates,
            profiles=("quick", "full"),
            nbytes=1 << 20,
            dataset=None,
            target=0.2 if "convergence" in gates else None,
            gpu_only=False,
            lacks=(),
            to_download=False,
            rule=None,
            threads=(),
            bounds=bounds or {},
            limit_s=None,
        ),
        outcomes=outcomes
        or {gate: Outcome(status=Status.MEASURED if measured[gate] else Status.PENDING) for gate in gates},
        timings=timings,
        curves=curves,
        observations=observations,
    )


def make_run(*results: CaseResult, threads: int = 1, finished: bool = True, select: str | None = None) -> Run:
    """A finished quick CPU run of these cases."""
    return Run(
        schema=Run.SCHEMA,
        bnsuite="0.1.0",
        revision="0123456789ab",
        started="2026-01-02T03:04:05+00:00",
        wall_s=42.0,
        finished=finished,
        ended_by=None if finished else "interrupted",
        options=RunOptions(
            device="cpu",
            profile="quick",
            select=select,
            launches=3,
            seeds=(0, 1, 2),
            threads=threads,
            timeout_s=60.0,
            implementation=None,
        ),
        device="cpu",
        environment=EnvironmentInfo(
            python="3.12.1",
            implementation="cpython",
            system="Linux x86_64",
            libc="glibc 2.36",
            packages={"torch": "2.14.1"},
            torch_git=None,
            cuda=None,
            cudnn=None,
            cpu="Some CPU (1/2/3)",
            cpu_capability="AVX2",
            cores_given=2,
            threads=threads,
            gpu=None,
            flags={"cudnn_enabled": True},
            variables={},
        ),
        isolation=Isolation(variables={}, timed_cores=(1,)),
        cases=results,
    )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch computes on one thread: curves were accepted so."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
