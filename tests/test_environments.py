"""Places for workers: interpreters as they really are, good and bad, each bad one told in one line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bnsuite.cases import profile
from bnsuite.launch.environments import EnvironmentUnavailableError, Here, parse
from bnsuite.launch.environments.bundle import inner_half
from bnsuite.launch.environments.image import Image
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import Catalogue, CheckAnswer
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.pool import Job, ask_all
from bnsuite.launch.process.worker import Worker
from bnsuite.launch.queries import ask_environment, catalogue
from bnsuite.record.errors import InputError
from conftest import ROOT

CATALOGUE = {"do": "catalogue", "profile": "quick"}
#: The folder that has torch, wherever this interpreter finds it.
OURS = str(Path(find_spec("torch").origin).parents[1])

StartWorker = Callable[[str], Worker]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Makes workers in the environment that is written so."""
    workers: list[Worker] = []
    (tmp_path / "scratch").mkdir()

    def start(text: str, name: str = "worker") -> Worker:
        environment = parse(text)
        environment.prepare()
        workers.append(Worker(WorkerOptions(name, tmp_path / "scratch", tmp_path / "stage"), environment))
        return workers[-1]

    yield start
    for one in workers:
        one.end()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Writes a program that passes for an interpreter; returns how it is named as an environment."""

    def write(text: str) -> str:
        file = tmp_path / "interpreter"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
        return f"python:{file}"

    return write


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment of the interpreter that runs the tests, with nothing in it."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def site_packages(venv: Path) -> Path:
    (found,) = venv.glob("lib/python*/site-packages")
    return found


def refused(worker: Worker) -> str:
    """Returns why an environment can't be judged; the error names it."""
    with pytest.raises(EnvironmentUnavailableError) as caught:
        ask_environment("cpu", worker)
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"{worker.environment.name}: {caught.value.cause}"
    return caught.value.cause


@pytest.mark.parametrize("text", ["", "python", "python:", "/usr/bin/python3", "docker:", "torch=2.4", "conda:base"])
def test_what_is_no_environment_is_told_with_what_is(text: str) -> None:
    with pytest.raises(InputError, match=r"is no environment; write \. \(this interpreter\), python:PATH, "):
        parse(text)


def test_a_scratch_folder_that_takes_nothing_is_no_fault_of_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "scratch").touch()
    with pytest.raises(InputError, match=r"scratch: cannot be written to: Not a directory; free some space, or set TM"):
        inner_half(tmp_path / "scratch")


def test_this_interpreter_is_a_dot() -> None:
    site = parse(".")
    site.prepare()
    assert (type(site), site.name) == (Here, ".")


def test_a_virtual_environment_is_judged_by_its_folder(venv: Path, worker: StartWorker) -> None:
    """Its own interpreter runs, on its own packages."""
    (site_packages(venv) / "there.pth").write_text(OURS)
    (site_packages(venv) / "notes-1.0.dist-info").mkdir()
    device, environment = ask_environment("cpu", worker(f"python:{venv}"))
    assert device == "cpu"
    assert environment.threads == 1
    assert "torch" in environment.packages


def test_an_interpreter_is_found_by_its_name(venv: Path, worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell finds it: on the PATH."""
    (venv / "bin" / "python9").symlink_to(venv / "bin" / "python")
    monkeypatch.setenv("PATH", str(venv / "bin"), prepend=":")
    assert worker("python:python9").ask(CATALOGUE, Catalogue, 60).cases


def test_nothing_of_ours_leaks_into_another_interpreter(venv: Path, worker: StartWorker, tmp_path: Path) -> None:
    """The inner half alone is put before it: it lists the cases, has no torch, and finds none of our packages."""
    one = worker(f"python:{venv}/bin/python")
    assert len(one.ask(CATALOGUE, Catalogue, 60).cases) == len(profile("quick"))
    assert sorted(path.name for path in (tmp_path / "scratch/inner/bnsuite").iterdir() if path.name[:2] != "__") == [
        "cases",
        "measure",
    ]
    assert refused(one) == "torch is not installed there; name one that holds torch 2.4 or newer"


def test_what_an_interpreter_does_by_itself_is_part_of_it(
    venv: Path, worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's PYTHONPATH comes after ours, and its sitecustomize is run; it can't hide our package."""
    (tmp_path / "path" / "bnsuite").mkdir(parents=True)
    (tmp_path / "path" / "bnsuite" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "path" / "sitecustomize.py").write_text(
        f"import os\nos.environ['BNSUITE_CASES'] = {str(ROOT / 'tests' / 'faulty_cases.py')!r}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    cases = worker(f"python:{venv}").ask({"do": "catalogue", "profile": "full"}, Catalogue, 60).cases
    assert "faulty/fine" in {case.id for case in cases}


@pytest.mark.parametrize("text", [".", "python:{venv}"])
def test_what_prints_while_python_starts_is_no_answer(
    text: str, venv: Path, worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lines, JSON, the environment with the token in it, and a last line without its end."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import atexit, os\nos.write(1, b'hello\\n{\"done\": {}}\\n')\nprint(os.environ)\n"
        "for item in os.environ.items(): print('='.join(item))\n"
        "print('no end', end='', flush=True)\natexit.register(print, 'goodbye')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    one = worker(text.format(venv=venv))
    for _ in range(2):
        assert len(one.ask(CATALOGUE, Catalogue, 60).cases) == len(profile("quick"))
    one.end()
    noise = (tmp_path / "scratch" / "worker-noise.txt").read_text()
    assert noise.startswith('hello\n{"done": {}}\n')
    assert noise.endswith("no end\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no {path}; name an interpreter, or the folder of a virtual environment"),
        (lambda path: path.mkdir(), "is a folder without bin/python; name "),
        (lambda path: path.write_text(""), "{path} isn't executable; name "),
        (
            lambda path: path.symlink_to("/nowhere/python3"),
            "{path} is a link to /nowhere/python3, which is gone; make ",
        ),
    ],
)
def test_a_path_that_is_no_interpreter_is_told(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    """In one line, before anything is started."""
    path = tmp_path / "there"
    make(path)
    with pytest.raises(InputError) as caught:
        parse(f"python:{path}").prepare()
    assert str(caught.value).startswith(f"python:{path}: {said.format(path=path)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x7fELF of another machine", "can't be started: Exec format error; name "),
        ("#!/nowhere/python3\n", "can't be started: the program that it needs to start (its #! line, or its loader)"),
        ("#!/bin/sh\nexit 3\n", "no worker starts there: the process ended with status 3"),
        ("#!/bin/sh\necho module not loaded; exit 1\n", "the process ended with status 1: module not loaded"),
        ("#!/bin/sh\nkill -9 $$\n", "the process was ended by SIGKILL; the kernel ends processes so when memory runs"),
        ("#!/bin/sh\necho one >&2; echo no licence >&2; echo bye; exit 7\n", "ended with status 7: no licence"),
        ("#!/bin/cat\n", "no worker starts there: the process ended with status 1: "),
    ],
    ids=["format", "loader", "status", "stdout", "killed", "stderr", "no Python"],
)
def test_a_program_that_is_no_python_is_told(
    script: Callable[[str], str], worker: StartWorker, text: str, said: str
) -> None:
    """What the kernel or the program itself says, in one line."""
    assert said in refused(worker(script(text)))


def test_a_python_that_is_too_old_is_told(worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 9, 18, 'final', 0)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    said = refused(worker(f"python:{sys.executable}"))
    assert said.endswith("the process ended with status 1: bnsuite needs Python 3.10 or newer; this is 3.9.18")


def test_an_old_python_can_read_the_check_of_its_version() -> None:
    text = (ROOT / "suite" / "bnsuite" / "__init__.py").read_text(encoding="ascii")
    ast.parse(text, feature_version=(3, 4))
    assert "f'" not in text
    assert 'f"' not in text


def fake_torch(venv: Path, code: str, version: str) -> None:
    """A package named torch, and our packages after it."""
    packages = site_packages(venv)
    (packages / "there.pth").write_text(OURS)
    (packages / f"torch-{version}.dist-info").mkdir()
    (packages / f"torch-{version}.dist-info" / "METADATA").write_text(f"Name: torch\nVersion: {version}\n")
    if code:
        (packages / "torch.py").write_text(code)


@pytest.mark.parametrize(
    ("code", "version", "said"),
    [
        ("", "2.3.1+cu121", "holds torch 2.3.1+cu121; what is judged must be torch 2.4 or newer"),
        ("", "1.13.0", "holds torch 1.13.0; "),
        (
            "raise ImportError('libcudnn.so.9: cannot open\\nsecond line')",
            "2.4.0",
            "ImportError: libcudnn.so.9: cannot o",
        ),
        ("import os; os.abort()", "2.4.0", "no worker starts there: the process was ended by SIGABRT"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "2.4.0",
            "was ended by SIGKILL; the kernel ends processes so when memory",
        ),
    ],
)
def test_a_torch_that_cannot_be_judged_is_told(
    venv: Path, worker: StartWorker, code: str, version: str, said: str
) -> None:
    """Too old, or it does not survive being imported."""
    fake_torch(venv, code, version)
    assert said in refused(worker(f"python:{venv}"))


def test_a_device_that_is_not_there_is_told_of_its_environment(worker: StartWorker) -> None:
    """By its name, but for this interpreter, which is meant where none is named."""
    name = f"python:{sys.executable}"
    with pytest.raises(InputError, match=rf"^{name}: --device cuda:99: "):
        ask_environment("cuda:99", worker(name))
    with pytest.raises(InputError, match=r"^--device cuda:99: "):
        ask_environment("cuda:99", worker("."))


def test_a_catalogue_that_cannot_be_had_is_told_of_its_environment(
    script: Callable[[str], str], worker: StartWorker
) -> None:
    one = worker(script("#!/bin/sh\nexit 3\n"))
    with pytest.raises(InputError, match=r"^python:\S+: no worker starts there: the process ended with status 3$"):
        catalogue("quick", None, None, one)


ANSWERING = """#!{python} -S
import os, sys
mark = "\\x1e" + os.environ["BNSUITE_TOKEN"]
for line in sys.stdin:
    os.write(1, {answer})
"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("(mark + '{\"done\": \\n').encode()", "sent an unusable message: "),
        ("(mark + '[]\\n').encode()", "sent an unusable message: "),
        (
            '(mark + \'{"done": {"observations": [{"what": "x", "value": NaN}], "skipped": null}}\\n\').encode()',
            "unusable",
        ),
        ("mark.encode() + b'\\xff\\xfe\\n'", "sent an unusable message: "),
        ('mark.encode() + b\'{"done": {}, "more": 1}\\n\'', "sent an unusable message: "),
        ("b'{\"done\": {}}\\n'; sys.exit(5)", "the process ended with status 5"),
    ],
    ids=["half", "list", "nan", "bytes", "more", "no token"],
)
def test_answers_are_never_trusted(script: Callable[[str], str], worker: StartWorker, answer: str, said: str) -> None:
    """Of a real process: what is no message of the kind that was asked for is refused."""
    answer, _, then = answer.partition("; ")
    text = ANSWERING.format(python=sys.executable, answer=answer) + (f"    {then}\n" if then else "")
    with pytest.raises(ChildError, match=said):
        worker(script(text)).ask({"do": "check"}, CheckAnswer, 10)


def test_a_limit_is_called_by_its_name(script: Callable[[str], str], worker: StartWorker) -> None:
    """That of --timeout, unless the request or the job says what sets it."""
    site = script("#!/bin/sh\nsleep 600\n")
    with pytest.raises(ChildError, match=r"no answer after 0\.2 s, the limit that --timeout sets"):
        worker(site).ask(CATALOGUE, Catalogue, 0.2)
    job = Job("case", "seed 3: ", CATALOGUE, 0.2, "the limit of this check")
    (result,) = ask_all([job], [worker(site)], Catalogue)
    assert result.reason == "seed 3: no answer after 0.2 s, the limit of this check"


def test_what_is_open_at_the_deadline_stays_so(script: Callable[[str], str], worker: StartWorker) -> None:
    """No answer is waited for beyond it, however long it may take; what hung is ended, and has not failed."""
    one = worker(script("#!/bin/sh\nsleep 600\n"))
    job = Job("case", "", CATALOGUE, 20)
    assert list(ask_all([job], [one], Catalogue, deadline=monotonic() + 0.2)) == []
    with pytest.raises(ChildError, match="the run is over"):
        one.ask(CATALOGUE, Catalogue, 10)


def test_an_environment_that_vanishes_is_no_wrong_input(script: Callable[[str], str], worker: StartWorker) -> None:
    """It was there when the command began: what it fails on is the request, not the command line."""
    site = script("#!/bin/sh\nexit 3\n")
    one = worker(site)
    with pytest.raises(ChildError, match="status 3"):
        one.ask(CATALOGUE, Catalogue, 10)
    Path(site.removeprefix("python:")).unlink()
    with pytest.raises(ChildError, match="there is no "):
        one.ask(CATALOGUE, Catalogue, 10)


def test_a_container_is_shown_the_gpus_in_the_same_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What chooses among GPUs is passed on; the process takes its cores by itself, for its sensors are read beside."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    image = Image("image:x", "x")
    cores = ",".join(map(str, isolation.cores()))

    def settings(device: str) -> dict[str, Any]:
        options = WorkerOptions("x", tmp_path, tmp_path / "stage", cores=(0,), device=device)
        return image._settings(options, "token")

    on_gpu, on_cpu = settings("cuda:0"), settings("cpu")
    assert on_gpu["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert on_gpu["environment"]["CUDA_VISIBLE_DEVICES"] == "1,0"
    assert (on_gpu["environment"]["BNSUITE_CORES"], on_gpu["cpuset_cpus"]) == ("0", cores)
    assert on_cpu["cpuset_cpus"] == "0"


def test_only_what_times_gets_the_cores_of_ranks(tmp_path: Path) -> None:
    """The containers of checks and trainings stay on their own cores, though the run has steps of several ranks."""
    image = Image("image:x", "x")

    def cores(label: str) -> str:
        options = WorkerOptions(label, tmp_path, tmp_path / "stage", cores=(1,), rank_cores=(0, 1))
        return str(image._settings(options, "token")["cpuset_cpus"])

    assert [cores(label) for label in ("launch", "a-launch", "check-0", "train-0")] == ["0,1", "0,1", "1", "1"]
