"""Workloads that would be measured as something they are not: each way is found and named."""

from __future__ import annotations

import time
from pathlib import Path
from time import perf_counter

import pytest
import torch

from bnsuite.cases.workload import cases_of, declared
from bnsuite.cases.workload.families import WorkloadCase
from bnsuite.cases.workload.state import WorkloadError
from bnsuite.cases.workload.steps import FactoryStep, ModuleStep
from bnsuite.measure.devices import get
from bnsuite.measure.timed_launch import time_case
from test_workload import FORM, HEAD, LINEAR, Write, is_wrong, linear, observed, write

__all__ = ["write"]

#: A class whose forward pass is this function of the layer and the input, with what stands before it.
BY_FUNCTION = LINEAR.format(forward="cheat(self.layer, x)")


def cheating(code: str) -> str:
    """A module whose forward pass is ``cheat(layer, x)`` of this code."""
    return FORM.format(body=f"{code}\n{BY_FUNCTION}")


#: The code of each cheat, and what is said of it.
CHEATS: dict[str, tuple[str, str]] = {
    "a patched clock": (
        """
import time
time.perf_counter = lambda: 0.0
def cheat(layer, x):
    return layer(x)
""",
        "replaces time.perf_counter; leave the measuring alone",
    ),
    "a clock patched by a step": (
        """
import time
def cheat(layer, x):
    time.perf_counter = lambda: 0.0
    return layer(x)
""",
        "replaces time.perf_counter; leave the measuring alone",
    ),
    "a patched measurement": (
        """
import bnsuite.measure.clock
bnsuite.measure.clock.time_rounds = lambda *arguments: [1e-9]
def cheat(layer, x):
    return layer(x)
""",
        "replaces bnsuite.measure.clock.time_rounds",
    ),
    "inputs overwritten": (
        """
def cheat(layer, x):
    y = layer(x * 1)
    x.detach().mul_(0.5)
    return y
""",
        "overwrites its input 0; copy it before it is changed",
    ),
    "the first output replayed": (
        """
KEPT = []
def cheat(layer, x):
    if not KEPT:
        KEPT.append(layer(x).detach())
    return KEPT[0] + 0 * layer.weight.sum()
""",
        "returns the same outputs for other inputs",
    ),
    "an output replayed by the place of its input": (
        """
KEPT = {}
def cheat(layer, x):
    if x.data_ptr() not in KEPT:
        KEPT[x.data_ptr()] = layer(x).detach()
    return KEPT[x.data_ptr()] + 0 * layer.weight.sum()
""",
        "other",  # where the allocator gives the other inputs the same place, it is seen before it is timed
    ),
    "an output replayed once it is warm": (
        """
KEPT = []
def cheat(layer, x):
    if len(KEPT) < 5:
        KEPT.append(layer(x).detach())
    return KEPT[-1] + 0 * layer.weight.sum()
""",
        "other",
    ),
    "an output of a lazy class": (
        """
class Lazy(torch.Tensor): ...
def cheat(layer, x):
    return layer(x).as_subclass(Lazy)
""",
        "returns a Lazy, whose values may be computed after the clock has stopped",
    ),
    "work in a thread": (
        """
import threading
def cheat(layer, x):
    threading.Thread(target=lambda: threading.Event().wait(60), daemon=True).start()
    return layer(x)
""",
        "threads behind, whose work is not timed",
    ),
    "the default dtype": (
        """
torch.set_default_dtype(torch.float64)
def cheat(layer, x):
    return layer(x)
""",
        "changes the default dtype from torch.float32 to torch.float64; give dtype= to its tensors",
    ),
    "the threads": (
        """
def cheat(layer, x):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return layer(x)
""",
        "changes the number of threads from ",
    ),
    "the grad mode": (
        """
def cheat(layer, x):
    torch.set_grad_enabled(not torch.is_grad_enabled())
    return layer(x)
""",
        "changes the grad mode",
    ),
    "the seed": (
        """
def cheat(layer, x):
    torch.manual_seed(0)
    return layer(x)
""",
        "changes the seed of torch's generator",
    ),
    "a fork that comes back": (
        """
import os
def cheat(layer, x):
    os.fork()
    return layer(x)
""",
        "forks, and the child came back from the step",
    ),
    "outputs of other shapes each time": (
        """
SIZES = iter(range(1, 10**9))
def cheat(layer, x):
    return layer(x)[: 1 + next(SIZES) % 5]
""",
        "returns other shapes each time, [(",
    ),
    "other shapes each time": (
        """
SIZES = iter(range(3, 999))
def cheat(layer, x):
    return layer(x)
def draw():
    return [torch.rand(next(SIZES), 4)]
""",
        "get_inputs() returns other shapes each time",
    ),
}


def timed(path: Path, part: str = "forward") -> None:
    """Times a case of a workload as a launch of a run does."""
    workload = declared(path, None)
    time_case(WorkloadCase(workload=workload, part=part), get("cpu"))


@pytest.mark.parametrize("part", ["forward", "step"])
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_not_timed(write: Write, cheat: str, part: str) -> None:
    """Timing it ends in one line that names the file, the name in it and what it did; shared state is as before."""
    code, said = CHEATS[cheat]
    text = cheating(code)
    if "def draw" in code:
        text = text.replace("return [torch.rand(6, 4)]", "return draw()")
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    with pytest.raises(WorkloadError) as caught:
        timed(write(text), part)
    assert str(caught.value).startswith("workload mine.py:Model: ")
    assert said in str(caught.value)
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()) == before
    assert time.perf_counter is perf_counter


@pytest.mark.parametrize("cheat", [name for name in CHEATS if "fork" not in name])
def test_a_cheat_is_seen_by_the_check_of_side_effects(write: Write, cheat: str) -> None:
    """What can't be timed is also wrong, in words; a sound module is not."""
    code, said = CHEATS[cheat]
    text = cheating(code)
    if "def draw" in code:
        text = text.replace("return [torch.rand(6, 4)]", "return draw()")
    step = observed(write(text), "side-effects")["step"]
    assert is_wrong(step)
    assert said in str(step.value)


def test_a_sound_module_passes_all(write: Write) -> None:
    """Dropout draws from the generator, and batch norm counts: neither is a side effect."""
    body = LINEAR.format(forward="self.norm(self.drop(self.layer(x)))").replace(
        "        self.layer", "        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(3)\n        self.layer"
    )
    path = write(FORM.format(body=body))
    timed(path)
    timed(path, "step")
    assert not [one for one in observed(path, "side-effects").values() if is_wrong(one)]


def test_less_work_for_inputs_seen_before_is_seen(write: Write) -> None:
    """A cache by value gives right outputs, but a second call with the same inputs does less than the first."""
    code = (
        "KEPT = {}\ndef cheat(layer, x):\n    key = x.detach().sum().item()\n"
        "    if key not in KEPT:\n        KEPT[key] = layer(x).detach()\n"
        "    return KEPT[key] + 0 * layer.weight.sum()"
    )
    seen = observed(write(cheating(code)), "side-effects")
    assert not is_wrong(seen["step"])
    assert seen["inputs seen before"].value == "less work"
    assert is_wrong(seen["inputs seen before"])


def test_a_held_output_that_is_overwritten_is_seen(write: Write) -> None:
    """A buffer that every call writes its output to is not the caller's own."""
    code = (
        "OUT = torch.zeros(6, 3)\ndef cheat(layer, x):\n    if torch.is_grad_enabled():\n        return layer(x)\n"
        "    return OUT.copy_(layer(x))"
    )
    seen = observed(write(cheating(code)), "side-effects")
    assert seen["held output"].value == "overwritten"
    assert is_wrong(seen["held output"])


def test_inputs_of_a_block_are_fresh_and_those_of_the_other_side_too(write: Write) -> None:
    """Two sides draw the same values for the same block, and other values for the next; the place stays."""
    workload = declared(write(linear()), None)
    a, b = (ModuleStep(workload, "cpu", training=False) for _ in range(2))
    place, before = a.inputs[0].data_ptr(), a.inputs[0].clone()
    a.renew(1)
    b.renew(1)
    assert torch.equal(a.inputs[0], b.inputs[0])
    assert not torch.equal(a.inputs[0], before)
    assert a.inputs[0].data_ptr() == place


def test_a_step_that_replays_is_seen(write: Write) -> None:
    """A factory whose later steps return what an earlier one did computes other values from the same seed."""
    text = (
        HEAD + "KEPT = []\ndef step():\n    x = torch.randn(4)\n    def one():\n"
        "        KEPT.append(x * torch.randn(4))\n"
        "        return KEPT[-1] if len(KEPT) < 5 else KEPT[0]\n    return one\n"
    )
    step = FactoryStep(declared(write(text), None), "cpu")
    with pytest.raises(WorkloadError, match="a new step returns other values after it was timed than before"):
        step.verify()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import nowhere_at_all\n" + linear(),
            "can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        (
            linear().replace("return [4]", "return []"),
            "can't be made with the arguments of get_init_inputs(): TypeError: ",
        ),
        (linear("None"), "returns nothing, and no tensor to look at"),
        (linear("self.layer(x[0, 0])"), "its step fails: "),
        (
            linear("self.layer(x)").replace("(self, x)", "(self, x, mask)"),
            "its step fails: TypeError: Model.forward() ",
        ),
        (linear("exit(3)"), "its step fails: SystemExit: 3"),
        (linear().replace("return [torch.rand(6, 4)]", "raise KeyError(1)"), "get_inputs() fails: KeyError: 1"),
        (FORM.format(body="def Model():\n    return 3"), "can't be made: TypeError: it is a int, and no nn.Module"),
        (
            HEAD + "def step():\n    return 3\n",
            "can't be made: TypeError: it returns a int, and no function to be timed",
        ),
        (HEAD + "def step():\n    return lambda: 1 / 0\n", "its step fails: ZeroDivisionError: division by zero"),
    ],
)
def test_bad_input_is_named_in_one_line(write: Write, text: str, said: str) -> None:
    """The line has the file, the name in it, and the cause."""
    (case, *_) = cases_of(declared(write(text), None))
    with pytest.raises(WorkloadError) as caught:
        case.build("cpu")
    assert str(caught.value).startswith(f"workload mine.py:{'Model' if 'Model' in text else 'step'}: {said}")
    assert "\n" not in str(caught.value)
