"""The GPUs of a node: each by itself, all at once, and the one unlike its peers. Its devices are the CPU, twice."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
from collections.abc import Iterator
from functools import partial
from math import exp
from pathlib import Path

import pytest

from bnsuite.cli import node as cli_node
from bnsuite.cli.node import no_baselines
from bnsuite.cli.run import command as run_command
from bnsuite.cli.verdicts import reference_for
from bnsuite.experiments import node as experiment
from bnsuite.experiments.events import Event, Remark
from bnsuite.experiments.node import DeviceRequest, NodeRequest
from bnsuite.judge import node
from bnsuite.judge.node import DeviceRuns, NodeReport
from bnsuite.judge.statistics import holm
from bnsuite.judge.verdict import ExitStatus, Verdict
from bnsuite.launch.environments import Here
from bnsuite.launch.plan import run_options
from bnsuite.launch.queries import ask_devices
from bnsuite.measure import devices as measured_devices
from bnsuite.measure import worker
from bnsuite.measure.devices import registry
from bnsuite.record import devices, store
from bnsuite.record.errors import InputError
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.schema import CaseResult, Run, RunOptions
from bnsuite.report.node import load, markdown, sentence, terminal
from bnsuite.report.screen import Screen
from conftest import Command, make_run, result, timing

CASES = ("op/a", "op/b", "op/c")


def case_of(name: str, value_s: float, launches: int, noise: float, drawn: random.Random) -> CaseResult:
    return result(name, timings=tuple(timing(value_s * exp(drawn.gauss(0, noise))) for _ in range(launches)))


def run_of(factor: float, drawn: random.Random, *, launches: int = 5, noise: float = 0.01) -> Run:
    """A run of a device whose steps take `factor` times those of a plain one, give or take the noise of launches."""
    return make_run(*(case_of(name, 1e-3 * factor, launches, noise, drawn) for name in CASES))


def node_of(*factors: float, seed: int = 0, model: str = "Some GPU") -> list[DeviceRuns]:
    drawn = random.Random(seed)
    return [
        DeviceRuns(f"cuda-{number}", model, f"GPU-{number}", run_of(factor, drawn), run_of(1.1 * factor, drawn))
        for number, factor in enumerate(factors)
    ]


# Who is named


def test_the_slow_one_of_four_is_named() -> None:
    """A GPU that takes a fifth longer in every case is unlike its peers, and they are like one another."""
    rows = node.rows(node_of(1.0, 1.01, 1.2, 0.99))
    assert node.unlike(rows) == ("cuda-2",)
    assert {row.verdict for row in rows if row.device == "cuda-2"} == {Verdict.REGRESSED}
    assert Verdict.REGRESSED not in {row.verdict for row in rows if row.device != "cuda-2"}
    slow = next(row for row in rows if row.device == "cuda-2")
    assert slow.low < 0.2 < slow.high
    assert slow.low > slow.margin


def test_a_fast_one_is_unlike_too_and_no_regression() -> None:
    """A GPU that is faster than its peers is named, since it may run at another clock; it is not at fault."""
    rows = node.rows(node_of(1.0, 1.0, 1.0, 0.8))
    assert node.unlike(rows) == ("cuda-3",)
    assert {row.verdict for row in rows if row.device == "cuda-3"} == {Verdict.IMPROVED}


def test_of_two_the_slower_is_named() -> None:
    """Two can't tell which of them is the odd one; the slower is worth a look."""
    rows = node.rows(node_of(1.0, 1.3))
    assert node.unlike(rows) == ("cuda-1",)


def test_differences_within_the_margin_name_nobody() -> None:
    """Chips of one model differ by a few per cent, and no number of launches makes that a fault."""
    assert node.unlike(node.rows(node_of(1.0, 1.02, 0.98, 1.03))) == ()


def test_a_wide_fleet_widens_its_margin() -> None:
    """Where the peers themselves lie far apart, one that is as far from them is none to be named."""
    assert node.unlike(node.rows(node_of(0.85, 0.95, 1.05, 1.2, 1.22))) == ()
    assert node.unlike(node.rows(node_of(1.0, 1.0, 1.0, 1.0, 1.22))) == ("cuda-4",)


def test_only_devices_of_one_model_are_peers() -> None:
    """Another model is compared with nobody, and the report says so."""
    runs = [*node_of(1.0, 1.0), *node_of(2.0, model="Another GPU")]
    runs[2] = DeviceRuns("cuda-9", "Another GPU", None, runs[2].alone)
    rows = node.rows(runs)
    assert {row.device for row in rows} == {"cuda-0", "cuda-1"}
    assert node.trouble(runs[2], rows, 0) == "no other device here is a Another GPU"
    assert node.trouble(runs[0], rows, 1) is None


def test_disturbed_launches_compare_nothing() -> None:
    """A device without undisturbed launches has no row, and is said to be compared with nobody."""
    runs = node_of(1.0, 1.0)
    disturbed = make_run(*(result(name, timings=(timing(1e-3, cpu_share=0.5),) * 5) for name in CASES))
    runs[1] = DeviceRuns("cuda-1", "Some GPU", None, disturbed)
    rows = node.rows(runs)
    assert rows == []
    assert node.trouble(runs[1], rows, 1) == "no case has enough undisturbed launches on it and on a peer"


def test_all_at_once_is_compared_with_alone() -> None:
    """Steps that take a tenth longer beside the others are a slowdown of a tenth, with an interval around it."""
    found = node.slowdown(node_of(1.0, 1.0)[0])
    assert found is not None
    assert found.low < 0.1 < found.high
    assert found.cases == len(CASES)


# How often somebody is named for nothing


def alarms(nodes: int, count: int, *, chips: float, heavy: bool) -> float:
    """The share of nodes of `count` devices on which one is named, though they are no more than `chips` apart from 1.

    Twenty cases of five launches, with normal noise of 1 % or, if `heavy`, that of Student's t with 3 degrees.
    """
    drawn = random.Random(1)

    def launch(offset: float) -> float:
        return offset + drawn.gauss(0, 0.01) / (drawn.gammavariate(1.5, 1 / 1.5) ** 0.5 if heavy else 1.0)

    named = 0
    for _ in range(nodes):
        found = []
        for _ in range(20):
            offsets = {str(device): drawn.uniform(-chips, chips) for device in range(count)}
            launches = {device: [launch(offset) for _ in range(5)] for device, offset in offsets.items()}
            found += [node.compare(launches, device) for device in launches]
        adjusted = holm([p for one, margin in found for p in (one.p_above(margin), one.p_below(-margin))])
        named += min(adjusted) < node.ALPHA
    return named / nodes


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "t3"])
@pytest.mark.parametrize("chips", [0.0, 0.02])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_sound_nodes_are_rarely_accused(count: int, chips: float, *, heavy: bool) -> None:
    """Of a thousand nodes whose devices lie within the margin, at most 1 % name one; 20 cases, 5 launches."""
    rate = alarms(1000, count, chips=chips, heavy=heavy)
    print(f"{count} devices, chips ± {100 * chips:g} %, {'t3' if heavy else 'normal'} noise: {100 * rate:.1f} % alarms")
    assert rate <= node.ALPHA


def test_few_sound_nodes_are_accused() -> None:
    """The same for fifty nodes, as fast as a test has to be."""
    assert alarms(50, 4, chips=0.02, heavy=False) <= 0.02


# The experiment


def test_cores_are_shared_out() -> None:
    """Every device has as many cores as the others, neighbours in number; too few are everybody's."""
    assert experiment.core_shares([0, 1, 2, 3, 4], 2) == [[0, 1], [2, 3]]
    assert experiment.core_shares([0, 1], 4) == [[0, 1]] * 4


def test_names_of_devices_are_those_of_the_measured_half() -> None:
    """What the outer half lets a user write is what the inner half resolves, and no more."""
    for name in ("auto", "cpu", "cuda", "cuda:0", "cuda:12", "cuda:all", "cuda:", "cpu:0", "mps", ""):
        assert devices.is_asked(name) == bool(re.fullmatch(registry._PATTERN, name)), name
    assert registry.NAMES == devices.NAMES
    assert registry.ALL == devices.ALL


def test_a_machine_without_gpus_says_so(bnsuite: Command) -> None:
    """One line, status 2, and no folder; other verbs measure one device."""
    with pytest.raises(InputError, match="--device cuda:all: "):
        ask_devices(Here())
    done = bnsuite("ab", ".", ".", "--device", "cuda:all")
    assert (done.status, done.out) == (2, "")
    assert "--device cuda:all: `bnsuite run` alone measures every GPU; choose auto, cpu" in done.err


def asked(folder: Path, *found: DeviceRequest, select: str) -> NodeRequest:
    options = run_options(
        device="cpu",
        profile="quick",
        select=select,
        threads=1,
        timeout_s=300.0,
        implementation=None,
    )
    baselines = partial(reference_for, baselines=folder / "none")
    return NodeRequest(found, options, ResultsFolder(folder / "node"), None, baselines, no_baselines)


def claim(request: NodeRequest, *old: str) -> Path:
    """Makes the folder of a node, with files of an earlier command."""
    folder = request.folder.path
    for path in (folder / name for name in old):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    folder.mkdir(exist_ok=True)
    return folder


CPU = DeviceRequest("cpu", "a CPU")
#: A GPU that is nowhere, as one that does not answer.
SICK = DeviceRequest("cuda:99", "a CPU", "GPU-99")
ONE_CHECK = "numerics/eval-backward/batch_norm1d/nc/dy=contiguous"


@pytest.mark.slow
def test_a_node_without_times_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no case is timed on one device there is no second pass, nobody is in trouble, and that is said."""
    monkeypatch.chdir(tmp_path)
    request = asked(tmp_path, CPU, CPU, select=ONE_CHECK)
    folder = claim(request)
    made = experiment.measure(request, lambda _: None)
    assert [one.run.finished for one in made.alone] == [True, True]
    assert made.together == ()
    assert not (folder / "together").exists()
    assert made.report.finished
    assert [one.trouble for one in made.report.devices] == [None, None]
    assert "no case is timed on one device, so nothing is compared" in sentence(made.report)


@pytest.mark.slow
def test_one_that_cannot_be_measured_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with the reason, at status 3; the others are measured, and what an earlier command left is gone."""
    monkeypatch.chdir(tmp_path)
    request = asked(tmp_path, SICK, CPU, select=ONE_CHECK)
    folder = claim(request, "node.json", "together/cpu/run.json", "cuda-99/run.json", "notes.md")
    made = experiment.measure(request, lambda _: None)
    sick, sound = made.report.devices
    assert (sick.device, sick.alone, sick.together, sick.uuid) == ("cuda-99", None, None, "GPU-99")
    assert sick.trouble is not None
    assert sick.trouble.startswith("--device cuda:99: ")
    assert (sound.device, sound.alone, sound.trouble) == ("cpu", "cpu", None)
    assert (made.report.finished, made.report.status) == (False, ExitStatus.NOT_MEASURED)
    assert f"cuda-99 is not measured: {sick.trouble}" in sentence(made.report)
    assert load(folder) == made.report
    assert {str(path.relative_to(folder)) for path in folder.rglob("run.json")} == {"cpu/run.json"}
    assert (folder / "notes.md").exists()


def test_what_ends_a_run_beside_others_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could make no run passes its reason on, in one line."""
    monkeypatch.chdir(tmp_path)
    request = asked(tmp_path, SICK, select="op/batch_norm1d/fwd-eval")
    claim(request)
    runs, troubles = experiment._all_at_once(
        {"cuda-99": experiment._alone(request, SICK, "together/cuda-99")}, {"cuda-99": [min(os.sched_getaffinity(0))]}
    )
    assert runs == {}
    assert "--device cuda:99: " in troubles["cuda-99"]


def test_nothing_is_written_where_no_device_can_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for is then at fault, as an expression that no case matches: its error is the node's."""
    monkeypatch.chdir(tmp_path)
    request = asked(tmp_path, CPU, CPU, select="no-such-case")
    folder = claim(request)
    with pytest.raises(InputError, match="-k 'no-such-case' matches none"):
        experiment.measure(request, lambda _: None)
    assert not (folder / "node.json").exists()


def test_a_run_that_ended_early_is_told_apart() -> None:
    """One that has times is compared all the same; its line has what ended it, and the status is 3."""
    report = report_of(1.0, 1.0, 1.0)
    lost = report.devices[1].model_copy(update={"trouble": "all at once: cuda:1 is lost"})
    report = report.model_copy(update={"devices": (report.devices[0], lost, report.devices[2]), "finished": False})
    assert node.status(report.rows, report.devices, finished=False, strict=False) is ExitStatus.NOT_MEASURED
    assert sentence(report).startswith("not measured to its end; cuda-1: all at once: cuda:1 is lost; ")


def test_a_gpu_that_raises_when_it_is_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line with the cause, as the error of a process that measures is."""

    def raising() -> list[str]:
        raise RuntimeError("CUDA error: unknown error\nCUDA kernel errors might be asynchronously reported")

    monkeypatch.setattr(measured_devices, "every", raising)
    answer = worker._devices({})
    assert answer["devices"] == []
    assert answer["refused"].startswith("--device cuda:all: ")
    assert "CUDA error: unknown error" in answer["refused"]
    assert "\n" not in answer["refused"]


def test_only_run_offers_every_gpu() -> None:
    """The help of a verb names the devices that it takes."""
    offers = {}
    for verb in ("run", "ab", "bisect", "calibrate", "doctor", "selftest"):
        params = importlib.import_module(f"bnsuite.cli.{verb}").command.params
        (offers[verb],) = (one.help for one in params if one.name == "device")
    assert [verb for verb, text in offers.items() if "cuda:all" in text] == ["run"]


def test_every_option_of_a_run_reaches_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not of measuring alone, too: ranks may share cores on each GPU."""
    monkeypatch.chdir(tmp_path)
    reached: list[RunOptions] = []

    def instead(_: object, options: RunOptions, *__: object, **___: object) -> int:
        reached.append(options)
        return 0

    monkeypatch.setattr(cli_node, "devices", lambda _: (CPU, CPU))
    monkeypatch.setattr(cli_node, "command", instead)
    for more in ((), ("--oversubscribe",)):
        run_command.main(["--device", "cuda:all", *more], standalone_mode=False)
    assert [one.oversubscribe for one in reached] == [False, True]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeReport]:
    """Two devices that are both the CPU, of which the second is injected to take a hundred times as long; real runs."""
    monkeypatch.chdir(tmp_path)
    slow = DeviceRequest("cpu", "a CPU", None, {"slower": 99.0})
    request = asked(tmp_path, CPU, slow, select="op/batch_norm1d/fwd-eval")
    heard: list[Event] = []
    yield experiment.measure(request, heard.append).report
    assert [one.text for one in heard if isinstance(one, Remark) and "at once" in one.text]


@pytest.mark.slow
def test_a_node_is_walked_from_end_to_end(measured: NodeReport, tmp_path: Path) -> None:
    """Both devices are measured alone and at once, and the one that was injected slower is named.

    On a machine that is busy otherwise launches are disturbed, and compare nothing: the times are judged again as if
    they were not, which a hundredfold step does not mind.
    """
    assert measured.finished
    assert [one.alone for one in measured.devices] == ["cpu", "cpu-1"]
    for one in measured.devices:
        for name in (one.alone, one.together):
            assert json.loads((tmp_path / "node" / str(name) / "run.json").read_text())["finished"]
    injected = json.loads((tmp_path / "node" / "cpu-1" / "run.json").read_text())["injected"]
    assert injected == {"slower": 99.0}
    assert measured.unlike in {("cpu-1",), ()}
    if any(row.device == "cpu-1" for row in measured.rows):
        assert measured.unlike == ("cpu-1",)
        assert measured.status is ExitStatus.REGRESSED
    assert load(tmp_path / "node") == measured
    folder = tmp_path / "node"
    runs = [
        DeviceRuns(name, "a CPU", None, taken_as_quiet(folder / name), taken_as_quiet(folder / "together" / name))
        for name in ("cpu", "cpu-1")
    ]
    assert node.unlike(node.rows(runs)) == ("cpu-1",)


def taken_as_quiet(folder: Path) -> Run:
    """The run in a folder as if nothing else had had the cores."""
    run = store.load(folder)
    quiet = [
        one.model_copy(update={"timings": tuple(each.model_copy(update={"cpu_share": None}) for each in one.timings)})
        for one in run.cases
    ]
    return run.model_copy(update={"cases": tuple(quiet)})


# What is shown


def report_of(*factors: float) -> NodeReport:
    runs = node_of(*factors)
    rows = node.rows(runs)
    found = [
        node.NodeDevice(
            device=one.device,
            model=one.model,
            uuid=one.uuid,
            alone=one.device,
            together=f"together/{one.device}",
            status=ExitStatus.FINE,
            trouble=None,
            slowdown=node.slowdown(one),
        )
        for one in runs
    ]
    return NodeReport(
        schema=1,
        bnsuite="0.6.0",
        started="2026-01-02T03:04:05+00:00",
        finished=True,
        devices=tuple(found),
        rows=tuple(rows),
        unlike=node.unlike(rows),
        status=node.status(rows, found, finished=True, strict=False),
    )


def test_the_report_names_the_odd_one(bnsuite: Command, tmp_path: Path) -> None:
    """By device and UUID, in the last line, in Markdown and when a folder is shown again."""
    report = report_of(1.0, 1.0, 1.3)
    last = "cuda-2 (GPU-2) is unlike its peers: slower in 6 cases (exit status 1)"
    assert sentence(report) == last
    assert terminal(report, Screen(120)).splitlines()[-1] == last
    assert last in markdown(report)
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "node.json").write_text(report.model_dump_json(by_alias=True))
    assert bnsuite("show", "node").out.strip().splitlines()[-1] == last
    assert json.loads(bnsuite("show", "node", "--json").out)["unlike"] == ["cuda-2"]


def test_a_node_of_equals_is_fine() -> None:
    """Nobody is named, and the status is 0."""
    report = report_of(1.0, 1.0, 1.0)
    assert report.status is ExitStatus.FINE
    undecided = [row.model_copy(update={"verdict": Verdict.INCONCLUSIVE}) for row in report.rows]
    for strict, status in ((False, ExitStatus.FINE), (True, ExitStatus.NOT_MEASURED)):
        assert node.status(undecided, report.devices, finished=True, strict=strict) is status
    assert sentence(report).startswith("no device is unlike its peers")
