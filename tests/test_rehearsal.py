"""The GPU paths, rehearsed on a CUDA that is a name (see ``fakecuda``): it proves nothing about kernels or times."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fakecuda
import nvml_stub
from bnsuite.record.accept import accept
from bnsuite.record.errors import InputError
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run, Status
from bnsuite.record.store import load, load_run
from conftest import IMAGES, Command, Finished
from fakecuda import coverage


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stub of NVML, as the driver's library."""
    return nvml_stub.compiled(tmp_path_factory.mktemp("nvml"))


class Rehearsal:
    """A process that rehearses, and runs each script in a child of its own, in which nothing has happened."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fakecuda.zygote"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __call__(self, script: str, **variables: str) -> Any:
        """Returns what the expression in the script's last line amounts to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([variables, script])}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-4000:]
        answer = json.loads(line)
        assert "done" in answer, answer["failed"] + self._log.read_text()[-4000:]
        return answer["done"]

    def converse(self, *requests: dict[str, Any], **variables: str) -> list[dict[str, Any]]:
        """Sends requests to a worker process; returns its answers."""
        lines = "".join(f"{json.dumps(one)}\n" for one in requests)
        return list(self(f"REQUESTS = {lines!r}{WORKER}", **variables))

    def end(self) -> str:
        """Ends the process; returns what it wrote to stderr."""
        self._process.communicate()
        return self._log.read_text()


#: The worker's own loop, with a file of its requests and one for its answers.
WORKER = """
import json, os, tempfile
from bnsuite.measure import worker
asked, said = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
asked.write(REQUESTS)
asked.seek(0)
os.dup2(asked.fileno(), 0)
os.dup2(said.fileno(), 1)
worker.main()
said.seek(0)
[json.loads(line) for line in said]
"""


CHOSEN = "op/batch_norm1d/fwd-eval/f32/nc/64x128"
CHECK = "behaviour/peak-memory/batch_norm2d/2x3x128x128/train/default"

#: Variables that a test may set for all children.
KEPT = {coverage.VARIABLE, "FAKE_CUDA_BYTES"}


def _variables(nvml: Path, plays: str = "own", **more: str) -> dict[str, str]:
    """Returns the environment of a child that rehearses, without what the shell says of GPUs."""
    given = ("CUDA_", "NVIDIA_", "BNSUITE_", "FAKE_CUDA_")
    kept = {name: one for name, one in os.environ.items() if not name.startswith(given) or name in KEPT}
    base = {"OMP_NUM_THREADS": "1", "BNSUITE_DATA": str(IMAGES)}
    return {**kept, **fakecuda.variables(nvml, plays=plays, **{**base, **more})}


@pytest.fixture(scope="module")
def ask(nvml: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Runs scripts in children that rehearse."""
    process = Rehearsal(_variables(nvml), tmp_path_factory.mktemp("zygote") / "log.txt")
    yield process
    assert fakecuda.BANNER in process.end()


@pytest.fixture
def rehearse(bnsuite: Command, nvml: Path) -> Command:
    """Runs the real command on a GPU that is a name, without the faulty cases of other tests."""

    def run(*arguments: str, **more: str) -> Finished:
        return bnsuite(*arguments, **{**_variables(nvml), "BNSUITE_CASES": "", **more})

    return run


# Where tensors are


def test_a_tensor_on_the_wrong_device_raises(ask: Rehearsal) -> None:
    """Forward, backward, in place and in a module; a number on the CPU may be anywhere."""
    script = """
def outcome(call):
    try:
        call()
    except RuntimeError as error:
        return "two devices" if "at least two devices, cuda:0 and cpu" in str(error) else str(error)
    return "done"
on, off = torch.ones(3, 3, device="cuda:0"), torch.ones(3, 3)
layer = torch.nn.BatchNorm1d(3).to("cuda:0")
half = torch.nn.BatchNorm1d(3).to("cuda:0")
half.running_mean = torch.zeros(3)
wrong = [lambda: on + off, lambda: on.add_(off), lambda: layer(off), lambda: half(on), lambda: layer(on).backward(off)]
right = [lambda: on + torch.tensor(1.0), lambda: layer(on).backward(on), lambda: on.copy_(off)]
[[outcome(call) for call in calls] for calls in (wrong, right)]
"""
    assert ask(script) == [["two devices"] * 5, ["done"] * 3]


def test_devices_are_answered_as_with_a_gpu(ask: Rehearsal) -> None:
    """Of views, parameters, gradients, copies and states; and a copy on the other device is another memory."""
    script = """
import copy
x = torch.arange(6.0).view(2, 3).to("cuda")
layer = torch.nn.Linear(3, 1, device="cuda:0")
layer(x).sum().backward()
y = x.cpu()
y.zero_()
made = [x, x.t(), x[0], x.detach(), layer.weight, layer.weight.grad, copy.deepcopy(layer).weight]
made += [layer.state_dict()["bias"], torch.zeros_like(x), x.new_ones(2), torch.rand(2, device="cuda")]
host = [y, copy.deepcopy(layer).cpu().weight, torch.zeros_like(x, device="cpu"), x.to("cpu")]
places = [sorted({str(one.device) for one in some}) for some in (made, host)]
[places, x.sum().item(), x.is_cuda, x.device.index]
"""
    assert ask(script) == [[["cuda:0"], ["cpu"]], 15.0, True, 0]


def test_what_is_not_rehearsed_fails_loudly(ask: Rehearsal) -> None:
    """A name of torch.cuda that the rehearsal does not know is no silent success."""
    script = """
try:
    torch.cuda.memory_snapshot()
except NotImplementedError as error:
    told = str(error)
told
"""
    assert ask(script).startswith("torch.cuda.memory_snapshot is not part of the rehearsal")


def test_a_gpu_has_a_generator_of_its_own(ask: Rehearsal) -> None:
    """What is drawn on a GPU leaves the CPU's generator alone, and follows from its own seed."""
    script = """
torch.manual_seed(1)
first = torch.rand(1).item()
torch.manual_seed(1)
torch.rand(5, device="cuda")
torch.nn.functional.dropout(torch.ones(9, device="cuda"))
again = torch.rand(1).item()
torch.cuda.manual_seed_all(3)
drawn = [torch.rand(2, device="cuda").tolist()]
torch.cuda.manual_seed_all(3)
drawn.append(torch.rand(2, device="cuda").tolist())
[first == again, drawn[0] == drawn[1]]
"""
    assert ask(script) == [True, True]


# The order of things


def test_others_are_looked_for_before_the_gpu_is_touched(ask: Rehearsal) -> None:
    """NVML is asked for the processes there before torch makes a context: else a partner's process is foreign."""
    script = """
from fakecuda import runtime
from bnsuite.measure import devices, nvml
from bnsuite.measure.devices import cuda
touched = []
class Presence(nvml.Presence):
    def __init__(self, *arguments, **more):
        touched.append(len(runtime.State.touched))
        super().__init__(*arguments, **more)
nvml.Presence = cuda.nvml.Presence = Presence
from bnsuite.measure import worker
worker.ANSWERS["prepare"]({"trains": False, "heap": 0, "cores": []})
worker.ANSWERS["build"]({"case": "op/batch_norm1d/fwd-eval/f32/nc/64x128", "device": "cuda:0", "seed": 0, "fault": {}})
worker.ANSWERS["time_block"]({"rounds": 2, "iterations": 1, "warm": 0})
done = worker.ANSWERS["release"]({})
[touched, runtime.State.touched[0], done["gpu"] is not None]
"""
    assert ask(script) == [[0], "set_device", True]


def test_the_second_gpu_is_measured_by_itself(ask: Rehearsal) -> None:
    """Both are found with their UUIDs, a case and a check are measured on the second, and nothing lies on the first."""
    on = {"device": "cuda:1"}
    found, built, timed, memory, checked = ask.converse(
        {"do": "devices"},
        {"do": "build", "case": CHOSEN, **on, "seed": 0, "fault": {}},
        {"do": "time_block", "rounds": 2, "iterations": 1, "warm": 0},
        {"do": "measure_memory"},
        {"do": "check", "case": CHECK, **on},
        FAKE_CUDA="2",
        NVML_STUB="own two",
    )
    assert [(one["name"], one["uuid"]) for one in found["done"]["devices"]] == [
        ("cuda:0", "GPU-1234"),
        ("cuda:1", "GPU-1299"),
    ]
    assert built["done"]["skipped"] is None
    assert timed["done"]["held"] is True
    assert memory["done"]["memory"]["allocated_peak_bytes"] > 0
    assert checked["done"]["skipped"] is None
    assert ask(SECOND, FAKE_CUDA="2", NVML_STUB="own two") == [True, 0, True]


SECOND = """
from bnsuite.cases import catalogue
from bnsuite.measure import devices
from bnsuite.measure.timed_case import build
device = devices.get("cuda:1")
device.use()
step = build(catalogue.case("op/batch_norm1d/fwd-eval/f32/nc/64x128"), device)
step()
[torch.ones(1).to("cuda").device.index == 1, torch.cuda.memory_allocated(0), torch.cuda.memory_allocated(1) > 0]
"""


# Time


def test_rounds_are_held_unless_a_step_waits(ask: Rehearsal) -> None:
    """A queue that a step drains by itself can't be held: its elapsed time is taken, and the result says so."""
    script = """
from bnsuite.measure import devices
device = devices.get("cuda:0")
device.use()
x = torch.ones(8, device="cuda")
steps = [lambda: x.add_(1), lambda: x.sum().item()]
timed = [device.time_rounds(step, 3, 2) for step in steps]
paces = [device.pace(step, 1e-3, 5e-3) for step in steps]
[[(one.held, len(one.device_s), len(one.host_s)) for one in timed], [one.held for one in paces]]
"""
    assert ask(script) == [[[True, 3, 3], [False, 3, 3]], [True, False]]


# Graphs


def test_captured_steps_are_played_again(ask: Rehearsal) -> None:
    """The quick checks of the family find torch's layers right, and one that waits for the device they find wrong."""
    script = """
from bnsuite.cases import catalogue
from bnsuite.measure import check, devices
names = ["batch_norm1d/train/float32", "batch_norm2d/waits/momentum=0.1", "batch_norm1d/callable/train"]
device = devices.get("cuda:0")
device.use()
def wrong():
    found = []
    for name in names:
        (seen, skipped), unfit = check.run_on(catalogue.case(f"behaviour/cuda-graphs/{name}"), device)
        assert seen and skipped is None, skipped
        found.append(sorted({str(one.value) for one in seen if check._is_wrong(one)}) + ([unfit] if unfit else []))
    return found
right = wrong()
kind = torch.nn.modules.batchnorm._BatchNorm
plain = kind.forward
def forward(self, x):
    x.sum().item()
    return plain(self, x)
names.pop()
kind.forward = forward
found = wrong()
kind.forward = plain
[right, found]
"""
    right, injected = ask(script)
    assert right == [[], [], []]
    assert injected == [["waits for the device"], ["waits"]]


def test_a_failed_capture_makes_room_for_another_process(ask: Rehearsal) -> None:
    """The check says that the capture failed, the stream is what it was, and the process is used no more."""
    script = """
from bnsuite.cases import catalogue
from bnsuite.cases.checks.behaviour import cuda_graphs
from bnsuite.measure import check, devices
device = devices.get("cuda:0")
device.use()
case = catalogue.case("behaviour/cuda-graphs/batch_norm1d/eval/float32")
kind = torch.nn.modules.batchnorm._BatchNorm
looks, plain = cuda_graphs._waits_for_device, kind.forward
def forward(self, x):
    x.sum().item()
    return plain(self, x)
kind.forward, cuda_graphs._waits_for_device = forward, lambda step: False
(seen, _), unfit = check.run_on(case, device)
kind.forward, cuda_graphs._waits_for_device = plain, looks
[sorted({str(one.value) for one in seen}), unfit, torch.cuda.current_stream() is torch.cuda.default_stream()]
"""
    word, unfit, restored = ask(script)
    assert word in (["AcceleratorError"], ["RuntimeError"])
    assert "stream is capturing" in unfit or "capture" in unfit
    assert restored


# Memory

STEPS = """
import gc
from dataclasses import replace
from importlib.util import find_spec
from bnsuite.cases import all_cases, CheckCase, RatioCase
from bnsuite.cases.distributed import programs
from bnsuite.measure import devices
from bnsuite.measure.devices import device as sizes
from bnsuite.measure.timed_case import build, flush_of
sizes.FLUSHED_BYTES = 1 << 20
programs.BATCHES["resnet18"] = (2, (3, 32, 32), 10)
device = devices.get("cuda:0")
device.use()
chosen = {}
for case in all_cases():
    if not case.gpu_only or isinstance(case, (CheckCase, RatioCase)) or case.execution.value == "compiled":
        continue
    if case.family == "distributed" and case.ranks > 1 or any(find_spec(name) is None for name in case.packages):
        continue
    if LARGE == (case.family == "op"):
        continue
    if case.family == "op":
        case = replace(case, shape=(2, 8, *[4] * (len(case.shape) - 2)))
    elif case.family == "train":
        case = replace(case, batch=2, data=case.data.replace("images-224", "images-32"))
    chosen[case.id] = case
unequal = {}
for case in chosen.values():
    step = build(case, device)
    smoke = case.smoke_step(step)
    flush = flush_of(case, device) or (lambda: None)
    assert flush() is None and smoke() is None
    if not case.long:
        peaks = [device.memory(smoke)["allocated_peak_bytes"] for _ in range(3)]
        if len(set(peaks)) > 1 or (peaks[0] <= 0 and case.execution.value != "graph"):
            unequal[case.id] = peaks
    del step, smoke, flush
    gc.collect()
[sorted({(case.family, case.execution.value) for case in chosen.values()}), unequal, torch.cuda.memory_allocated()]
"""
EXECUTIONS = ["cold", "eager", "graph", "native"]


def test_steps_for_a_gpu_are_built_and_hold_the_same_memory(ask: Rehearsal) -> None:
    """Eager, captured, without cuDNN and cold, on small tensors: two steps, then three equal peaks."""
    kinds, unequal, left = ask(STEPS.replace("LARGE", "False"))
    assert kinds == [["op", execution] for execution in EXECUTIONS]
    assert unequal == {}
    assert left < 1 << 20


BENCHMARKED = """
from dataclasses import replace
from bnsuite.cases import RatioCase, all_cases
from bnsuite.measure import devices, timed_case
device = devices.get("cuda:0")
device.use()
cases = [case for case in all_cases() if isinstance(case, RatioCase) and case.comparison == "benchmark-off-vs-on"]
case = next(case for case in cases if case.numerator.phase == "fwd+bwd")
small = [replace(side, shape=(2, 8, 4, 4)) for side in (case.numerator, case.denominator)]
flags = []
forward = torch.nn.Conv2d.forward
def noted(self, x):
    flags.append(torch.backends.cudnn.benchmark)
    return forward(self, x)
torch.nn.Conv2d.forward = noted
for side in small:
    timed_case.build(side, device)()
[len(cases), flags, [side.execution.value for side in small], torch.backends.cudnn.benchmark]
"""


def test_cudnns_benchmark_is_compared_with_its_own_choice(ask: Rehearsal) -> None:
    """A ratio of blocks of convolution and batch norm in halves: the flag is on in one of the two steps alone."""
    cases, flags, executions, left = ask(BENCHMARKED)
    assert cases == 4
    assert flags == [False, True]
    assert executions == ["eager", "benchmarked"]
    assert not left


@pytest.mark.slow
def test_trainings_for_a_gpu_are_built(ask: Rehearsal) -> None:
    """The same of networks that are too slow for a CPU, on small images, where torchvision is there."""
    pytest.importorskip("torchvision")
    kinds, unequal, _ = ask(STEPS.replace("LARGE", "True"))
    assert [family for family, _ in kinds] == ["distributed", "train"]
    assert unequal == {}


# Errors


def _check(name: str = CHECK) -> dict[str, Any]:
    return {"do": "check", "case": name, "device": "cuda:0"}


def test_memory_that_runs_out_is_one_line(ask: Rehearsal) -> None:
    """It says how much was asked for, how much was free, and what to do."""
    (answer,) = ask.converse(_check(), FAKE_CUDA_BYTES=str(1 << 20))
    assert answer["failed"].startswith("OutOfMemoryError: out of GPU memory: ")
    assert "MiB were asked for" in answer["failed"]
    assert "nvidia-smi" in answer["failed"]


def test_a_gpu_that_another_process_has_is_one_line(ask: Rehearsal) -> None:
    """Exclusive mode: the environment is refused, with what CUDA and the driver say."""
    (answer,) = ask.converse({"do": "environment", "device": "cuda:0"}, FAKE_CUDA_BUSY="1")
    assert answer["done"]["device"] is None
    words = "--device cuda:0: CUDA error: CUDA-capable device(s) is/are busy or unavailable; "
    assert answer["done"]["refused"].startswith(words)
    assert len(answer["done"]["refused"]) > len(words)


def test_a_probe_says_if_a_fresh_process_can_compute(ask: Rehearsal, tmp_path: Path) -> None:
    """A number from the GPU, or why there is none."""
    probe = {"do": "probe", "device": "cuda:0"}
    assert ask.converse(probe) == [{"done": {"trouble": None}}]
    (lost,) = ask.converse(probe, FAKE_CUDA_LOST=str(tmp_path))
    assert "CUDA error: unknown error" in lost["done"]["trouble"]


def test_an_error_that_comes_late_is_of_the_check_that_launched_it(ask: Rehearsal) -> None:
    """The end of a check waits for its work: what fails then is no matter of the next one."""
    script = """
from fakecuda import faults
from bnsuite.cases import catalogue
from bnsuite.measure import check, devices
case, device = catalogue.case("behaviour/peak-memory/batch_norm2d/2x3x128x128/eval/default"), devices.get("cuda:0")
device.use()
plain = device.wait
def wait():
    faults.break_for_good()
    plain()
device.wait = wait
try:
    check.run_on(case, device)
except RuntimeError as error:
    told = str(error)
told
"""
    assert "an illegal memory access" in ask(script)


def test_numbers_are_compared_without_tf32(ask: Rehearsal) -> None:
    """In checks, with cuDNN off inside too; what is timed has torch's default, and the environment says both."""
    script = """
from bnsuite.cases import precision
from bnsuite.measure import devices, environment
device = devices.get("cuda:0")
device.use()
flags = torch.backends.cudnn
flags.allow_tf32 = True  # a check that ran here before had none
told, timed = environment.describe(device)["tf32"], flags.allow_tf32
device.exact()
seen = [flags.allow_tf32, torch.backends.cuda.matmul.allow_tf32]
flags.deterministic = True
with precision.cudnn(enabled=False):
    seen += [flags.allow_tf32, flags.enabled, flags.deterministic]
flags.deterministic, flags.allow_tf32 = False, True
[told, timed, seen, flags.enabled]
"""
    assert ask(script) == [{"checks": False, "timing": True}, True, [False, False, False, False, True], True]


def _outcomes(run: Run) -> list[Status]:
    return [outcome.status for one in run.cases for outcome in one.outcomes.values()]


@pytest.mark.slow
def test_a_sticky_error_costs_one_check(rehearse: Command, tmp_path: Path) -> None:
    """The process that met it is replaced: what was measured stays, the rest is measured. No rehearsal is accepted."""
    broken = tmp_path / "broken"
    done = rehearse(
        *("--device", "cuda:0", "--profile", "full", "-k", "behaviour/peak-memory/batch_norm2d/2x3", "--out", "run"),
        FAKE_CUDA_BREAKS=f"{broken}:20",
    )
    assert broken.exists()
    run = load_run(tmp_path / "run")
    statuses = _outcomes(run)
    assert statuses.count(Status.FAILED) == 1
    assert statuses.count(Status.MEASURED) == len(statuses) - 1 > 3
    assert done.status == 3
    assert "illegal memory access" in done.out
    assert "REHEARSAL" in done.err
    assert "REGRESSED" not in done.out
    assert run.finished
    assert run.environment.rehearsal
    with pytest.raises(InputError, match="rehearsed on a CUDA that is a name"):
        accept([run], tmp_path / "baselines")
    refused = rehearse("calibrate", "run", "--baselines", "own")
    assert refused.status == 2
    assert "was rehearsed on a CUDA that is a name" in refused.err
    assert not (tmp_path / "own").exists()


@pytest.mark.slow
def test_a_lost_gpu_ends_the_run_with_one_line(rehearse: Command, tmp_path: Path) -> None:
    """No process can use it any more: what was measured stays, and the rest is one line, not one failure each."""
    gone = tmp_path / "gone"
    done = rehearse(
        *("--device", "cuda:0", "--profile", "full", "-k", "peak-memory/batch_norm2d/8x64x20x20", "--out", "run"),
        FAKE_CUDA_BREAKS=f"{gone}:60",
        NVML_STUB="own exclusive",  # checks one after the other: a second one at work would fail as well
        FAKE_CUDA_LOST=str(gone),
    )
    run = load_run(tmp_path / "run")
    statuses = _outcomes(run)
    assert statuses.count(Status.MEASURED) >= 1
    assert statuses.count(Status.FAILED) == 1
    assert not run.finished
    left = statuses.count(Status.PENDING)
    assert run.ended_by is not None
    assert run.ended_by.startswith("the GPU was lost (cuda:0): ")
    assert f"; {left} case{'' if left == 1 else 's'} not measured" in run.ended_by
    assert done.status == 3
    assert len([line for line in done.err.splitlines() if "the GPU was lost" in line]) == 1


# From end to end


#: The real command, with as few launches of a comparison as decide anything.
SHORT = """
import sys
from bnsuite.cli import main
from bnsuite.experiments import ab
ab.MAX_LAUNCHES["quick"] = 2
sys.exit(main())
"""


def _bnsuite(nvml: Path, folder: Path, *arguments: str) -> Finished:
    done = subprocess.run(
        [sys.executable, "-c", SHORT, *arguments],
        cwd=folder,
        env=_variables(nvml),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_run_on_a_gpu_comes_to_its_end(nvml: Path, tmp_path: Path) -> None:
    """Times, memory and checks are measured within a budget, the GPU's own time by held rounds; none is called valid.

    What a step launches is skipped, where the profiler sees no kernel.
    """
    chosen = f"{CHOSEN} or (cuda-graphs and waits)"
    done = _bnsuite(nvml, tmp_path, "--device", "cuda:0", "-k", chosen, "--budget", "2h", "--out", "run")
    run = load_run(tmp_path / "run")
    assert run.finished, done.out + done.err
    assert set(_outcomes(run)) == {Status.MEASURED, Status.SKIPPED}, done.out
    assert run.environment.rehearsal
    assert run.environment.gpu is not None
    assert run.environment.gpu.name == "NVIDIA Stub 1"
    (timed,) = [one for one in run.cases if one.timings]
    assert timed.case.id == CHOSEN
    for timing in timed.timings:
        assert timing.held is True
        assert timing.host_s is not None
        assert set(timing.controls_s) == {"copy", "linear", "compute", "launch"}
        assert timing.gpu is not None
        assert not timing.gpu.foreign
    assert done.status == 3
    assert "INVALID" in done.out
    assert "REHEARSAL" in done.err


@pytest.mark.slow
def test_a_comparison_on_a_gpu_comes_to_its_end(nvml: Path, tmp_path: Path) -> None:
    """Both sides are measured by turns; a partner's process is no foreign one."""
    done = _bnsuite(nvml, tmp_path, "ab", ".", ".", "--device", "cuda", "-k", CHOSEN, "--out", "ab")
    folder = tmp_path / "ab"
    times = InterleavedTimes.model_validate_json((folder / "interleaved.json").read_text(encoding="utf-8"))
    (case,) = [one for one in times.cases if one.id == CHOSEN]
    assert len(case.launches) == 2, done.out + done.err
    for side in ("a", "b"):
        run = load(folder / side)
        assert run.finished
        assert run.environment.rehearsal
    assert all("process" not in (launch.disturbed or "") for launch in case.launches)
    assert all(launch.a_host_rounds_s and launch.b_host_rounds_s for launch in case.launches)
    assert done.status == 3


# How much of it was run

#: Modules that only a GPU uses, or folders of them.
MODULES = (
    "cases/checks/behaviour/cuda_graphs.py",
    "cases/checks/numerics/large_tensor.py",
    "cases/gpu_errors.py",
    "measure/devices/cuda.py",
    "measure/devices/held_queue.py",
    "measure/nvml/",
)
#: Words of a condition that tells a GPU from a CPU.
WORDS = ("cuda", "gpu_only", '"cpu"', "'cpu'")


def gpu_only_statements() -> dict[Path, dict[int, range]]:
    """Returns the statements that no CPU runs, by module.

    They are those in functions of MODULES, and of elsewhere what names torch.cuda, or stands under a condition that
    tells the devices apart.
    """
    found = {}
    for path in sorted(p for part in ("measure", "cases") for p in (coverage.SUITE / part).rglob("*.py")):
        statements = coverage.statements(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        whole = str(path.relative_to(coverage.SUITE)).startswith(MODULES)
        lines: set[int] = set()
        for node in ast.walk(tree):
            if whole and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines.update(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
            elif not whole and isinstance(node, ast.If) and any(word in ast.unparse(node.test) for word in WORDS):
                on_gpu = node.orelse if _means_cpu(ast.unparse(node.test)) else node.body
                lines.update(line for one in on_gpu for line in range(one.lineno, (one.end_lineno or 0) + 1))
            elif (
                not whole
                and isinstance(node, (ast.Expr, ast.Assign, ast.Return))
                and "torch.cuda." in ast.unparse(node)
            ):
                lines.add(node.lineno)
        chosen = {line: spans for line, spans in statements.items() if line in lines}
        if chosen:
            found[path] = chosen
    return found


def _means_cpu(test: str) -> bool:
    return ("== 'cpu'" in test or "!= 'cuda'" in test) and " or " not in test


#: Checks whose statements for a GPU no other test here runs: some of each family.
CHECKS = """
from bnsuite.cases import all_cases, CheckCase
from bnsuite.measure import check, devices
device = devices.get("cuda:0")
device.use()
found = {}
for case in all_cases():
    if isinstance(case, CheckCase) and case.child_s is None and any(case.id.endswith(end) for end in ENDS):
        (seen, skipped), unfit = check.run_on(case, device)
        wrong = sorted({str(one.value) for one in seen if check._is_wrong(one)})
        if skipped or unfit or wrong:
            found[case.id] = [wrong, skipped, unfit]
found
"""
ENDS = (
    "cuda-graphs/batch_norm1d/train/float16/cudnn=off",
    "cuda-graphs/batch_norm2d/train/float32/channels-last",
    "cuda-graphs/batch_norm2d/callable/train",
    "cuda-graphs/batch_norm2d/waits/momentum=none",
    "large-batch/n=65535/3/train/cudnn=off",
)

#: What the driver says of GPUs that are not as they should be, and of older drivers.
DRIVERS = (
    "own unsupported",
    "own no-permission",
    "own mig",
    "own uncounted",
    "own throttled thermal xid ecc remapped",
    "host two",
    "own foreign more working",
    "lost",
    "taken",
)
#: What CUDA says where work can't be done, by the variables of faults.py.
FAULTS = ({"FAKE_CUDA_BUSY": "1"}, {"FAKE_CUDA_BYTES": str(1 << 20)})


#: The checks of tensors too large for a CPU, on small ones; and one as it is, in its child, without room for it.
HUGE = """
from bnsuite.cases import Subject
from bnsuite.cases.checks.numerics import large_tensor
from bnsuite.cases.checks.material.other_norms import Norm
from bnsuite.measure import check, devices
device = devices.get("cuda:0")
device.use()
subject = Subject("cuda:0")
seen = []
for shape, layout in (((3, 16, 8, 8), "contiguous"), ((3, 16, 8, 8), "channels-last"), ((65, 16), "contiguous")):
    for training in (True, False):
        seen += large_tensor._huge(subject, shape=shape, training=training, layout=layout)
seen += large_tensor._huge_norm(subject, norm=Norm("layer_norm", (33, 64), 1))
[(one.what, one.value) for one in seen if check._is_wrong(one)]
"""


#: A step that waits for the GPU, whose queue can't be held.
WAITS = """
from bnsuite.measure import devices
device = devices.get("cuda:0")
device.use()
x = torch.ones(8, device="cuda")
[device.time_rounds(lambda: x.sum().item(), 2).held, device.pace(lambda: x.sum().item(), 1e-3, 5e-3).held]
"""


@pytest.mark.slow
def test_most_of_what_only_a_gpu_runs_is_rehearsed(nvml: Path, tmp_path: Path) -> None:
    """At least three quarters of the statements; printed by module. Runs from end to end are not counted."""
    lines = tmp_path / "lines"
    lines.mkdir()
    ask = Rehearsal(_variables(nvml, **{coverage.VARIABLE: str(lines)}), tmp_path / "log.txt")
    assert ask(CHECKS.replace("ENDS", repr(ENDS))) == {}
    ask(STEPS.replace("LARGE", "False"))
    assert ask(HUGE) == []
    ask.converse({"do": "environment", "device": "cuda:7"}, {"do": "devices"}, _check(CHOSEN) | {"do": "kernels"})
    requests = (
        {"do": "gpu", "index": 0},
        {"do": "environment", "device": "cuda"},
        _check(CHOSEN) | {"do": "time_case"},
    )
    for plays in DRIVERS:
        answers = ask.converse(*requests, NVML_STUB=plays)
        assert all("done" in one for one in answers), (plays, answers)
    requests = ({"do": "kernel", "device": "cuda"}, {"do": "environment", "device": "cuda"}, _check())
    for fault in FAULTS:
        assert "failed" in ask.converse(*requests, **fault)[-1], fault
    assert "failed" in ask.converse(*requests, FAKE_CUDA_BREAKS=f"{tmp_path / 'broken'}:20")[-1]
    ask(WAITS)
    ask.end()
    hits = coverage.read(lines)
    total = done = 0
    for path, statements in gpu_only_statements().items():
        missed = [line for line, span in statements.items() if not any((str(path), one) in hits for one in span)]
        total, done = total + len(statements), done + len(statements) - len(missed)
        name = path.relative_to(coverage.SUITE)
        print(f"{name}: {len(statements) - len(missed)} of {len(statements)}; not run: {missed}")
    print(f"GPU-only statements rehearsed: {done} of {total}, {100 * done / total:.1f} %")
    assert done / total >= 0.75
