"""Workloads of a user's own: what a file declares, the cases made of it, and what their checks find."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsuite.cases import CatalogueError, CheckNotApplicableError, Subject, all_cases
from bnsuite.cases.workload import VARIABLE, cases_of, declared, material
from bnsuite.cases.workload.declared import Kind
from bnsuite.cases.workload.state import WorkloadError
from bnsuite.judge.checks import _wrong
from bnsuite.measure.devices import get
from bnsuite.measure.timed_launch import time_case
from bnsuite.record.schema import Observation
from conftest import ROOT, Command
from test_catalogue import ask

EXAMPLES = ROOT / "examples" / "workloads"
HEAD = "import torch\nfrom torch import nn\n"
#: A small module in KernelBench's form, to be filled with a class.
FORM = HEAD + "{body}\ndef get_inputs():\n    return [torch.rand(6, 4)]\ndef get_init_inputs():\n    return [4]\n"
LINEAR = """
class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 3)
    def forward(self, x):
        return {forward}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of a user's."""

    def written(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def linear(forward: str = "self.layer(x)") -> str:
    """A module in KernelBench's form whose forward pass is this expression."""
    return FORM.format(body=LINEAR.format(forward=forward))


def observed(path: Path, name: str, symbol: str | None = None) -> dict[str, Any]:
    """What a check of a workload sees, by name, as a word for right and wrong."""
    case: Any = next(one for one in cases_of(declared(path, symbol)) if one.id.endswith(f"/{name}"))
    seen = list(case.observe(Subject("cpu")))
    return {one.what: one for one in seen}


def is_wrong(one: Any) -> bool:
    """Whether an observation is wrong whatever was accepted."""
    return one.value != one.expected if one.expected is not None else one.limit is not None and one.value > one.limit


@pytest.mark.parametrize(
    ("text", "name", "kind", "word"),
    [
        (linear(), None, Kind.MODULE, "mine"),
        (linear(), "Model", Kind.MODULE, "mine"),
        ("def step():\n    return lambda: None\n", None, Kind.STEP, "mine"),
        (
            "def train_step():\n    return lambda: None\ndef get_inputs(): ...\n",
            "train_step",
            Kind.STEP,
            "mine.train_step",
        ),
        (FORM.format(body="def block(): return nn.Linear(4, 3)"), "block", Kind.MODULE, "mine.block"),
        ("try:\n    from there import *\nexcept ImportError:\n    pass\n", "Net", Kind.MODULE, "mine.Net"),
    ],
)
def test_a_file_is_read_and_not_imported(write: Write, text: str, name: str | None, kind: Kind, word: str) -> None:
    """The source tells a module from a step, and the file's name is the word in ids."""
    found = declared(write(text), name)
    assert (found.kind, found.id) == (kind, word)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("x = 1", None, "has no Model, step or training; name what to measure: {path}:NAME"),
        (linear(), "Other", "has no Other; name a class or a function of the file"),
        ("class Model: ...", None, "has no get_inputs(); write one that returns the inputs of one call as a list"),
        ("def (", None, "can't be read: SyntaxError: invalid syntax"),
    ],
)
def test_a_file_without_a_workload_is_refused(write: Write, text: str, name: str | None, said: str) -> None:
    """One line names the file, the cause and the fix."""
    path = write(text)
    with pytest.raises(CatalogueError) as caught:
        declared(path, name)
    assert str(caught.value).startswith(f"workload {path}{':' + name if name else ''}: {said.format(path=path)}")


def test_two_workloads_of_one_id_are_both_named(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same name in another folder is no reason to measure the one for the other."""
    (tmp_path / "other").mkdir()
    one, other = write(linear()), write(linear(), "other/mine.py")
    monkeypatch.setenv(VARIABLE, f"{one}:{other}")
    with pytest.raises(CatalogueError) as caught:
        all_cases()
    case = "the id workload/mine/forward is that of a case"
    assert str(caught.value) == f"workload {other}:Model: {case} of workload {one}:Model; rename one"


def test_listing_imports_no_torch(write: Write) -> None:
    """A file is listed though importing it would fail."""
    path = write("import torch\nraise SystemExit(1)\n" + linear())
    code = f"import sys, bnsuite.cases as c\nc.all_cases()\nassert 'torch' not in sys.modules\nprint({str(path)!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={VARIABLE: str(path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_lists_a_workload_alone(bnsuite: Command, write: Write) -> None:
    """Without -k its cases are all there are; with it, the expression chooses among all."""
    path = write(linear())
    done = bnsuite("list", "--workload", str(path), BNSUITE_CASES="")
    assert done.status == 0, done.err
    assert "workload/mine/step" in done.out
    assert "7 cases" in done.out
    broken = bnsuite("list", "--workload", f"{path}:None_", BNSUITE_CASES="")
    assert (broken.status, broken.err) == (
        2,
        f"bnsuite: workload {path}:None_: has no None_; name a class or a function of the file\n",
    )


def test_a_broken_one_of_several_files_fails_by_itself(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has one case, which says why; alone it is refused before anything is measured."""
    fine, broken = write(linear()), write("def (", "broken.py")
    monkeypatch.setenv(VARIABLE, f"{fine}:{broken}:{fine}:Other")
    named = {case.id: case for case in all_cases() if "workload/" in case.id}
    assert [name for name in named if "/mine/" not in name] == ["workload/broken/step", "workload/mine.Other/step"]
    with pytest.raises(WorkloadError, match=f"^workload {broken}: can't be read: SyntaxError: invalid syntax"):
        named["workload/broken/step"].build("cpu")
    with pytest.raises(WorkloadError, match=f"^workload {fine}:Other: has no Other; name a class or a function"):
        named["workload/mine.Other/step"].build("cpu")
    monkeypatch.setenv(VARIABLE, str(broken))
    with pytest.raises(CatalogueError, match="can't be read"):
        all_cases()


#: Code that does to the process of the measuring what it should not, and still computes.
INTRUSIONS = {
    "prints": """
import os, subprocess
os.write(1, b'{"done": {}}\\n')
def intrude():
    print('{"done": {}}', flush=True)
    subprocess.run(["echo", '{"done": {}}'], check=True)
""",
    "reads": """
import subprocess, sys
assert sys.stdin.readline() == ""
def intrude():
    assert subprocess.run(["cat"], capture_output=True, check=True).stdout == b""
""",
    "forks": """
import os
def intrude():
    if child := os.fork():
        os.waitpid(child, 0)
""",
    "forks_first": """
import os
if child := os.fork():
    os.waitpid(child, 0)
def intrude(): ...
""",
    "ends": """
def intrude():
    raise SystemExit(0)
""",
}


def test_a_worker_answers_for_each_workload_whatever_another_one_does(write: Write) -> None:
    """Output, input and children of measured code are none of its own: each answer is that of its request."""
    forward = "(intrude(), self.layer(x))[1]"
    paths = [write(linear(forward).replace(HEAD, HEAD + code), f"{name}.py") for name, code in INTRUSIONS.items()]
    write(linear(), "fine.py")
    where = {"device": "cpu", "seed": 0, "fault": {}}
    names = [*INTRUSIONS, "fine"]
    answers = ask(
        [
            {"do": do, "case": case.format(name), **where}
            for name in names
            for do, case in (("check", "numerics/workload/{}/outputs"), ("build", "workload/{}/forward"))
        ],
        **{VARIABLE: ":".join(map(str, [*paths, paths[0].with_name("fine.py")]))},
    )
    assert len(answers) == 2 * len(names)
    for name, checked, built in zip(names, answers[::2], answers[1::2], strict=True):
        if name in {"prints", "reads", "fine"}:
            assert checked["done"]["observations"][0]["what"] == "input 0"
            assert built["done"]["step_s"] > 0
            continue
        said = "its step fails: SystemExit: 0" if name == "ends" else "forks, and the child came back from the step"
        for answer in (checked, built):
            assert f"workload {name}.py:Model: {said}" in answer["failed"]


def example(name: str) -> Path:
    """The file of an example; the test is skipped by the name of the package that it lacks."""
    package = {"resnet18": "torchvision", "keras_mlp": "keras"}.get(name)
    if package is not None and find_spec(package) is None:  # importing Keras needs its backend to be named
        pytest.skip(f"{package} is not installed")
    if name == "c_kernel" and shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc)")
    return EXAMPLES / f"{name}.py"


@pytest.mark.parametrize("name", ["transformer", "c_kernel", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_an_example_is_sound(name: str) -> None:
    """Its values are near float64, two runs are equal, and it has no side effects."""
    path = example(name)
    for check in ("float64", "determinism", "side-effects"):
        seen = observed(path, check)
        assert seen
        assert not [one for one in seen.values() if is_wrong(one)]


def test_a_worker_times_a_workload_block_by_block(write: Write) -> None:
    """A block has values of its own, and a worker that is asked for a case needs nothing but the variable."""
    path = write(linear())
    where = {"device": "cpu", "seed": 0}
    answers = ask(
        [
            {"do": "build", "case": "workload/mine/step", "fault": {}, **where},
            {"do": "time_block", "rounds": 2, "iterations": 3, "warm": 1},
            {"do": "rebuild", "shift": 4096},
            {"do": "time_block", "rounds": 2, "iterations": 3, "warm": 1},
            {"do": "measure_memory"},
            {"do": "kernels", "case": "workload/mine/forward", **where},
        ],
        **{VARIABLE: str(path)},
    )
    *_, block, memory, kernels = (answer["done"] for answer in answers)
    assert len(block["samples_s"]) == 2
    assert memory["memory"]["allocated_peak_bytes"] > 0
    assert kernels["kernels"]["launched"]


@pytest.mark.slow
def test_the_keras_model_is_sound() -> None:
    """Two runs are equal and it has no side effects; Keras computes in float32 whatever its parameters are."""
    path = example("keras_mlp")
    for check in ("determinism", "side-effects"):
        assert not [one for one in observed(path, check).values() if is_wrong(one)]
    with pytest.raises(
        CheckNotApplicableError, match=r"keras_mlp\.py:Model: a copy of it, for float64, has parameters"
    ):
        observed(path, "float64")


def test_the_c_kernel_has_the_gradients_of_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 they are those of finite differences; without a compiler one line says what to install."""
    workload = declared(example("c_kernel"), None)
    module = material.make(workload, "cpu").double()
    module.weight = nn.Parameter(module.weight.detach()[:5])
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(module(x), nn.functional.rms_norm(x, (5,), module.weight, 1e-6), rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x, _: module(x), (x, module.weight))
    monkeypatch.setenv("PATH", "/nowhere")
    material._module_of.cache_clear()
    with pytest.raises(WorkloadError) as caught:
        material.make(workload, "cpu")
    cause = "RuntimeError: there is no C compiler (cc) on the PATH; install one, such as gcc"
    assert str(caught.value) == f"workload c_kernel.py:Model: can't be imported: {cause}"


def test_a_module_that_computes_in_float32_is_not_held_to_float64(write: Write) -> None:
    """Whatever it is moved to, as a Keras model does: then nothing more precise is there to compare with."""
    path = write(linear("torch.sin(x.float() @ self.layer.weight.float().T).to(x.dtype)"))
    with pytest.raises(CheckNotApplicableError, match="computes in float32 though it was moved to float64"):
        observed(path, "float64")


STEP = HEAD + (
    "def step(device):\n"
    "    x = torch.randn(8, 8, device=device)\n"
    "    def one():\n"
    "        return x @ torch.randn(8, 8, device=device)\n"
    "    return one\n"
)


def test_a_factory_of_a_step_is_timed_and_checked(write: Write) -> None:
    """It is given the device if it takes one; what it returns must be the same from the same seed."""
    path = write(STEP)
    (case, *_) = cases_of(declared(path, None))
    assert case.id == "workload/mine/step"
    assert time_case(case, get("cpu")).samples_s
    assert not is_wrong(observed(path, "determinism")["results"])
    silent = write(HEAD + "def step():\n    return lambda: None\n", "silent.py")
    with pytest.raises(CheckNotApplicableError, match="returns no tensor that could be compared"):
        observed(silent, "determinism")


WRONG = """
class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @staticmethod
    def backward(ctx, dy):
        return dy * 2.001
"""


def test_a_wrong_gradient_is_found_by_float64(write: Write) -> None:
    """A gradient that is off by 0.05 % is far more than rounding, in the part of the module where it arises."""
    body = "class Model(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    body += "        self.first, self.last = nn.Linear(width, 3), nn.Linear(3, 3)\n"
    body += "    def forward(self, x):\n        h = self.first(x)\n"
    body += "        return self.last(Wrong.apply(h) if h.dtype == torch.float32 else 2 * h)\n"
    seen = observed(write(FORM.format(body=WRONG + body)), "float64")
    assert {name for name, one in seen.items() if is_wrong(one)} == {"d(input 0)", "d(first)"}


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_outputs_are_held_to_what_was_accepted_from_both_sides(write: Write, factor: float) -> None:
    """Inputs, outputs and gradients that became less are as wrong as those that became more."""
    seen = observed(write(linear()), "outputs")
    numbers = {what: one.value for what, one in seen.items() if not isinstance(one.value, str)}
    wrong = {
        what.removesuffix(", negated")
        for what, value in numbers.items()
        if _wrong(Observation(what=what, value=factor * value), value)
    }
    assert wrong == {"input 0 projected", "y projected", "norm of all gradients"}


def test_a_leak_is_found(write: Write) -> None:
    """A step that keeps its outputs grows by them."""
    body = "KEPT = []\ndef keep(y):\n    KEPT.append(y.detach().clone())\n    return y\n"
    path = write(FORM.format(body=body + LINEAR.format(forward="keep(self.layer(x))")))
    seen = observed(path, "memory-leaks")
    assert seen["bytes/step"].value >= 6 * 3 * 4
    assert is_wrong(seen["bytes/step"])
    assert not is_wrong(observed(write(linear(), "fine.py"), "memory-leaks")["bytes/step"])


def test_a_random_module_is_not_deterministic_by_a_seed_of_its_own(write: Write) -> None:
    """A generator that goes on from call to call gives other results from the same seed."""
    body = "G = torch.Generator()\n" + LINEAR.format(forward="self.layer(x) + torch.rand(3, generator=G)")
    path = write(FORM.format(body=body))
    with pytest.raises(CheckNotApplicableError, match="its outputs are random"):
        observed(path, "float64")
    assert is_wrong(observed(path, "determinism")["results"])


@pytest.mark.slow
def test_a_run_judges_the_workloads_of_a_file_alone(bnsuite: Command, write: Write, tmp_path: Path) -> None:
    """A broken one beside it is FAILED in one line with file and name, and the others go on."""
    path, broken, unread = write(linear()), write(linear("print(1) or None"), "broken.py"), write("def (", "unread.py")
    config = write('device = "cpu"\nworkloads = ["mine.py", "broken.py", "unread.py"]\n', "bnsuite.toml")
    done = bnsuite("--config", str(config), "--out", "o", "--json", BNSUITE_CASES="")
    assert done.status == 3, done.out + done.err
    findings = {(one["case"], one["gate"]): one for one in json.loads(done.out)["findings"]}
    assert {case.split("/")[-2] for case, _ in findings} == {"mine", "broken", "unread"}
    assert f"workload {unread}: can't be read: SyntaxError" in str(findings["workload/unread/step", "timing"])
    assert findings["numerics/workload/mine/float64", "numerics"]["verdict"] == "PASS"
    assert findings["workload/mine/step", "memory"]["verdict"] == "NO_BASELINE"
    assert findings["workload/broken/step", "timing"]["verdict"] == "FAILED"
    assert "workload broken.py:Model: returns nothing, and no tensor to look at" in str(
        findings["workload/broken/step", "timing"]
    )
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    assert run["options"]["workloads"] == [str(path), str(broken), str(unread)]
    assert run["options"]["config"] == str(config)
