"""Functions of the user's that checks judge in the place of torch's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import faults
from bnsuite.cases import CheckCase, Observation, Subject, catalogue, functions
from bnsuite.cases.checks.behaviour import folding
from bnsuite.launch.environments import image
from bnsuite.launch.plan import run_options
from bnsuite.launch.process import isolation
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record import store
from bnsuite.record.errors import InputError
from bnsuite.record.functions import ROLES
from bnsuite.record.schema import RunOptions
from bnsuite.report import repeat
from bnsuite.report.table import heading
from conftest import Command

FAULTS = Path(faults.__file__)


def wrong(case: CheckCase) -> list[Observation]:
    """The observations of a case that are wrong."""
    seen = case.observe(Subject("cpu"))
    return [one for one in seen if (one.value > one.limit if one.limit is not None else one.value != one.expected)]  # type: ignore[operator]


def test_a_sound_fold_passes_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's own can't fold either, such as groups of a transposed convolution."""
    monkeypatch.setenv("BNSUITE_FOLD", f"{FAULTS}:faithful_fold")
    assert {case.id: wrong(case) for case in folding.cases() if wrong(case)} == {}


def test_torch_deviates_where_it_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its outcome alone: whatever it folds is right."""
    monkeypatch.delenv("BNSUITE_FOLD", raising=False)
    for case in folding.cases():
        assert {one.value for one in wrong(case)} <= {"RuntimeError", "TypeError"}, case.id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def fold(module, layer):\n    return 3\n", "TypeError"),
        ("def fold(module, layer):\n    raise KeyError('x')\n", "KeyError"),
    ],
)
def test_a_fold_that_gives_no_module_is_an_outcome(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    """Not an error of the check: every case says which exception it was."""
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.setenv("BNSUITE_FOLD", f"{tmp_path}/mine.py:fold")
    case = next(iter(folding.cases()))
    assert {one.value for one in case.observe(Subject("cpu"))} == {said}


def test_both_halves_have_the_same_roles() -> None:
    """By the same options and variables; each has a field in ``run.json``, and a family of cases of its own."""
    assert {role.name: role.variable for role in ROLES.values()} == functions.VARIABLES
    assert {role.name: role.option for role in ROLES.values()} == functions.OPTIONS
    assert ROLES.keys() <= RunOptions.model_fields.keys()
    for case in catalogue.all_cases():
        assert [name for name, role in ROLES.items() if case.id.startswith(role.family)] == [case.role][
            : bool(case.role)
        ]
    assert {case.role for case in catalogue.all_cases()} - {""} == ROLES.keys()


def test_only_cases_that_contain_it_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an implementation beside it, those of that as well."""
    monkeypatch.setenv("BNSUITE_FOLD", f"{FAULTS}:faithful_fold")
    assert {one.id.rpartition("/folding/")[0] for one in catalogue.profile("full")} == {"behaviour"}
    assert catalogue.profile("quick")
    monkeypatch.setenv("BNSUITE_IMPL", f"{FAULTS}:Faithful")
    assert {one.family for one in catalogue.profile("quick")} >= {"behaviour", "numerics", "op"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "{folder}/raises.py:f",
            r"--fold .*raises.py:f: .*can't be imported: ZeroDivisionError: .*; look at its import",
        ),
        ("{folder}/lacks.py:f", r"--fold .*lacks.py:f: .*lacks.py has no function 'f'; name one that it defines"),
        ("no_such_module:f", r"--fold no_such_module:f: no_such_module can't be imported: ModuleNotFoundError"),
    ],
)
def test_an_error_names_file_and_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, said: str
) -> None:
    """In one line, with the option that named it."""
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "lacks.py").write_text("g = 1\n")
    monkeypatch.setenv("BNSUITE_FOLD", name.format(folder=tmp_path))
    with pytest.raises(functions.FunctionError, match=said) as caught:
        functions.load_all()
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_before_anything_starts() -> None:
    """With the option and the file."""
    asked = {"device": "cpu", "profile": "quick", "select": None, "threads": 1, "timeout_s": 9.0}
    with pytest.raises(InputError, match=r"^--fold nothing.py:fold: there is no file nothing.py$"):
        run_options(**asked, implementation=None, functions={"fold": "nothing.py:fold"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^--fold fold: write it like"):
        run_options(**asked, implementation=None, functions={"fold": "fold"})  # type: ignore[arg-type]


def test_it_reaches_a_process_and_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a variable of its own; in a container its folder is mounted."""
    monkeypatch.setenv("BNSUITE_FOLD", "another:one")
    plain = WorkerOptions("w", tmp_path, tmp_path)
    assert "BNSUITE_FOLD" not in isolation.process_environment(plain)
    options = WorkerOptions("w", tmp_path, tmp_path, functions={"fold": f"{FAULTS}:faithful_fold"})
    assert isolation.process_environment(options)["BNSUITE_FOLD"] == f"{FAULTS}:faithful_fold"
    mounts, variables, _ = image._functions(options)
    assert variables == {"BNSUITE_FOLD": "/bnsuite/functions/fold/faults.py:faithful_fold"}
    assert [(one["Target"], one["Source"], one["ReadOnly"]) for one in mounts] == [
        ("/bnsuite/functions/fold", str(FAULTS.parent), True)
    ]


CASE = "behaviour/folding/conv_transpose2d/grouped"


@pytest.mark.slow
def test_a_run_judges_it_without_torch_s_pins(bnsuite: Command, tmp_path: Path) -> None:
    """A sound one is PASS; one that fails where torch's does is REGRESSED, and the run can be repeated."""
    (tmp_path / "mine.py").write_text(
        "from torch.nn.utils.fusion import fuse_conv_bn_eval\n"
        "def fold(module, layer):\n    return fuse_conv_bn_eval(module, layer, transpose=True)\n"
    )
    verdicts = {}
    for name in (f"{FAULTS}:faithful_fold", f"{tmp_path}/mine.py:fold"):
        done = bnsuite("--device", "cpu", "-k", CASE, "--fold", name, "--out", "o", "--json")
        (found,) = json.loads(done.out)["findings"]
        verdicts[name] = (found["verdict"], done.status)
    assert list(verdicts.values()) == [("PASS", 0), ("REGRESSED", 1)]
    run = store.load(tmp_path / "o")
    assert run.options.fold == name
    assert f"--fold {name}" in str(repeat.run_again(run, [CASE]))
    assert f"{name} in the place of torch's folding" in heading(run)
    assert repeat.implementation(run, "-b") == ["--fold-b", name]
