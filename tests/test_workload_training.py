"""Trainings of a user's own: what their file may hold, their curves, and all that makes them worth nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsuite.articles.evidence import Evidence
from bnsuite.cases import CatalogueError, CheckNotApplicableError
from bnsuite.cases.workload import VARIABLE, cases_of, declared
from bnsuite.cases.workload.declared import Kind
from bnsuite.cases.workload.families import WorkloadTrainingCase
from bnsuite.cases.workload.state import WorkloadError
from bnsuite.cases.workload.training import UserTraining
from bnsuite.measure.devices import get
from bnsuite.measure.timed_launch import time_case
from bnsuite.measure.training_recorder import Curve, Detail, record
from bnsuite.record.recorder import Recorder
from conftest import Command, curve, make_run, result
from conftest import detail as bare_detail
from test_catalogue import ask
from test_workload import EXAMPLES, HEAD, Write, is_wrong, linear, observed, write

__all__ = ["write"]

#: The parts of a sound training, by name.
SOUND = {
    "model": "nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))",
    "data": "batches(5)",
    "loss": "nn.CrossEntropyLoss()",
    "optimizer": "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
    "epochs": "2",
}
BATCHES = """
def batches(count, size=6):
    draw = torch.Generator().manual_seed(3)
    return [(torch.randn(size, 4, generator=draw), torch.randint(3, (size,), generator=draw)) for _ in range(count)]
"""


def form(before: str = "", **parts: str) -> str:
    """A file with a training of these parts, sound otherwise; a part that is empty is left out."""
    chosen = {name: code for name, code in {**SOUND, **parts}.items() if code}
    made = "".join(f"    {name} = {code}\n" for name, code in chosen.items())
    return f"{HEAD}{BATCHES}{before}\ndef training():\n{made}    return dict({', '.join(f'{n}={n}' for n in chosen)})\n"


def case_of(path: Path, name: str | None = None) -> WorkloadTrainingCase:
    """The case in which a training is timed and recorded."""
    (case, *_) = cases_of(declared(path, name))
    assert isinstance(case, WorkloadTrainingCase)
    return case


def recorded(path: Path, seed: int = 0) -> tuple[Curve, Detail]:
    """The curve of one seed, as a worker records it."""
    return record(case_of(path), get("cpu"), seed)


def trained(path: Path) -> None:
    """What the recorder does, and a launch that times: validation, epochs, and what is compared at the end."""
    case = case_of(path)
    training = case.start("cpu")
    training.evaluate()
    for _ in range(training.epochs):
        training()
        training.evaluate()
    case.verify(training)


CLASS = "class Training:\n    def __init__(self):\n        self.model = 1\n"


@pytest.mark.parametrize(
    ("text", "name", "kind", "word"),
    [
        (form(), None, Kind.TRAINING, "mine"),
        (form().replace("def training", "def long_training"), "long_training", Kind.TRAINING, "mine.long_training"),
        (CLASS, None, Kind.TRAINING, "mine"),
        ("class Model: ...\n" + form(), None, Kind.TRAINING, "mine"),
        (linear() + form(), None, Kind.MODULE, "mine"),
        (linear().replace("Model", "PreTraining"), "PreTraining", Kind.MODULE, "mine.PreTraining"),
    ],
)
def test_a_training_is_told_by_its_name(write: Write, text: str, name: str | None, kind: Kind, word: str) -> None:
    """A class Model without inputs is what a training trains, and a module with inputs is one whatever its name."""
    found = declared(write(text), name)
    assert (found.kind, found.id) == (kind, word)


def test_the_word_in_ids_can_be_a_file_name(write: Write) -> None:
    """Accepted curves and details lie in files of that name."""
    found = declared(write(form(), "_my+net.py"), None)
    assert found.id == "my-net"


def test_a_file_with_nothing_to_measure_names_all_three(write: Write) -> None:
    """The line says what it was looked through for."""
    path = write("x = 1")
    with pytest.raises(CatalogueError, match="has no Model, step or training; name what to measure"):
        declared(path, None)


def test_its_losses_are_those_of_the_loop_in_a_script(write: Write) -> None:
    """A plain loop from the same weights over the same batches has the same losses, and validates on the same data."""
    path = write(form())
    seen, detail = recorded(path)
    mine = UserTraining(declared(path, None), "cpu", 0)  # the same weights
    model, data, loss_of = mine.model, mine._parts.data, nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def validated() -> tuple[float, float]:
        model.eval()
        with torch.no_grad():
            outputs = [(model(x), y) for x, y in data]
        losses = [float(loss_of(y_, y)) for y_, y in outputs]
        return sum(losses) / len(losses), sum(int((y_.argmax(1) == y).sum()) for y_, y in outputs) / (6 * len(losses))

    expected = [validated()]
    means = []
    for _ in range(2):
        model.train()
        losses = []
        for x, y in data:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        means.append(sum(losses) / len(losses))
        expected.append(validated())
    assert seen.train_loss == pytest.approx(means)
    assert seen.val_loss == pytest.approx([loss for loss, _ in expected])
    assert seen.val_accuracy == pytest.approx([share for _, share in expected])
    assert (detail.steps_per_epoch, detail.target) == (5, None)
    assert list(detail.gradient_norms) == ["0-Linear", "1-BatchNorm1d", "3-Linear"]


def test_a_seed_is_a_training_of_its_own(write: Write) -> None:
    """Weights, dropout and the order of a DataLoader follow from it alone, whatever was drawn before."""
    loader = "torch.utils.data.DataLoader([one for x, y in batches(6) for one in zip(x, y)], 6, shuffle=True)"
    path = write(form(data=loader, model="nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))"))
    first, _ = recorded(path)
    torch.rand(7)
    again, _ = recorded(path)
    other, _ = recorded(path, 1)
    assert first == again
    assert {*first.train_loss}.isdisjoint(other.train_loss)


def test_a_form_of_ones_own(write: Write) -> None:
    """An object will do; a loss may take the model and the whole batch; a scheduler is stepped after each epoch."""
    text = f"""{HEAD}{BATCHES}
class Training:
    def __init__(self, device):
        assert device == "cpu"
        self.model = nn.Linear(4, 3)
        self.data = [{{"x": x, "y": y}} for x, y in batches(3)]
        self.validation = self.data[:1]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.0)
        self.epochs, self.target = 3, 0.25
    def loss(self, model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])
"""
    seen, detail = recorded(write(text))
    assert detail.target == 0.25
    assert seen.val_accuracy == []
    assert seen.val_loss[0] != seen.val_loss[1] == seen.val_loss[2] == seen.val_loss[3]


def test_a_training_that_diverges_is_recorded(write: Write) -> None:
    """A loss that becomes infinite while it trains is a curve, and not an error."""
    seen, detail = recorded(write(form(optimizer="torch.optim.SGD(model.parameters(), lr=1e30)")))
    assert seen.train_loss[-1] is None
    assert detail.diverged_epoch == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import nowhere_at_all\n" + form(),
            "can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        (form(model="nn.Linear(4)"), "can't be made: TypeError: "),
        (
            HEAD + "def training():\n    pass\n",
            "returns nothing; return a dictionary, or an object, with model, data, ",
        ),
        (form(data="", loss=""), "returns a dict without data, loss; "),
        (form(data="[]"), "its data is empty: an epoch has no batch"),
        (form(validation="[]"), "its validation is empty: it has no batch"),
        (form(data="(one for one in batches(3))"), "its data is a generator, which ends with the first epoch; "),
        (
            form(data="torch.utils.data.TensorDataset(torch.rand(3, 4))"),
            "its data is a TensorDataset, which has no batc",
        ),
        (form(data="torch.rand(3, 4)"), "its data is a Tensor; give an iterable of batches"),
        (
            form(data="[x for x, _ in batches(3)]"),
            "a batch is a Tensor, and no pair of inputs and targets; write loss(m",
        ),
        (form(model="nn.ReLU()", optimizer="3"), "its model has no parameters to train"),
        (form(model="3", optimizer="3"), "its model is a int, and no nn.Module"),
        (form(loss="3"), "its loss is a int, and no function"),
        (
            form(loss="nn.CrossEntropyLoss(reduction='none')"),
            "its loss has the shape (6,), and is no scalar; take its m",
        ),
        (form(loss="lambda y, t: 0.5"), "its loss is a float, and no tensor"),
        (form(loss="lambda y, t: torch.ones(())"), "its loss has no gradient; compute it from what the model returns"),
        (form(loss="lambda y, t: y.mean() * float('nan')"), "its loss is nan before the first step; look at its data"),
        (form(optimizer="torch.optim.SGD"), "its optimizer is a type; make one of torch.optim"),
        (
            form(optimizer="torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.1)"),
            "its optimizer has no parameter of the model; make it from model.parameters()",
        ),
        (form(optimizer="torch.optim.LBFGS(model.parameters())"), "batch 1 of an epoch fails: TypeError: "),
        (
            form(data="batches(1) + [(torch.rand(6, 5), torch.zeros(6, dtype=torch.long))]"),
            "batch 2 of an epoch fails: RuntimeError: ",
        ),
        (
            form(data="batches(2) + batches(1, size=1)"),
            "batch 3 of an epoch fails: ValueError: Expected more than 1 val",
        ),
        (form(data="batches(1) + [exit]"), "a batch is a Quitter, and no pair of inputs and targets"),
        (form(epochs="0"), "its epochs are 0; give a whole number above 0"),
        (form(target="'low'"), "its target is 'low'; give the validation loss that counts as learnt"),
        (
            form(scheduler="torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)"),
            "its scheduler fails after an epoch: TypeError: ",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(write: Write, text: str, said: str) -> None:
    """The line has the file, the name in it, and the cause."""
    with pytest.raises(WorkloadError) as caught:
        trained(write(text))
    assert str(caught.value).startswith(f"workload mine.py:training: {said}")
    assert "\n" not in str(caught.value)


LOSS = "def cheat(y, t):\n{body}\n    return nn.functional.cross_entropy(y, t)\n"


#: The child has nothing more to compute: torch's threads are not in it.
FORKING = "def cheat(y, t):\n    loss = nn.functional.cross_entropy(y, t)\n    os.fork()\n    return loss\n"


OVERWRITING = """
def cheat(y, t):
    loss = nn.functional.cross_entropy(y, t.clone())
    t.zero_()
    return loss
"""


def by_loss(body: str, before: str = "") -> str:
    """A training whose loss does this as well."""
    return form(before + LOSS.format(body=body), loss="cheat")


#: What a training may do besides, and what is said of it.
CHEATS: dict[str, tuple[str, str]] = {
    "a patched clock": (by_loss("    time.perf_counter = lambda: 0.0", "import time\n"), "replaces time.perf_counter"),
    "the threads": (by_loss("    torch.set_num_threads(torch.get_num_threads() + 1)"), "changes the number of threads"),
    "the default dtype": (by_loss("    torch.set_default_dtype(torch.float64)"), "changes the default dtype"),
    "the seed of a training": (form(before="").replace("model =", "torch.manual_seed(0); model ="), "sets the seed"),
    "the seed of a batch": (by_loss("    torch.manual_seed(0)"), "sets the seed of torch's generator while it trains"),
    "a fork that comes back": (form("import os\n" + FORKING, loss="cheat"), "forks, and the child came back"),
    "work in a thread": (
        by_loss(
            "    threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()", "import threading\n"
        ),
        "threads behind, whose work is not timed",
    ),
    "a loss of a lazy class": (
        form("class Lazy(torch.Tensor): ...\n", loss="lambda y, t: y.mean().as_subclass(Lazy)"),
        "its loss is a Lazy, whose value may be computed after the clock has stopped",
    ),
    "one model for all trainings": (
        form("KEPT = nn.Linear(4, 3)\n", model="KEPT"),
        "a new training begins with other losses than one before it, from the same seed; make its model, data",
    ),
    "data that it overwrites": (
        form("DATA = batches(2)\n" + OVERWRITING, data="DATA", loss="cheat"),
        "a new training begins with other losses than one before it",
    ),
    "a loss replayed once it is warm": (
        by_loss("    KEPT.append(1)\n    if len(KEPT) > 5:\n        return 0 * y.sum()", "KEPT = []\n"),
        "a new training begins with other losses than one before it",
    ),
}


@pytest.mark.parametrize("cheat", CHEATS)
@pytest.mark.parametrize("way", ["trained", "checked"])
def test_what_it_does_besides_is_named(write: Write, cheat: str, way: str) -> None:
    """Using it fails, the check of side effects is wrong, and shared state is as before."""
    text, said = CHEATS[cheat]
    path = write(text)
    before = (torch.get_default_dtype(), torch.get_num_threads())
    if way == "checked":
        step = observed(path, "side-effects")["step"]
        assert is_wrong(step)
        seen = f"workload mine.py:training: {step.value}"
    else:
        with pytest.raises(WorkloadError) as caught:
            trained(path)
        seen = str(caught.value)
    assert seen.startswith("workload mine.py:training: ")
    assert said in seen
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before


def test_a_random_training_is_not_deterministic(write: Write) -> None:
    """A generator that goes on from training to training gives other weights from the same seed."""
    path = write(form("G = torch.Generator()\n", loss="lambda y, t: y.mean() * torch.rand((), generator=G)"))
    assert is_wrong(observed(path, "determinism")["results"])
    assert not is_wrong(observed(write(form(), "fine.py"), "determinism")["results"])


def test_a_leak_is_found(write: Write) -> None:
    """A loss that is kept with its graph grows by it; a smaller last batch is none."""
    path = write(by_loss("    KEPT.append(y.sum())", "KEPT = []\n"))
    assert is_wrong(observed(path, "memory-leaks")["bytes/step"])
    fine = write(form(data="batches(2) + batches(1, size=3)"), "fine.py")
    assert not [one for one in observed(fine, "memory-leaks").values() if is_wrong(one)]


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_the_processes_of_a_data_loader_are_no_side_effect(write: Write, *, persistent: bool) -> None:
    """They end with the training that is recorded; on a CPU they would share the core that is timed."""
    loader = f"torch.utils.data.DataLoader(batches(3), batch_size=None, num_workers=1, persistent_workers={persistent})"
    path = write(form(data=loader))
    seen, _ = recorded(path)
    assert seen == recorded(write(form(data="batches(3)"), "plain.py"))[0]
    with pytest.raises(CheckNotApplicableError, match="its DataLoader has 1 processes, which take time"):
        time_case(case_of(path), get("cpu"))


@pytest.mark.slow
def test_a_worker_times_and_records_a_training(write: Write) -> None:
    """Block by block its batches, as a curve its epochs; its memory and its operators are the same each time."""
    path = write(form(target="0.5"))
    where = {"device": "cpu", "seed": 0}
    case = "workload/mine/training"
    answers = ask(
        [
            {"do": "catalogue", "profile": "quick"},
            {"do": "build", "case": case, "fault": {}, **where},
            {"do": "time_block", "rounds": 2, "iterations": 3, "warm": 1},
            {"do": "measure_memory"},
            {"do": "rebuild", "shift": 4096},
            {"do": "time_block", "rounds": 1, "iterations": 4, "warm": 0},
            {"do": "measure_memory"},
            {"do": "kernels", "case": case, **where},
            {"do": "curve", "case": case, **where},
        ],
        **{VARIABLE: str(path)},
    )
    listed, _, block, memory, _, _, again, kernels, curve_ = (answer["done"] for answer in answers)
    assert {one["id"]: one["kind"] for one in listed["cases"]}[case] == "training"
    assert len(block["samples_s"]) == 2
    assert memory["memory"]["allocated_peak_bytes"] == again["memory"]["allocated_peak_bytes"] > 0
    assert kernels["kernels"]["launched"]
    assert len(curve_["curve"]["train_loss"]) == 2
    assert curve_["detail"]["target"] == 0.5


def test_the_target_of_a_file_is_that_of_its_case(tmp_path: Path) -> None:
    """It is known once a seed was trained, and judged by from then on."""
    name = "workload/mine/training"
    planned = make_run(result(name), finished=False)
    recorder = Recorder(planned, tmp_path, began=0.0)
    assert recorder.run.cases[0].case.target is None
    recorder.add_curve(name, curve(0), bare_detail(0).model_copy(update={"target": 0.3}))
    assert recorder.run.cases[0].case.target == 0.3


def test_a_training_of_a_user_is_no_evidence_of_the_articles() -> None:
    """A file may have the name of a workload of this package."""
    own = result("workload/cnn/training", curves=(curve(0),))
    labels = own.case.model_copy(update={"labels": {"workload": "cnn", "part": "training"}})
    built_in = result("train/cnn/bn/data=digits", curves=(curve(0),))
    evidence = Evidence(make_run(own.model_copy(update={"case": labels}), built_in))
    assert evidence.trainings("cnn") == ["train/cnn/bn/data=digits"]


def test_the_example_learns() -> None:
    """It reaches its target, two runs are equal, and it has no side effects."""
    path = EXAMPLES / "training.py"
    seen, detail = recorded(path)
    assert detail.target is not None
    assert seen.val_loss[-1] is not None
    assert seen.val_loss[-1] < detail.target < (seen.val_loss[1] or 0.0)
    for check in ("determinism", "side-effects"):
        assert not [one for one in observed(path, check).values() if is_wrong(one)]


Findings = dict[tuple[str, str], dict[str, Any]]


def findings_of(text: str) -> Findings:
    """The findings of a command, by case and gate."""
    return {(one["case"], one["gate"]): one for one in json.loads(text)["findings"]}


@pytest.mark.slow
def test_a_run_holds_a_training_against_accepted_curves(bnsuite: Command, write: Write, tmp_path: Path) -> None:
    """Equal curves pass; a learning rate that is a hundredth is a regression of it, and no other case fails."""
    path = write(form(epochs="4", target="1.0"), "net.py")
    command = (
        "--device",
        "cpu",
        "--workload",
        str(path),
        "-k",
        "workload/net/training",
        "--baselines",
        "base",
        "--json",
    )
    (tmp_path / "base").mkdir()
    bnsuite(*command, "--out", "o1", BNSUITE_CASES="")  # a busy host has no times to accept
    for kind in ("convergence", "memory", "kernels"):
        accepted = bnsuite("accept", "o1", "--baselines", "base", "--only", kind)
        assert accepted.status == 0, accepted.err
    again = bnsuite(*command, "--out", "o2", BNSUITE_CASES="")
    found = findings_of(again.out)
    assert found["workload/net/training", "convergence"]["verdict"] == "PASS"
    assert found["workload/net/training", "memory"]["verdict"] == "PASS"
    assert found["workload/net/training", "kernels"]["verdict"] == "PASS"
    path.write_text(form(epochs="4", target="1.0", optimizer="torch.optim.SGD(model.parameters(), lr=0.001)"))
    worse = bnsuite(*command, "--out", "o3", BNSUITE_CASES="")
    assert worse.status == 1
    assert findings_of(worse.out)["workload/net/training", "convergence"]["verdict"] == "REGRESSED"


@pytest.mark.slow
def test_a_comparison_holds_b_against_the_curves_of_a(bnsuite: Command, write: Write, tmp_path: Path) -> None:
    """An interpreter in which the training learns a hundredth as fast is REGRESSED by seed, whatever its times are."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "slow"], check=True)
    (packages,) = (tmp_path / "slow" / "lib").glob("*/site-packages")
    (packages / "ours.pth").write_text("\n".join(one for one in sys.path if one))
    rate = "import sys\nRATES = (0.001, 0.0) if sys.prefix.endswith('slow') else (0.1, 0.9)\n"
    path = write(
        form(rate, optimizer="torch.optim.SGD(model.parameters(), *RATES)", epochs="4", target="1.0"), "net.py"
    )
    both = "workload/net/training or workload/net/determinism"
    command = (
        "ab",
        "-k",
        both,
        ".",
        f"python:{tmp_path / 'slow' / 'bin' / 'python'}",
        "--device",
        "cpu",
        "--workload",
        str(path),
    )
    done = bnsuite(*command, "--budget", "5m", "--out", "o", "--json", BNSUITE_CASES="")
    found = findings_of(done.out)
    assert found["workload/net/training", "convergence"]["verdict"] == "REGRESSED", done.out + done.err
    assert found["behaviour/workload/net/determinism", "behaviour"]["verdict"] == "PASS"
    times = json.loads((tmp_path / "o" / "interleaved.json").read_text())
    timed = [one for one in times["cases"] if one["id"] == "workload/net/training"]  # none, if the budget was too short
    for launch in (launch for one in timed for launch in one["launches"]):
        assert launch["took_s"] > 0
    assert len(times["starts_s"]) >= max((len(one["launches"]) for one in timed), default=0)
