"""Passes that take the running statistics of a model anew: torch's own, sound ones of a user's, and wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import faults
from bnsuite.cases import CheckCase, Observation, Subject, functions
from bnsuite.cases.checks import CheckNotApplicableError
from bnsuite.cases.checks.behaviour import update_bn
from bnsuite.record import store
from bnsuite.report import repeat
from bnsuite.report.table import heading
from conftest import ROOT, Command

EXAMPLE = ROOT / "examples" / "update_bn.py"
CASES = {case.name: case for case in update_bn.cases()}
#: Cases of each kind, of one shape.
FEW = [case for name, case in CASES.items() if not name.startswith("statistics/") or "/2d/" in name]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | Path], None]:
    """Names the function that the cases judge; the text of a module is one with a function `mine`."""
    return lambda name: monkeypatch.setenv("BNSUITE_UPDATE_BN", str(name))


@pytest.fixture
def mine(judge: Callable[[str], None], tmp_path: Path) -> Callable[[str], None]:
    """Writes a module with a function `mine`, and has it judged."""

    def write(text: str) -> None:
        (tmp_path / "mine.py").write_text(text)
        judge(f"{tmp_path}/mine.py:mine")

    return write


def observed(case: CheckCase) -> list[Observation]:
    """The observations of a case; none if it does not apply."""
    try:
        return list(case.observe(Subject("cpu")))
    except CheckNotApplicableError:
        return []


def wrong(case: CheckCase) -> list[Observation]:
    """The observations of a case that are wrong whatever was accepted."""
    return [
        one
        for one in observed(case)
        if (one.value > one.limit if one.limit is not None else one.expected not in {None, one.value})  # type: ignore[operator]
    ]


def test_a_sound_pass_passes_every_case(judge: Callable[[str], None]) -> None:
    """Also where torch's own deviates."""
    judge(f"{faults.__file__}:faithful_update_bn")
    assert {name: wrong(case) for name, case in CASES.items() if wrong(case)} == {}


def test_the_examples_are_sound(judge: Callable[[str], None]) -> None:
    """One averages over batches, and the other one takes all values together and says so."""
    judge(f"{EXAMPLE}:update_bn")
    assert {case.name: wrong(case) for case in CASES.values() if case.quick and wrong(case)} == {}
    judge(f"{EXAMPLE}:precise_bn")
    assert {case.name: wrong(case) for case in FEW if wrong(case)} == {}


def test_statistics_of_all_values_are_none_of_batches(mine: Callable[[str], None]) -> None:
    """Precise batch norm that does not say what it is is not what torch documents, whatever the batches' sizes are."""
    mine(EXAMPLE.read_text(encoding="utf-8") + "\ndef mine(loader, model):\n    precise_bn(loader, model)\n")
    for sizes in ("equal", "unequal"):
        assert {one.what for one in wrong(CASES[f"statistics/2d/{sizes}/train"])} >= {"norm0/running_var"}


def test_torch_deviates_in_the_mode_of_modules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is pinned; what its documentation leaves open has no expected word."""
    monkeypatch.delenv("BNSUITE_UPDATE_BN", raising=False)
    found = {(case.name, one.what, one.value) for case in FEW for one in wrong(case)}
    dropout = {(f"modes/dropout-{way}", "training", "dropout") for way in ("on", "off")}
    assert found == {("modes/frozen-norm", "training", "norm2"), *dropout}
    free = {case.name for case in FEW for one in observed(case) if one.expected is None and one.limit is None}
    assert free == {"models/instance-norm", "ends/no-data", "ends/no-norm", "ends/exception"}


def test_a_frozen_layer_may_keep_its_statistics(mine: Callable[[str], None]) -> None:
    """Precise batch norm leaves out what is in evaluation; a layer that trains may not be left out."""
    text = (
        "from faults import norms_of, update_by\n"
        "def mine(loader, model):\n"
        "    kept = [(one, dict(one.state_dict(keep_vars=False))) for one in norms_of(model) if {which}]\n"
        "    kept = [(one, {name: value.clone() for name, value in state.items()}) for one, state in kept]\n"
        "    update_by(loader, model)\n"
        "    for one, state in kept:\n"
        "        one.load_state_dict(state)\n"
    )
    mine(text.replace("{which}", "not one.training"))
    assert wrong(CASES["modes/frozen-norm"]) == []
    mine(text.replace("{which}", "one.training"))
    functions._load.cache_clear()
    assert wrong(CASES["modes/frozen-norm"]) != []


@pytest.mark.parametrize("text", ["def mine(loader, model):\n    raise OSError(3)\n", "def mine():\n    pass\n"])
def test_a_function_that_raises_is_an_outcome(mine: Callable[[str], None], text: str) -> None:
    """Not an error of the check."""
    mine(text)
    assert [one.value for one in observed(CASES["loaders/tuples"])] in (["OSError"], ["TypeError"])


def test_a_device_is_given_to_who_takes_one(mine: Callable[[str], None], judge: Callable[[str], None]) -> None:
    """Others do without the case."""
    mine("def mine(loader, model):\n    pass\n")
    with pytest.raises(CheckNotApplicableError, match="takes no argument device"):
        list(CASES["loaders/device"].observe(Subject("cpu")))
    judge(f"{EXAMPLE}:update_bn")
    assert wrong(CASES["loaders/device"]) == []


def test_an_unknown_definition_is_an_error(mine: Callable[[str], None]) -> None:
    """In one line, with the option, the file and the words there are."""
    mine("def mine(loader, model):\n    pass\nmine.statistics = 'precise'\n")
    said = r"^--update-bn .*mine.py:mine: its attribute statistics is 'precise'; make it \"average\" or \"population\"$"
    with pytest.raises(functions.FunctionError, match=said):
        list(CASES["loaders/tuples"].observe(Subject("cpu")))


@pytest.mark.slow
def test_a_run_judges_it_without_torch_s_pins(bnsuite: Command, tmp_path: Path) -> None:
    """The example is PASS; torch's own, named as a user's, is REGRESSED where it deviates; the run can be repeated."""
    case, verdicts = "behaviour/update-bn/modes/frozen-norm", []
    for name in (f"{EXAMPLE}:update_bn", "torch.optim.swa_utils:update_bn"):
        done = bnsuite("--device", "cpu", "-k", case, "--update-bn", name, "--out", "o", "--json")
        (found,) = json.loads(done.out)["findings"]
        verdicts.append((found["verdict"], done.status))
    assert verdicts == [("PASS", 0), ("REGRESSED", 1)]
    run = store.load(tmp_path / "o")
    assert run.options.update_bn == name
    assert f"--update-bn {name}" in str(repeat.run_again(run, [case]))
    assert f"{name} in the place of torch's update_bn" in heading(run)
    assert repeat.implementation(run, "-b") == ["--update-bn-b", name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name", "family"),
    [
        ("--fold-b", "examples/fold.py:fold", "folding"),
        ("--update-bn-b", "examples/update_bn.py:precise_bn", "update-bn"),
    ],
)
def test_a_comparison_judges_it(bnsuite: Command, tmp_path: Path, option: str, name: str, family: str) -> None:
    """Of B alone; all its quick cases are measured in both, and nothing else is."""
    done = bnsuite("ab", ".", ".", "--device", "cpu", option, f"{ROOT}/{name}", "--out", "o", "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)["findings"]
    assert {one["verdict"] for one in found} == {"PASS"}
    assert {one["case"].split("/")[1] for one in found} == {family}
    sides = [store.load(tmp_path / "o" / side).options for side in ("a", "b")]
    assert [len(one.functions) for one in sides] == [0, 1]
