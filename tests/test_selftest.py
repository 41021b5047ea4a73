"""The suite judging itself: rates, resampling, resuming, what is planted, and one trial of the real command."""

from __future__ import annotations

import os
import random
from collections import Counter
from math import log1p
from pathlib import Path
from time import sleep

import pytest
import torch
from scipy import stats

from bnsuite.cases import all_cases, faulty
from bnsuite.cli import verdicts
from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
from bnsuite.experiments.trials import CURVES, KINDS, LARGE, TIMED, TINY, TRAINING, planned
from bnsuite.judge import interleaved
from bnsuite.judge.reason import text as because
from bnsuite.judge.selftest import (
    Duty,
    End,
    Missing,
    Repetition,
    Resampled,
    SelftestResult,
    _alarms,
    duty,
    end,
    rates,
    runs_with_alarms,
    status,
    unchanged_launches,
)
from bnsuite.judge.statistics import share_interval
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict
from bnsuite.launch.environments import Here
from bnsuite.launch.process import background_load, isolation
from bnsuite.launch.queries import ask_once
from bnsuite.record import selftest
from bnsuite.record.errors import InputError
from bnsuite.record.folder import SELFTEST, ResultsFolder
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.select import matcher
from bnsuite.record.selftest import Seen, Trial, Values, Where
from bnsuite.report.screen import Screen
from bnsuite.report.selftest import markdown, terminal
from conftest import ROOT, Command, make_run, result

HERE = Where(
    device="cpu", machine="Some CPU, 2 cores given", torch="2.14.1", method=1, profile="quick", threads=1, busy=False
)
MOST = 18


def seen(case: str, verdict: str, gate: str = "timing", change: float | None = None) -> Seen:
    return Seen(case=case, gate=gate, verdict=verdict, change=change)


def trial(
    kind: str,
    *findings: Seen,
    gate: str | None = None,
    injected: dict[str, float] | None = None,
    variant: str = "all",
    where: Where = HERE,
    values: tuple[Values, ...] = (),
) -> Trial:
    return Trial(
        schema=2,
        kind=kind,
        variant=variant,
        select=None,
        injected=injected or {},
        implementation=None,
        gate=gate,
        seed=1,
        most_launches=MOST,
        where=where,
        started="2026-01-02T03:04:05+00:00",
        bnsuite="0.4.0",
        revision="0123456789ab",
        python="3.12.1",
        wall_s=60.0,
        launches=6,
        findings=findings,
        values=values,
    )


def slowed(percent: float, *verdicts: str) -> Trial:
    """One in which cases were slowed: `op/a` with the first verdict, `op/b` with the second ..."""
    share = percent / 100
    findings = [seen(f"op/{name}", verdict, change=share) for name, verdict in zip("abc", verdicts, strict=False)]
    return trial(f"slower-{percent:g}%", *findings, gate="timing", injected={"slower": share})


# Rates.


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (5, 10), (10, 10), (3, 300), (1, 1)])
def test_intervals_are_clopper_and_pearsons(hits: int, of: int) -> None:
    theirs = stats.binomtest(hits, of).proportion_ci(0.95, method="exact")
    assert share_interval(hits, of) == pytest.approx((theirs.low, theirs.high))


def test_what_must_come_of_a_trial() -> None:
    """Nothing where nothing is wrong; 5 % are never passed, what is smaller is counted; 10 % and faults are found."""
    assert duty(trial("night", seen("op/a", "PASS"))) is Duty.NO_ALARM
    assert [duty(slowed(percent, "PASS")) for percent in (2, 3, 5, 10)] == [
        *(Duty.NONE, Duty.NONE, Duty.NOT_PASSED, Duty.FOUND)
    ]
    assert duty(trial("holds", seen("op/a", "PASS"), gate="memory")) is Duty.FOUND


@pytest.mark.parametrize(
    ("one", "ended"),
    [
        (trial("night", seen("op/a", "PASS"), seen("op/b", "INCONCLUSIVE")), End.AS_REQUIRED),
        (trial("night", seen("op/a", "FAILED"), seen("op/b", "REGRESSED")), End.AGAINST_DUTY),
        (trial("night", seen("op/a", "PASS"), seen("op/b", "INVALID")), End.NOT_MEASURED),
        (trial("night"), End.NOT_MEASURED),
        (slowed(3, "PASS"), End.AS_REQUIRED),
        (slowed(5, "PASS"), End.AGAINST_DUTY),
        (slowed(5, "IMPROVED"), End.AGAINST_DUTY),
        (slowed(5, "INCONCLUSIVE"), End.AS_REQUIRED),
        (slowed(5, "FAILED"), End.NOT_MEASURED),
        # Each case that was slowed is to be found; of a fault that shows in many checks one is enough.
        (slowed(10, "REGRESSED", "PASS", "PASS"), End.AGAINST_DUTY),
        (slowed(10, "REGRESSED", "FAILED"), End.NOT_MEASURED),
        (slowed(10, "REGRESSED", "REGRESSED"), End.AS_REQUIRED),
        (trial("faults", seen("n/a", "PASS", "numerics"), gate="numerics"), End.AGAINST_DUTY),
        (trial("faults", seen("n/a", "INCONCLUSIVE", "convergence"), gate="convergence"), End.AGAINST_DUTY),
        (trial("faults", seen("n/a", "FAILED", "numerics"), gate="numerics"), End.NOT_MEASURED),
        (
            trial("faults", seen("n/a", "FAILED", "numerics"), seen("n/b", "REGRESSED", "numerics"), gate="numerics"),
            End.AS_REQUIRED,
        ),
        # Another gate than the one that is meant to find it has no part in it.
        (trial("holds", seen("op/a", "REGRESSED"), seen("op/a", "PASS", "memory"), gate="memory"), End.AGAINST_DUTY),
        (trial("holds", seen("op/a", "FAILED"), seen("op/a", "REGRESSED", "memory"), gate="memory"), End.AS_REQUIRED),
    ],
)
def test_how_a_trial_ended(one: Trial, ended: End) -> None:
    assert end(one) is ended


def test_rates_are_counted_by_trial_case_and_fault() -> None:
    """Nothing changed: trials with any alarm. Slowdowns: case by case. Machines stay apart."""
    elsewhere = HERE.model_copy(update={"busy": True})
    many = [
        trial("night", seen("op/a", "PASS"), seen("op/b", "REGRESSED"), seen("op/b", "REGRESSED", "memory")),
        trial("night", seen("op/a", "PASS"), seen("op/b", "INCONCLUSIVE")),
        trial("night", seen("op/a", "PASS"), where=elsewhere),
        trial(
            "slower-5%",
            *(seen("op/a", "REGRESSED", change=0.05), seen("op/b", "INCONCLUSIVE", change=0.02)),
            gate="timing",
            injected={"slower": 0.05},
        ),
        trial("faults", seen("n/a", "REGRESSED", "numerics"), gate="numerics", variant="FixedEpsilon"),
    ]
    found = {(one.kind, one.variant, one.where.busy): one for one in rates(many)}
    night = found["night", "", False]
    assert (night.hits, night.of, night.undecided, night.case_s) == (1, 2, 0.2, 30.0)
    assert night.verdicts == {Verdict.PASS: 2, Verdict.REGRESSED: 2, Verdict.INCONCLUSIVE: 1}
    assert night.ends == {End.AGAINST_DUTY: 1, End.AS_REQUIRED: 1}
    assert found["night", "", True].hits == 0
    assert [found["slower-5%", name, False].hits for name in ("op/a", "op/b")] == [1, 0]
    assert found["slower-5%", "op/b", False].change == 0.02
    apart = {one.variant: one.ends for one in rates([slowed(10, "REGRESSED", "PASS")])}
    assert apart == {"op/a": {End.AS_REQUIRED: 1}, "op/b": {End.AGAINST_DUTY: 1}}
    assert found["faults", "FixedEpsilon", False].hits == 1


def test_the_exit_status() -> None:
    """A gate that failed in its duty is 1, whatever else there was; what was not measured as asked is 3."""
    fine, wrong, lost = slowed(5, "REGRESSED"), slowed(5, "PASS"), slowed(5, "INVALID")
    assert status([fine], complete=True) is ExitStatus.FINE
    assert status([fine], complete=False) is ExitStatus.NOT_MEASURED
    assert status([fine, lost], complete=True) is ExitStatus.NOT_MEASURED
    assert status([fine, lost, wrong], complete=False) is ExitStatus.REGRESSED
    assert status([], complete=True) is ExitStatus.NOT_MEASURED


def test_the_table() -> None:
    """Rates with intervals, what was seen, what must be and is; how to do it again; what is missing."""
    many = [slowed(5, "REGRESSED"), slowed(5, "PASS"), trial("night", seen("op/a", "PASS"))]
    shown = SelftestResult(
        trials=tuple(many),
        rates=tuple(rates(many)),
        resampled=(Resampled(HERE, 12, 20, 10),),
        missing=(Missing("holds", 1, "the budget ended"),),
        again=(Repetition(HERE, 2, ("holds",)), Repetition(HERE.model_copy(update={"busy": True}), 1, ("night",))),
        status=ExitStatus.REGRESSED,
    )
    text, marked = terminal(shown, Screen()), markdown(shown)
    assert "1 (50 %)" in text
    assert "1.3 to 99 %" in text
    assert "+5.0 %" in text
    assert "AGAINST DUTY in 1" in text
    assert "10 of 10000 runs of 20 cases raise an alarm, 0.10 % (0.048 to 0.18 %" in text
    assert text.splitlines()[-1] == "A GATE FAILED IN ITS DUTY: 3 trials, 3 min 00 s (exit status 1)"
    assert marked.startswith("# bnsuite selftest\n")
    assert "Some CPU, 2 cores given · cpu · 1 thread · quick" in marked
    assert "torch 2.14.1 · Python 3.12.1" in marked
    rest = "--device cpu --profile quick --threads 1"
    again = [
        "Again:",
        "",
        f"    bnsuite selftest --trials 2 --kind holds {rest} --out DIR",
        f"    bnsuite selftest --trials 1 --kind night {rest} --busy --out DIR",
    ]
    assert marked.splitlines()[-4:] == again
    for one in (text, marked):
        assert "holds: 1 comparison is missing" in one
        assert "measured 2026-01-02" in one


# Resampling.


def launches(chance: random.Random, *, shift: float = 0.0, deviation: float = 0.012) -> list[dict[str, float]]:
    names = [f"op/{number}" for number in range(16)]
    return [
        {name: chance.gauss(log1p(shift) if name == "op/3" else 0.0, deviation) for name in names} for _ in range(60)
    ]


def test_noise_alone_hardly_alarms() -> None:
    """Fewer than one run in a hundred, of cases whose launches differ by 1.2 %."""
    assert runs_with_alarms(launches(random.Random(3)), most=MOST, runs=2000) <= 20


def test_a_real_shift_alarms() -> None:
    """One case of sixteen that is 4 % slower: nearly every run."""
    assert runs_with_alarms(launches(random.Random(3), shift=0.04), most=MOST, runs=300) > 290


def test_what_is_drawn_follows_from_the_seed() -> None:
    some = launches(random.Random(5), shift=0.02)
    assert runs_with_alarms(some, most=MOST, runs=200) == runs_with_alarms(some, most=MOST, runs=200)


def test_the_short_cut_says_what_the_gate_says() -> None:
    """A case whose mean never lies above the floor is not asked about: the answer would be the same."""

    def by_the_gate(values: list[float]) -> bool:
        taken: dict[bool, list[float]] = {False: [], True: []}
        rest = iter(values)
        flagged = False
        while True:
            batch = [value for _, value in zip(range(interleaved.EVERY), rest, strict=False)]
            if not batch:
                return False
            taken[flagged] += batch
            decision = interleaved.decide_values(taken[False], taken[True], 20, MOST)
            if decision.verdict is not None:
                return decision.verdict is Verdict.REGRESSED
            flagged = decision.flagged

    chance = random.Random(7)
    rang = 0
    for _ in range(400):
        shift = chance.choice((0.0, 0.012, 0.03))
        values = [chance.gauss(shift, 0.012) for _ in range(2 * MOST)]
        assert _alarms(values, range(2 * MOST), 20, MOST) == by_the_gate(values)
        rang += by_the_gate(values)
    assert 50 < rang < 350


def test_only_first_looks_of_nights_are_drawn_from() -> None:
    """Later launches have what was undecided only; controls are no cases; a disturbed launch has no value."""
    screen = (0.01, None, 0.02, 0.0, 0.0, 0.0, 0.5)
    values = (
        Values(case="op/a", screen=screen, confirm=(0.4,)),
        Values(case="op/b", screen=(0.0,) * 6, confirm=()),
        Values(case="control/copy", screen=(0.9,) * 6, confirm=()),
    )
    elsewhere = HERE.model_copy(update={"threads": 2})
    many = [
        trial("night", values=values),
        trial("single", values=values),
        trial("night", values=values, where=elsewhere),
    ]
    found = unchanged_launches(many, HERE)
    assert len(found) == interleaved.FIRST_LOOK
    assert found[0] == {"op/a": 0.01, "op/b": 0.0}
    assert found[1] == {"op/b": 0.0}


# Records, and going on.


def test_trials_are_appended_and_read_again(tmp_path: Path) -> None:
    """A last line that a crash cut off is none, and is taken away before the next; files can be put together."""
    assert selftest.load(tmp_path) == []
    one, other = slowed(5, "PASS"), trial("night", seen("op/a", "PASS"))
    selftest.append(one, tmp_path)
    file = tmp_path / SELFTEST
    whole = file.read_bytes()
    file.write_bytes(whole + "µ".encode() + whole[:40])
    assert selftest.load(tmp_path) == [one]
    selftest.repair(tmp_path)
    assert file.read_bytes() == whole
    selftest.append(other, tmp_path)
    assert selftest.load(tmp_path) == [one, other]
    file.write_bytes(file.read_bytes() * 2)
    assert len(selftest.load(tmp_path)) == 4


def test_a_line_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    selftest.append(slowed(5, "PASS"), tmp_path)
    with (tmp_path / SELFTEST).open("a") as file:
        file.write('{"schema": 99}\n')
    with pytest.raises(InputError, match="line 2: has schema 99"):
        selftest.load(tmp_path)


def test_what_is_left_is_planned() -> None:
    """In rounds, so that a budget cuts all kinds alike; single cases take turns."""
    names = [(kind, plan.variant) for kind, plan in planned(("single", "holds"), 2, Counter())]
    assert names == [("single", TINY), ("holds", LARGE), ("single", LARGE), ("holds", LARGE)]
    done = Counter({("single", TINY): 1, ("holds", LARGE): 1})
    assert [kind for kind, _ in planned(("single", "holds"), 2, done)] == ["single", "holds"]
    assert planned(("single", "holds"), 1, done) == []


def options(tmp_path: Path, *more: str) -> list[str]:
    return ["--out", str(tmp_path), "--device", "cpu", "--kind", "single,holds", *more]


def judged(
    folder: ResultsFolder, verdict: Verdict, *, ended_by: str | None = None, cut_short: bool = False
) -> ComparisonResult:
    run = make_run(result("op/a"))
    run = run.model_copy(update={"finished": ended_by is None, "ended_by": ended_by})
    times = InterleavedTimes(schema=2, a=".", b=".", seed=1, most_launches=MOST, budget_s=None, variables={}, cases=())
    findings = [Finding(case="op/a", gate=gate, verdict=verdict, reason=because("")) for gate in ("timing", "memory")]
    folder.path.mkdir(parents=True)
    return ComparisonResult(run, run, times, tuple(findings), cut_short, folder)


def test_an_interrupted_selftest_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ended before is kept, what was cut short is not counted; the folder of what went wrong is kept."""
    from bnsuite.cli import main

    planted: list[str] = []

    def compare(request: ComparisonRequest) -> ComparisonResult:
        planted.append((request.options[0].select or "").split(" and ")[0])
        stop = "interrupted" if len(planted) == 2 else None
        return judged(request.folder, Verdict.PASS, ended_by=stop)

    monkeypatch.setattr(verdicts, "compared_quietly", compare)
    assert main(["selftest", *options(tmp_path)]) == 3
    assert "holds: 1 comparison is missing (interrupted)" in capsys.readouterr().out
    assert main(["selftest", *options(tmp_path)]) == 1  # memory that is held was passed
    assert planted == [TINY, LARGE, LARGE]
    assert len(selftest.load(tmp_path)) == 2
    assert len(list((tmp_path / "trials").iterdir())) == 2
    assert (tmp_path / "selftest.md").read_text().startswith("# bnsuite selftest")
    assert main(["selftest", *options(tmp_path)]) == 1
    assert len(planted) == 3


def test_it_says_how_all_of_it_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was asked for last: the kinds there are as many of together, each place by itself."""
    from bnsuite.cli import main

    busy = HERE.model_copy(update={"busy": True})
    for one in (*["night"] * 2, *["slower-2%"] * 3, *["slower-3%"] * 3):
        selftest.append(trial(one, seen("op/a", "PASS"), variant=KINDS[one][0].variant), tmp_path)
    selftest.append(trial("night", seen("op/a", "PASS"), variant="all timed cases", where=busy), tmp_path)
    monkeypatch.setattr(
        verdicts, "compared_quietly", lambda request: judged(request.folder, Verdict.PASS, ended_by="it broke")
    )
    main(["selftest", "--out", str(tmp_path), "--device", "cpu", "--kind", "holds"])
    rest = "--device cpu --profile quick --threads 1"
    assert (tmp_path / "selftest.md").read_text().splitlines()[-3:] == [
        f"    bnsuite selftest --trials 2 --kind night {rest} --out DIR",
        f"    bnsuite selftest --trials 3 --kind slower-2%,slower-3% {rest} --out DIR",
        f"    bnsuite selftest --trials 1 --kind night {rest} --busy --out DIR",
    ]


def test_a_fault_that_was_not_reached_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fault of five says nothing of the others."""
    from bnsuite.cli import main

    selftest.append(trial("faults", seen("n/a", "REGRESSED"), gate="numerics", variant="FixedEpsilon"), tmp_path)
    monkeypatch.setattr(
        verdicts, "compared_quietly", lambda request: judged(request.folder, Verdict.PASS, ended_by="it broke")
    )
    assert main(["selftest", "--out", str(tmp_path), "--device", "cpu", "--kind", "faults"]) == 3


def test_what_the_budget_cut_short_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bnsuite.cli import main

    def compare(request: ComparisonRequest) -> ComparisonResult:
        assert request.budget_s is not None
        return judged(request.folder, Verdict.INCONCLUSIVE, cut_short=True)

    monkeypatch.setattr(verdicts, "compared_quietly", compare)
    assert main(["selftest", *options(tmp_path, "--budget", "1h")]) == 3
    assert selftest.load(tmp_path) == []
    said = capsys.readouterr()
    assert "single: 1 comparison is missing (the budget ended)" in said.out
    assert said.err.count("not counted: the budget ended it") == 2
    assert not list((tmp_path / "trials").iterdir())


def test_an_alarm_counts_though_the_budget_cut_the_rest_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the end of a night whatever else was open, and its folder is kept."""
    from bnsuite.cli import main

    def compare(request: ComparisonRequest) -> ComparisonResult:
        return judged(request.folder, Verdict.REGRESSED, cut_short=True)

    monkeypatch.setattr(verdicts, "compared_quietly", compare)
    asked = ["--out", str(tmp_path), "--device", "cpu", "--kind", "night", "--budget", "1h"]
    assert main(["selftest", *asked]) == 1
    assert len(selftest.load(tmp_path)) == 1
    assert len(list((tmp_path / "trials").iterdir())) == 1
    assert "AGAINST DUTY" in capsys.readouterr().out


def test_what_was_not_measured_counts_until_it_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that was disturbed is repeated by the next start, which is fine then."""
    from bnsuite.cli import main

    given = iter([Verdict.INVALID, Verdict.PASS])
    monkeypatch.setattr(verdicts, "compared_quietly", lambda request: judged(request.folder, next(given)))
    asked = ["--out", str(tmp_path), "--device", "cpu", "--kind", "night"]
    assert [main(["selftest", *asked]) for _ in range(3)] == [3, 0, 0]


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from bnsuite.cli import main

    assert main(["selftest", "--kind", "nightly"]) == 2
    assert "there is no kind 'nightly'; choose from all, night, single" in capsys.readouterr().err


def test_a_workload_of_ones_own_takes_the_place_of_the_built_in_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its trials are counted by themselves, and the report says how they are made again."""
    from bnsuite.cli import main

    file = ROOT / "examples" / "workloads" / "transformer.py"
    requests: list[ComparisonRequest] = []

    def compare(request: ComparisonRequest) -> ComparisonResult:
        requests.append(request)
        return judged(request.folder, Verdict.PASS)

    monkeypatch.setattr(verdicts, "compared_quietly", compare)
    given = ["selftest", "--out", str(tmp_path), "--device", "cpu", "--workload", str(file)]
    assert main([*given, "--kind", "single,slower-3%"]) == 0
    assert [(one.options[0].select, one.injected) for one in requests] == [
        ("^workload/transformer/", {}),
        ("^workload/transformer/", {"slower": 0.03}),
    ]
    assert all(side.workloads == (str(file),) for one in requests for side in one.options)
    assert [(one.variant, one.where.workloads) for one in selftest.load(tmp_path)] == [
        ("workload/transformer", (str(file),))
    ] * 2
    again = f"--device cpu --profile quick --threads 1 --workload {file} --out DIR"
    assert (tmp_path / "selftest.md").read_text().splitlines()[-1] == (
        f"    bnsuite selftest --trials 1 --kind single,slower-3% {again}"
    )
    capsys.readouterr()
    assert main([*given, "--kind", "night"]) == 2
    assert "--kind night: needs the built-in cases; with --workload, choose from single, slower-2%" in (
        capsys.readouterr().err
    )
    assert len(requests) == 2


# What is planted.


def test_the_plans_name_the_cases_that_are_meant() -> None:
    cases = list(all_cases())

    def chosen(select: str, profile: str) -> set[str]:
        match = matcher(select)
        return {
            case.id
            for case in cases
            if profile in case.profiles and match(case.id) and not case.gpu_only and case.kind != "ratio"
        }

    for profile in ("quick", "full"):
        timed = {case.id for case in cases if profile in case.profiles and "timing" in case.gates}
        timed -= {case.id for case in cases if case.gpu_only or case.kind == "ratio"}
        assert timed <= chosen(TIMED, profile)
        for kind in ("slower-2%", "slower-10%"):
            assert chosen(KINDS[kind][0].select, profile) == {TINY, LARGE, TRAINING}
        assert [chosen(plan.select, profile) for plan in KINDS["single"]] == [{TINY}, {LARGE}, {TRAINING}]
    for plan in (*KINDS["faults"], *KINDS["sound"]):
        assert hasattr(faulty, plan.faulty or "")
        assert chosen(plan.select, plan.profile or "quick")
    curves_chosen = chosen(CURVES, "full")
    (curves,) = (case for case in cases if case.id in curves_chosen)
    assert curves.gates == ("convergence",)


def trained(kind: type[torch.nn.Module], momentum: float = 0.3) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A layer after one training step, and what the step gave."""
    layer = kind(3, eps=1e-5, momentum=momentum)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weight = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    y = layer(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    return layer, {
        "y": y.detach(),
        "dx": x.grad,
        "mean": layer.running_mean.clone(),
        "var": layer.running_var.clone(),
        "evaluated": layer.eval()(x).detach(),
        "mean after evaluation": layer.running_mean.clone(),
        "counter": layer.num_batches_tracked.clone(),
    }


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Sound", set()),
        ("BiasedVariance", {"var", "evaluated"}),
        ("InvertedMomentum", {"mean", "var", "evaluated", "mean after evaluation"}),
        ("FixedEpsilon", {"y", "dx", "evaluated"}),
        ("UpdatesInEval", {"mean after evaluation", "counter"}),
        ("DetachedStatistics", {"dx"}),
    ],
)
def test_faulty_layers_differ_from_torchs_where_they_should(name: str, wrong: set[str]) -> None:
    _, right = trained(torch.nn.BatchNorm2d)
    _, found = trained(getattr(faulty, name))
    differs = {what for what in right if not torch.allclose(found[what].double(), right[what].double(), 1e-4, 1e-5)}
    assert differs == wrong


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_the_sound_layer_is_torchs_in_other_settings(momentum: float | None) -> None:
    """Without parameters or statistics, in half precision, and with torch's own errors."""
    settings = {"affine": False, "momentum": momentum}
    ours, theirs = faulty.Sound(3, **settings), torch.nn.BatchNorm1d(3, **settings)
    for number in range(3):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    half = torch.randn(4, 3, 2).to(torch.bfloat16)
    assert faulty.Sound(3, track_running_stats=False).eval()(half).dtype is torch.bfloat16
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        faulty.Sound(3)(torch.randn(1, 3))
    with pytest.raises(RuntimeError, match="expected 3 channels, got 2"):
        faulty.Sound(3)(torch.randn(4, 2))


@pytest.mark.skipif(len(isolation.cores()) < 2, reason="a neighbour needs a core beside the timed one")
def test_a_busy_neighbour_ends_with_us() -> None:
    """It is there, on a core that is not timed on, and gone afterwards."""

    def ours() -> list[int]:
        kept = []
        for task in Path("/proc/self/task").iterdir():
            kept += [int(child) for child in (task / "children").read_text().split()]
        return kept

    before = set(ours())
    with background_load.busy(1):
        (one,) = set(ours()) - before
        for _ in range(100):  # while it becomes another program it has no name yet
            if name := Path(f"/proc/{one}/cmdline").read_text():
                break
            sleep(0.05)
        assert "bytearray" in name
    assert not Path(f"/proc/{one}").exists()


def test_a_neighbour_needs_a_core() -> None:
    with pytest.raises(InputError, match="--busy"), background_load.busy(os.cpu_count() or 1):
        pass


# The command.


def test_the_committed_evidence_belongs_to_todays_method() -> None:
    """Trials that were told apart by a digest of source are read as trials of the method with that number."""
    trials = selftest.load(ROOT / "docs" / "results" / "selftest")
    assert len(trials) == 155
    assert {one.where.method for one in trials} == {interleaved.METHOD}
    assert {frozenset(one.injected) for one in trials} == {frozenset(), frozenset({"slower"})}


def test_what_is_there_is_not_measured_again(bnsuite: Command, tmp_path: Path) -> None:
    """With as many trials as were asked for, the table is made of the file alone."""
    device, environment = ask_once(Here(), "cpu")
    where = HERE.model_copy(
        update={
            "machine": selftest.machine_of(environment),
            "torch": environment.packages["torch"],
            "method": interleaved.METHOD,
            "device": device,
        }
    )
    (tmp_path / "out").mkdir()
    selftest.append(trial("single", seen(TINY, "PASS"), variant=TINY, where=where), tmp_path / "out")
    done = bnsuite("selftest", "--kind", "single", "--device", "cpu", "--out", "out")
    assert done.status == 0, done.err
    assert "every kind ended as required: 1 trial, 1 min 00 s (exit status 0)" in done.out
    assert "1 PASS" in (tmp_path / "out" / "selftest.md").read_text()


@pytest.mark.slow
def test_one_trial_of_the_real_command(bnsuite: Command, tmp_path: Path) -> None:
    """Nothing changed in the tiny layer: no alarm, a record with every launch, and no folder left behind."""
    done = bnsuite("selftest", "--kind", "single", "--device", "cpu", "--out", "out")
    assert done.status in {0, 3}, done.err + done.out  # 3: another process may have had the core
    (one,) = selftest.load(tmp_path / "out")
    assert one.variant == TINY
    assert {seen.case for seen in one.findings} == {TINY}
    assert {values.case for values in one.values} == {TINY, "control/copy", "control/linear"}
    assert one.launches >= interleaved.FIRST_LOOK
    if done.status == 0:
        assert not list((tmp_path / "out").rglob("interleaved.json"))
