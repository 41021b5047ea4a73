"""Defaults from a file: where it is looked for, what wins over it, and what is said of a wrong one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bnsuite.cli import config, index_options, options
from bnsuite.cli.command import VERB_GROUP, main
from bnsuite.cli.config import KEYS, NONE, OWN, SHARED, TABLES
from bnsuite.cli.options import MeasuringOptions
from bnsuite.record import store
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex
from bnsuite.report import table
from conftest import ROOT, make_run, result, timing

PAGE = (ROOT / "docs" / "how-to" / "configure.md").read_text(encoding="utf-8")
STEP = "def step():\n    return lambda: None\n"
#: Makes a file below the folder of a test.
Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Writes a file in the current folder, an empty one, in which no variable of a user's counts."""
    monkeypatch.chdir(tmp_path)
    for name in ("OUT", "BASELINES", "DATA", "CASES", "WORKLOADS", "CONFIG"):
        monkeypatch.delenv(f"BNSUITE_{name}", raising=False)

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


def parsed(verb: str, *arguments: str) -> click.Context:
    """The context of a verb after its arguments were parsed."""
    group = VERB_GROUP.make_context("bnsuite", [verb, *arguments])
    command = VERB_GROUP.get_command(group, verb)
    assert command is not None
    return command.make_context(verb, list(arguments), parent=group)


def given(*arguments: str) -> MeasuringOptions:
    """The options of measuring as `bnsuite run` gets them."""
    got: list[MeasuringOptions] = []

    @options.measuring_any
    def verb(one: MeasuringOptions, **_: object) -> int:
        got.append(one)
        return 0

    with parsed("run", *arguments) as context:
        verb(**context.params)
    return got[0]


def params_of(verb: str) -> list[click.Parameter]:
    """The parameters of a verb."""
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert command is not None
    return command.params


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_an_option_of_its_verbs(name: str) -> None:
    """Each verb of a key has the parameter, and the option that names the file."""
    key = KEYS[name]
    for verb in key.verbs:
        params = {one.name for one in params_of(verb)}
        assert {key.param if name != "results" else "config", "config"} <= params, verb


def test_the_page_has_every_key() -> None:
    """The tables of the documentation are those of the code: keys, types, options and verbs."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == list(KEYS)
    for name, kind, option, verbs in rows:
        assert (kind, tuple(re.findall(r"\w+", verbs))) == (KEYS[name].kind.words, KEYS[name].verbs)
        if name != "results":
            param = next(one for one in params_of(KEYS[name].verbs[0]) if one.name == KEYS[name].param)
            assert option.strip("`") in {*param.opts, *(one.upper() for one in param.opts)}


@pytest.mark.parametrize("shared", [False, True])
def test_the_example_of_the_page_is_taken(put: Put, tmp_path: Path, *, shared: bool) -> None:
    """Every verb parses with it, in either file, and gets what it says."""
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    if shared:
        text = "[tool.bnsuite]\n" + re.sub(r"^\[(\w+)\]", r"[tool.bnsuite.\1]", text, flags=re.MULTILINE)
    put(SHARED if shared else OWN, text)
    for name in ("bench/ranker.py", "bench/kernels.py", "bench/baselines/pins.json"):
        put(name, "")
    of = {verb: parsed(verb).params for verb in TABLES}
    assert of["run"]["workloads"] == (f"{tmp_path}/bench/ranker.py", f"{tmp_path}/bench/kernels.py:fused_step")
    assert (of["run"]["strict"], of["ab"]["strict"], of["run"]["profile"]) == (True, False, "full")
    assert (of["run"]["budget"], of["run"]["timeout"]) == (1800.0, 120.0)
    assert (of["ab"]["a"], of["ab"]["b"], of["ab"]["seed"]) == ("torch==2.13.0", ".", 1)
    assert (of["bisect"]["good"], of["bisect"]["gate"]) == ("torch==2.9.1", "timing")
    assert of["accept"]["baselines"] == tmp_path / "bench" / "baselines"
    assert of["show"]["run"] == tmp_path / "bench" / "results" / "latest"


def test_the_nearest_file_is_taken_and_its_paths_are_its_own(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder below it, and not the one above; of other projects' files none is read."""
    put(OWN, 'device = "cuda:7"')
    put("a/mine.py", STEP)
    put("a/below/pyproject.toml", "this is [no TOML, and none of ours")
    put("a/bnsuite.toml", 'workloads = ["mine.py"]\nbaselines = "kept"\n[run]\nenvironment = "python:env/bin/python"')
    put("a/kept/pins.json", "{}")
    monkeypatch.chdir("a/below")
    params, above = parsed("run").params, Path.cwd().parent
    assert params["device"] == "auto"
    assert params["workloads"] == (f"{above}/mine.py",)
    assert params["baselines"] == above / "kept"
    assert params["environment"] == f"python:{above}/env/bin/python"


def test_the_command_line_wins_over_variables_and_these_over_the_file(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are named anew replace those of the file."""
    for name in ("file", "variable", "option"):
        put(f"{name}/x", "")
        put(f"{name}.py", STEP)
    put(OWN, 'baselines = "file"\nworkloads = ["file.py"]\nstrict = true\nthreads = 1\nresults = "there"')

    def found(*arguments: str) -> tuple[str, list[str], bool, str]:
        params = parsed("run", *arguments).params
        where = params["out"].name if params["out"] else ""
        names = [Path(one).stem for one in params["workloads"]]
        return params["baselines"].name, names, params["strict"], where

    assert found() == ("file", ["file"], True, "")
    for name, value in (("BASELINES", "variable"), ("WORKLOADS", "variable.py"), ("OUT", "elsewhere")):
        monkeypatch.setenv(f"BNSUITE_{name}", value)
    assert found() == ("variable", ["variable"], True, "elsewhere")
    named = ("--baselines", "option", "--workload", "option.py", "--no-strict", "--out", "here")
    assert found(*named) == ("option", ["variable", "option"], False, "here")
    assert found("--config", NONE)[2] is False


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        ([], "op/"),
        (["--workload", "mine.py"], "^workload/ or ^numerics/workload/ or ^behaviour/workload/"),
        (["--cases", "mine.py"], None),
        (["--workload", "mine.py", "-k", "step"], "step"),
    ],
)
def test_a_file_that_is_named_is_not_left_out_by_the_selection_of_the_file(
    put: Put, arguments: list[str], selected: str | None
) -> None:
    """What a person names on the command line is measured."""
    put("mine.py", STEP)
    put(OWN, 'select = "op/"\nworkloads = ["mine.py"]' if not arguments else 'select = "op/"')
    assert given(*arguments).select == selected


def test_results_go_to_the_folder_of_the_file_and_are_found_there(
    put: Put, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`accept` takes the newest run of it where none is named."""
    put(OWN, 'results = "there"\nbaselines = "kept"')
    folder = given("--baselines", str(tmp_path)).folder
    assert folder.path.parent == tmp_path / "there"
    with folder.claimed() as held:
        store.save(make_run(result("op/a", timings=(timing(1e-3),) * 3)), held.path)
        held.point_latest_here()
    assert main(["accept"]) == 0
    assert f"wrote {tmp_path}/kept/timing/" in capsys.readouterr().out
    assert main(["check"]) == 0
    assert f"against {tmp_path}/kept" in capsys.readouterr().out


def test_the_file_is_recorded_and_in_the_heading(put: Put) -> None:
    """A run says whose defaults it was made with, and one without a file says nothing."""
    path = put(OWN, 'device = "cpu"')
    found = given().run_options()
    assert (found.device, found.config) == ("cpu", str(path))
    run = make_run(result("op/a"))
    assert f" · options of {path}" in table.heading(run.model_copy(update={"options": found}))
    assert given("--config", NONE).run_options().config is None
    assert "options of" not in table.heading(run)


WRONG = [
    (OWN, "threads = ", [], f"{OWN}: is no TOML: "),
    (OWN, b"device = '\xff'", [], f"{OWN}: is not UTF-8 at byte 10; save it as UTF-8"),
    (SHARED, "[tool.bnsuite]\ndevice =", [], f"{SHARED}: is no TOML: "),
    (SHARED, "tool.bnsuite = 3", [], f"{SHARED} [tool.bnsuite]: is the number 3; write it as a table"),
    (OWN, "devise = 'cpu'", [], f"{OWN}: there is no key devise; did you mean device?"),
    (OWN, "[run]\nstrikt = true", [], f"{OWN}: there is no key run.strikt; did you mean run.strict?"),
    (OWN, "a = '.'", [], f"{OWN}: there is no key a; it is for the table of ab"),
    (
        OWN,
        "[list]\nbudget = '1m'",
        [],
        "there is no key list.budget; it is for the tables of run, ab, bisect, selftest",
    ),
    (OWN, "xyz = 1", [], f"{OWN}: there is no key xyz; choose from workloads, cases, select, "),
    (OWN, "threads = '2'", [], f"{OWN}: threads is the string '2'; write a whole number"),
    (OWN, "threads = true", [], f"{OWN}: threads is true; write a whole number"),
    (OWN, "workloads = 'a.py'", [], "workloads is the string 'a.py'; write a list of strings such as "),
    (OWN, "strict = 1", [], f"{OWN}: strict is the number 1; write true or false"),
    (OWN, "ab = 1", [], f"{OWN}: ab is the number 1; write it as a table of options of `bnsuite ab`"),
    (OWN, "budget = '10'", [], f"{OWN}: budget: '10' is no duration; write it like 90s, 10m or 2h; see `bnsuite run"),
    (OWN, "profile = 'nightly'", [], f"{OWN}: profile: 'nightly' is not one of 'quick', 'full'; see `bnsuite run"),
    (OWN, "device = 'gpu'", [], f"{OWN}: device gpu: no such device; choose auto, cpu, cuda or cuda:N"),
    (OWN, "[run]\nthreads = 4096", [], f"{OWN}: run.threads 4096: there are "),
    (OWN, "workloads = ['no.py']", [], "/no.py: there is no file "),
    (OWN, "baselines = 'no'", [], "/no: there is no such folder; make it before the first run"),
    (OWN, "[ab]\na = 'conda:x'\nb = '.'", ["ab"], f"{OWN}: ab.a 'conda:x' is no environment; write . (this "),
    (OWN, "[ab]\na = '.'\nb = 'python:no/python'", ["ab"], f"{OWN}: ab.b python:/"),
    (OWN, "[ab]\na = '.'\nb = '.'", ["ab", "."], "only A is named; name both A and B, or neither if a file names them"),
    (OWN, "", ["--config", "no.toml"], "--config no.toml: there is no such file; name one, or none"),
    (SHARED, "[tool.ruff]", ["--config", SHARED], "--config pyproject.toml: has no [tool.bnsuite]; add that table or "),
]


@pytest.mark.parametrize(("name", "content", "arguments", "said"), WRONG, ids=[one[3][:60] for one in WRONG])
def test_a_wrong_file_is_one_line(
    put: Put, capsys: pytest.CaptureFixture[str], *, name: str, content: str | bytes, arguments: list[str], said: str
) -> None:
    """It names the file, the key, the cause and the fix, with status 2."""
    path = put(name, "")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bnsuite: ")
    assert said in err
    assert err.count("\n") == 1


def test_two_files_in_one_folder_are_an_error(put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is preferred in silence; one alone may be named."""
    own = put(OWN, 'device = "cpu"')
    shared = put(SHARED, "[tool.bnsuite]\nthreads = 1")
    assert main(["list"]) == 2
    said = f"{own.parent}: has both {OWN} and [tool.bnsuite] in {SHARED}; keep one of them"
    assert capsys.readouterr().err == f"bnsuite: {said}\n"
    assert parsed("run", "--config", str(shared)).params["device"] == "auto"
    shared.write_text("[project]\nname = 'bnsuite-user'\n")
    assert parsed("run").params["device"] == "cpu"


def test_a_wrong_file_keeps_nobody_from_the_help(put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` reads none."""
    put(OWN, "=")
    assert main(["run", "--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out


def test_nothing_is_read_where_there_is_no_file(put: Put, tmp_path: Path) -> None:
    """The search ends at the root, and a folder that has the name of a file is none."""
    (tmp_path / OWN).mkdir()
    assert config.find(tmp_path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_closed_folder_has_no_file(put: Put) -> None:
    """As the current folder of a container that belongs to somebody else."""
    file = put(OWN, 'device = "cpu"')
    file.parent.chmod(0o700)
    script = f"""
import os
from pathlib import Path
from bnsuite.cli import config
os.setuid(65534)
print(config.find(Path({str(file.parent)!r})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_an_index_of_a_file_is_no_error_where_no_release_is_compared(put: Put) -> None:
    """An option that has no use is refused; the same default of a team is left unused."""
    put(OWN, '[ab]\nindex-url = "https://index.example.org/simple"\n')
    index = PackageIndex(url="https://index.example.org/simple")
    with parsed("ab", ".", "docker:x:1"):
        index_options.require_release(index, (".", "docker:x:1"))
    with parsed("ab", ".", "docker:x:1", "--index-url", str(index.url)), pytest.raises(InputError, match="--index-url"):
        index_options.require_release(index, (".", "docker:x:1"))
