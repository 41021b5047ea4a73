"""The steps of the check, the most telling first; what this checkout or this machine lacks is left out and said."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module
from pathlib import Path

from gpu_check.step import BNSUITE, BNSUITE_WORDS, FOUND, OK, SKIPPED, NothingToDoError, Request, Step

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
#: The share of its time that a measurement plans with: its judgement, its report and its end need the rest.
PLANNED_SHARE = 0.7
PREFLIGHT_WORDS = {1: "something disturbs", 3: "no GPU can be measured"}
PYTEST_WORDS = {1: "a test failed", 5: "every test needs a GPU"}


def preflight(request: Request, _: float) -> list[str]:
    """Driver, runtime, wheel, container toolkit, clocks, one kernel; and what is installed."""
    return [sys.executable, str(TESTS / "gpu_check" / "preflight.py"), request.device, str(request.folder)]


def gpu_tests(request: Request, _: float) -> list[str]:
    """The tests that need a GPU, without the slow ones; elsewhere pytest skips them."""
    junit = f"--junitxml={request.folder / 'gpu-tests.xml'}"
    marks = ("-m", "gpu and not slow", "-p", "no:cacheprovider")
    return [sys.executable, "-m", "pytest", "-v", *marks, junit, str(TESTS / "test_gpu.py")]


def agreement(request: Request, _: float) -> list[str]:
    """GPU time against triton.testing.do_bench."""
    program = TESTS / "gpu_agreement.py"
    if not program.exists():
        raise NothingToDoError("tests/gpu_agreement.py is not here")
    if not request.on_gpu:
        raise NothingToDoError("it needs a GPU: Triton compiles for one")
    folder = request.folder / "agreement"
    folder.mkdir(exist_ok=True)
    return [sys.executable, str(program), "--device", request.device, "--out", str(folder)]


def quick_run(request: Request, seconds: float) -> list[str]:
    """The quick profile."""
    return [*_measure("run", request, "run"), "--profile", "quick", *_budget("run", seconds)]


def quick_comparison(request: Request, seconds: float) -> list[str]:
    """This environment compared with itself: nothing may differ."""
    return [*_measure("ab", request, "ab"), ".", ".", "--profile", "quick", *_budget("ab", seconds)]


def loops(request: Request, _: float) -> list[str]:
    """An epoch of a workload against the article's own loop."""
    out = str(request.folder / "loops.json")
    return [sys.executable, str(TESTS / "loops.py"), "--device", request.device, "--pairs", "2", "--out", out]


def calibration(request: Request, _: float) -> list[str]:
    """Bounds and figures of this GPU, from the quick run, into a copy of the baselines."""
    if not _has("calibrate"):
        raise NothingToDoError("bnsuite has no verb calibrate")
    if not request.on_gpu:
        raise NothingToDoError("it needs a run of a GPU")
    if not (request.folder / "run" / "run.json").exists():
        raise NothingToDoError("the quick run left no run.json")
    copy = request.folder / "calibration"
    shutil.copytree(ROOT / "baselines", copy, dirs_exist_ok=True)
    return [*_bnsuite("calibrate"), str(request.folder / "run"), "--baselines", str(copy)]


def full_run(request: Request, seconds: float) -> list[str]:
    """As much of the full profile as there is time for."""
    budget = _budget("run", seconds)
    if not budget:
        raise NothingToDoError("bnsuite run has no --budget, and the full profile takes far longer")
    return [*_measure("run", request, "full"), "--profile", "full", *budget]


def all_checks(request: Request, _: float) -> list[str]:
    """Every check, with those that only a GPU has."""
    return [*_measure("run", request, "checks"), "--profile", "full", "-k", "numerics or behaviour"]


STEPS = (
    Step("preflight", "preflight", 12, preflight, {0: OK, 1: FOUND}, PREFLIGHT_WORDS, fixed=True),
    Step("gpu-tests", "GPU tests", 90, gpu_tests, {0: OK, 1: FOUND, 5: SKIPPED}, PYTEST_WORDS),
    Step("agreement", "agreement with do_bench", 60, agreement, {0: OK, 1: FOUND}, {1: "the clocks disagree"}),
    Step("run", "quick profile", 130, quick_run, BNSUITE, BNSUITE_WORDS),
    Step("ab", "quick comparison with itself", 120, quick_comparison, BNSUITE, BNSUITE_WORDS),
    Step("loops", "epochs against the articles' loops", 40, loops),
    Step("calibration", "calibration", 20, calibration, BNSUITE, BNSUITE_WORDS),
    Step("full", "full profile, as far as there is time", 100, full_run, BNSUITE, BNSUITE_WORDS),
)

#: Steps that take far longer, and are done only by their names.
BY_NAME = (Step("checks", "all checks of the full profile", 600, all_checks, BNSUITE, BNSUITE_WORDS),)


def _bnsuite(verb: str) -> list[str]:
    return [sys.executable, "-m", "bnsuite", verb]


def _measure(verb: str, request: Request, folder: str) -> list[str]:
    """A command that measures into a folder of its own."""
    return [*_bnsuite(verb), "--device", request.device, "--out", str(request.folder / folder)]


def _budget(verb: str, seconds: float) -> list[str]:
    """The option by which a measurement plans, where the verb has it."""
    return ["--budget", f"{max(1, int(PLANNED_SHARE * seconds))}s"] if _has(verb, "--budget") else []


def _has(verb: str, option: str | None = None) -> bool:
    """Whether bnsuite has a verb, with an option."""
    from bnsuite.cli.command import VERBS

    if verb not in VERBS:
        return False
    command = import_module(f"bnsuite.cli.{VERBS[verb]}").command
    return option is None or any(option in one.opts for one in command.params)
