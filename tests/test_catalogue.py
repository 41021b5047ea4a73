"""The catalogue is open: cases come from files and plug-ins as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsuite.cases import CatalogueError, all_cases, catalogue, profile
from bnsuite.cases.user_files import VARIABLE, CasesFile, parse
from conftest import ROOT, Command

#: A file with a check, a layer and a training.
MINE = (ROOT / "examples" / "own_cases.py").read_text(encoding="utf-8")
IDS = ("numerics/mine/batch_norm1d/mean", "op/batch_norm1d/fwd-train/f32/nc/16x3", "train/mine/bn/lr=0.01")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file with a check, a layer and a training."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def ask(requests: list[dict[str, Any]], **variables: str) -> list[dict[str, Any]]:
    """The answers of a worker."""
    done = subprocess.run(
        [sys.executable, "-m", "bnsuite.measure.worker"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_worker_lists_and_measures_the_cases_of_a_file(mine: Path) -> None:
    """They come after the built-in ones, with their labels, and are looked at, timed and trained as those are."""
    check, layer, training = IDS
    where = {"device": "cpu", "seed": 0}
    answers = ask(
        [
            {"do": "catalogue", "profile": "quick"},
            {"do": "check", "case": check, **where},
            {"do": "build", "case": layer, "fault": {}, **where},
            {"do": "time_block", "rounds": 2, "iterations": 3, "warm": 1},
            {"do": "curve", "case": training, **where},
        ],
        BNSUITE_CASES=str(mine),
    )
    listed, checked, _, block, curve = (answer["done"] for answer in answers)
    assert listed["refused"] is None
    found = listed["cases"][-3:]
    assert tuple(one["id"] for one in found) == IDS
    assert [one["kind"] for one in found] == ["check", "layer", "training"]
    assert found[0]["labels"] == {"gate": "numerics", "family": "mine", "layer": "batch_norm1d", "aspect": "mean"}
    assert found[2]["labels"] == {"workload": "mine", "norm": "bn", "data": "synthetic", "lr": "0.01"}
    assert checked["observations"][0]["what"] == "mean"
    assert len(block["samples_s"]) == 2
    assert len(curve["curve"]["train_loss"]) == 1


@pytest.mark.slow
def test_a_run_judges_the_cases_of_a_file(mine: Path, bnsuite: Command) -> None:
    """A run measures them beside the built-in ones; without a baseline they are NO_BASELINE."""
    done = bnsuite("--device", "cpu", "-k", f"{IDS[0]} or {IDS[1]}", "--out", "o", "--json", BNSUITE_CASES=str(mine))
    assert done.status in {0, 3}, done.out + done.err  # 3 on a host that is busy meanwhile
    findings = {(one["case"], one["gate"]): one["verdict"] for one in json.loads(done.out)["findings"]}
    assert findings[IDS[0], "numerics"] == "PASS"
    assert findings[IDS[1], "timing"] in {"NO_BASELINE", "INVALID"}
    assert findings[IDS[1], "memory"] == "NO_BASELINE"


@pytest.mark.slow
def test_plain_pytest_takes_files_of_cases(mine: Path, tmp_path: Path) -> None:
    """``--cases`` may be given several times; a file that can't be used is a usage error."""
    (tmp_path / "other.py").write_text("THEIRS = ()\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "suite", "--device", "cpu", "-p", "no:cacheprovider", "-q"]
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ}
        )

    done = run("--cases", str(mine), "--cases", f"{tmp_path / 'other.py'}:THEIRS", "-k", "16x3 or mine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    broken = run("--cases", str(tmp_path / "none.py"))
    assert broken.returncode == 4
    assert f"ERROR: cases {tmp_path}/none.py: there is no file {tmp_path}/none.py" in broken.stderr + broken.stdout


BROKEN = {
    "raise KeyError('x')": "can't be imported: KeyError: 'x'",
    "CASES = (": "can't be imported: SyntaxError: '(' was never closed (mine.py, line 1)",
    "import sys\nsys.exit('no')": "can't be imported: SystemExit: no",
    "import nowhere_at_all": "can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
    "MINE = ()": "has no CASES; name what holds its cases: {path}:NAME",
    "CASES = 3": "holds an object of type int, which is no iterable of cases",
    "CASES = ['op/x']": "holds an object of type str, which is no Case",
    "def CASES():\n    raise ValueError('two\\nlines')": "its cases can't be made: ValueError: two",
    "from bnsuite.cases import all_cases, LayerCase\n"
    "CASES = [LayerCase(layer='batch_norm1d', phase='fwd-train', layout='nc', shape=(64, 128))]": (
        "the id op/batch_norm1d/fwd-train/f32/nc/64x128 is that of a case of bnsuite; rename one"
    ),
    "from bnsuite.cases import NumericsCase\nCASES = [NumericsCase(group='m', name='a b', observe=list, rule='r')]": (
        "case numerics/m/a b: its id is no path of words of letters, digits and -_.+=, such as mine/layer/fwd"
    ),
    "from bnsuite.cases import NumericsCase\n"
    "CASES = [NumericsCase(group='m', name='x', observe=list, rule='r', rows=('X9',))]": (
        "a NumericsCase can't be described: KeyError: 'X9'"
    ),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_used_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    """The message names the file and the cause."""
    path = tmp_path / "mine.py"
    path.write_text(text)
    (answer,) = ask([{"do": "catalogue", "profile": "quick"}], BNSUITE_CASES=str(path))
    assert answer["done"] == {"refused": f"cases {path}: {BROKEN[text].format(path=path)}", "cases": []}


def test_the_command_refuses_a_broken_file(tmp_path: Path, bnsuite: Command) -> None:
    """It is unusable input, status 2, in one line."""
    done = bnsuite("--device", "cpu", BNSUITE_CASES=str(tmp_path / "none.py"))
    assert done.status == 2
    assert done.err == f"bnsuite: BNSUITE_CASES {tmp_path}/none.py: there is no file {tmp_path}/none.py\n"


def test_two_files_with_one_id_are_both_named(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it knows where to look; files may be of one name."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.py").write_text(MINE)
    monkeypatch.setenv(VARIABLE, f"{mine}{os.pathsep}{tmp_path / 'x' / 'mine.py'}")
    with pytest.raises(CatalogueError) as caught:
        all_cases()
    assert (
        str(caught.value)
        == f"cases {tmp_path}/x/mine.py: the id {IDS[0]} is that of a case of cases {mine}; rename one"
    )


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        ("speed", "there is no gate 'speed'; choose among timing, memory, kernels, convergence, numerics, behaviour"),
        ("convergence", "only a TrainCase can have the gate 'convergence'"),
    ],
)
def test_a_gate_that_a_case_cannot_have_is_named(
    gates: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case is judged by the gates that know what to do with it."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from bnsuite.cases import Case\n"
        "class Mine(Case):\n"
        f"    family, id, gates, nbytes = 'mine', 'mine/x', ({gates!r},), None\n"
        "    def build(self, device, seed=0): return lambda: None\n"
        "CASES = [Mine()]\n"
    )
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(CatalogueError, match=r"^cases .*mine.py: case mine/x: ") as caught:
        all_cases()
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("", ()),
        ("a.py", (CasesFile(Path("a.py")),)),
        ("/x/a.py:MINE:b.py", (CasesFile(Path("/x/a.py"), "MINE"), CasesFile(Path("b.py")))),
        ("a.py::b.py:", (CasesFile(Path("a.py")), CasesFile(Path("b.py")))),
    ],
)
def test_the_variable_lists_files_and_names(text: str, files: tuple[CasesFile, ...]) -> None:
    """A colon separates files as well as a file from a name."""
    assert parse(text) == files


@pytest.mark.parametrize("text", ["a", "a.py:b:c", "a.py:b c"])
def test_what_is_no_list_of_files_is_refused(text: str) -> None:
    """The message says how to write it."""
    with pytest.raises(CatalogueError, match=r"is no file; write path/to/file.py or path/to/file.py:NAME"):
        parse(text)


@pytest.fixture
def plug_in(tmp_path: Path) -> Callable[[str], str]:
    """Installs a package with an entry point of this value, and returns the PYTHONPATH that has it."""

    def install(value: str) -> str:
        folder = tmp_path / "site"
        (folder / "mine-1.dist-info").mkdir(parents=True)
        (folder / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
        (folder / "mine-1.dist-info" / "entry_points.txt").write_text(f"[bnsuite.cases]\nmine = {value}\n")
        (folder / "mine_cases.py").write_text(MINE)
        return os.pathsep.join([str(folder), str(ROOT / "suite")])

    return install


def test_the_cases_of_a_plug_in_are_found(plug_in: Callable[[str], str]) -> None:
    """An installed package adds its cases by an entry point."""
    (answer,) = ask([{"do": "catalogue", "profile": "quick"}], PYTHONPATH=plug_in("mine_cases:CASES"))
    assert tuple(one["id"] for one in answer["done"]["cases"][-3:]) == IDS


def test_a_broken_plug_in_is_named_in_one_line(plug_in: Callable[[str], str]) -> None:
    """The message names the plug-in, what it names, and what to do."""
    (answer,) = ask([{"do": "catalogue", "profile": "quick"}], PYTHONPATH=plug_in("mine_cases:NONE"))
    said = "plug-in mine: mine_cases:NONE can't be loaded: AttributeError: module 'mine_cases' has no attribute 'NONE'"
    assert answer["done"]["refused"] == f"{said}; repair or uninstall it"


def test_a_plug_in_is_loaded_only_for_the_catalogue(plug_in: Callable[[str], str]) -> None:
    """Importing the cases does not import it, nor the checks."""
    code = (
        "import sys, bnsuite.cases\n"
        "assert 'mine_cases' not in sys.modules and 'bnsuite.cases.checks.numerics' not in sys.modules\n"
        "bnsuite.cases.all_cases()\nassert 'mine_cases' in sys.modules"
    )
    path = plug_in("mine_cases:CASES")
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_an_unknown_id_is_named() -> None:
    """A worker that is asked for a case of another catalogue says so."""
    with pytest.raises(CatalogueError, match="case op/nothing: there is none of this id in the catalogue"):
        catalogue.case("op/nothing")
    assert profile("quick")
