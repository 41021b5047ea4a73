"""Calibration: limits that only a GPU can tell judge once they were measured on it, and not before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsuite.cases import all_cases
from bnsuite.cases.op.ratio import RatioCase
from bnsuite.cli.command import main
from bnsuite.judge.calibration import ChangeKind, calibrate
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record import baselines, calibration, pins, store
from bnsuite.record.calibration import Calibration
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Memory, Observation, Outcome, Run, Status, Timing
from bnsuite.report import news, terminal
from bnsuite.report.judged import RunReport
from bnsuite.report.reasons import words
from bnsuite.report.screen import UNLIMITED, Screen
from conftest import make_run, result, timing, watched
from judged_reports import judgement, on_gpu

RATIO, CHECK, PROMISE = "ratio/cudnn-vs-native/x", "numerics/offsets/x", "numerics/strides/x"
GPU = on_gpu().run.environment.gpu
assert GPU is not None
#: What a CPU's kernels stay below.
LIMIT = 4.0


def launch(ratio: float, *, foreign: int = 0) -> Timing:
    return Timing(
        samples_s=tuple(ratio * one * 1e-3 for one in (1.0, 1.1, 1.2)),
        iterations=1,
        controls_s={"partner": (1e-3, 1.1e-3, 1.2e-3)},
        cpu_share=None,
        memory=Memory(allocated_peak_bytes=None),
        gpu=watched(foreign),
    )


def ratio(*launches: Timing, version: int = 1) -> CaseResult:
    return to_calibrate(result(RATIO, timings=launches, version=version, bounds={"cpu": 1.1, "cuda": 1.15}), "ratio")


def near(value: float) -> tuple[Timing, ...]:
    """Three launches near a ratio."""
    return tuple(launch(value * share) for share in (0.99, 1.0, 1.01))


def check(value: float | str, *, name: str = CHECK, patterns: tuple[str, ...] = ("places*",)) -> CaseResult:
    what = "places of the mean"
    one = (
        Observation(what=what, value=value, expected="right")
        if isinstance(value, str)
        else Observation(what=what, value=value, limit=LIMIT)
    )
    return to_calibrate(result(name, observations=(one,)), *patterns)


def to_calibrate(one: CaseResult, *patterns: str) -> CaseResult:
    return one.model_copy(update={"case": one.case.model_copy(update={"to_calibrate": patterns})})


def on(device: str, *results: CaseResult, started: str = "2026-01-02T03:04:05+00:00", **more: bool) -> Run:
    """A run of these cases on a device."""
    run = make_run(*results, **more)
    gpu = None if device == "cpu" else GPU
    environment = run.environment.model_copy(update={"gpu": gpu, "cuda": "13.0", "cudnn": 92000})
    return run.model_copy(update={"device": device, "environment": environment, "started": started})


def found(run: Run, known: Calibration | None = None, **more: object) -> dict[str, Finding]:
    """The findings of a run by case."""
    reference = Reference(name="baselines/", calibration=known, **more)  # type: ignore[arg-type]
    return {one.case: one for one in judge(run, reference)}


def made(*runs: Run, stored: Calibration | None = None, replace: bool = False) -> Calibration:
    return calibrate(runs, stored, (), replace=replace).calibration


def kinds(*runs: Run, stored: Calibration | None = None, replace: bool = False) -> dict[str, ChangeKind]:
    return {one.case: one.kind for one in calibrate(runs, stored, (), replace=replace).changes}


def saved(run: Run, folder: Path) -> Path:
    folder.mkdir(parents=True)
    store.save(run, folder)
    return folder


def test_before_it_is_calibrated_a_gpu_has_no_verdict() -> None:
    """A ratio beyond its guessed bound, and a number beyond the limit of CPUs, are no regressions there."""
    results = (ratio(*near(2.0)), check(6.0))
    gpu, cpu = found(on("cuda:0", *results)), found(on("cpu", *results))
    assert {one.verdict for one in gpu.values()} == {Verdict.NO_BASELINE}
    assert words(gpu[RATIO]).startswith("takes 2.00 times as long; this GPU is not calibrated")
    assert words(gpu[CHECK]).startswith("places of the mean is 6, and up to 4 on CPUs; this GPU is not calibrated")
    assert {one.verdict for one in cpu.values()} == {Verdict.REGRESSED}


def test_a_law_holds_on_a_gpu_without_a_calibration() -> None:
    """A limit that is not named as one of CPUs, a word, a bound for an implementation, and what is not finite."""
    wrong = on(
        "cuda:0",
        check(6.0, patterns=()),
        check("wrong", name=PROMISE),
        check(1e30, name="numerics/offsets/infinite"),
        result(RATIO, timings=near(2.0), bounds={"cuda": 1.03}),
    )
    assert {one.verdict for one in found(wrong).values()} == {Verdict.REGRESSED}
    right = on("cuda:0", check(1.0), check(3.9, name="numerics/offsets/y"))
    assert {one.verdict for one in found(right).values()} == {Verdict.PASS}


def test_a_calibrated_gpu_is_judged_by_what_was_measured_on_it() -> None:
    """The same passes; a ratio 30 % slower, and a number 4 times as large, are regressions."""
    known = made(on("cuda:0", ratio(*near(2.0)), check(6.0)))
    same = found(on("cuda:0", ratio(*near(2.02)), check(7.0)), known)
    assert {one.verdict for one in same.values()} == {Verdict.PASS}
    worse = found(on("cuda:0", ratio(*near(2.6)), check(24.0)), known)
    assert {one.verdict for one in worse.values()} == {Verdict.REGRESSED}
    assert words(worse[RATIO]).startswith("takes 2.60 times as long, the limit is 2.2")


def test_a_calibration_says_what_it_is_made_of() -> None:
    """Launches, their spread, the GPU, its driver and the threads stand beside each bound."""
    known = made(on("cuda:0", ratio(*near(2.0)), check(6.0)))
    (bound,), (limit,), (run,) = known.ratios, known.limits, known.runs
    assert (bound.launches, bound.assumed, bound.runs) == (3, 1.15, (run.started,))
    assert bound.ratio == pytest.approx(2.0, rel=0.01)
    assert bound.spread == pytest.approx(0.01, rel=0.01)
    assert bound.bound == 2.2
    assert (limit.value, limit.limit, limit.from_cpu) == (6.0, 18.0, LIMIT)
    assert (run.gpu, run.threads, run.cudnn, run.packages["torch"]) == (GPU, 1, 92000, "2.14.1")


def test_what_a_calibration_does_not_have_stays_without_a_verdict() -> None:
    """Another case, and another version of the same; it says that the GPU was calibrated by other cases."""
    known = made(on("cuda:0", ratio(*near(2.0))))
    other = found(on("cuda:0", ratio(*near(2.0), version=2), check(6.0)), known)
    assert {one.verdict for one in other.values()} == {Verdict.NO_BASELINE}
    assert "it was not measured when this GPU was calibrated" in words(other[CHECK])


def test_disturbed_launches_make_no_bound() -> None:
    """A ratio with less than two undisturbed ones is left out, and what was stored stays."""
    disturbed = on("cuda:0", ratio(launch(2.0), *(launch(9.0, foreign=1) for _ in range(2))))
    assert kinds(disturbed) == {RATIO: ChangeKind.LEFT_OUT}
    assert made(disturbed).ratios == ()
    stored = made(on("cuda:0", ratio(*near(1.5))))
    assert made(disturbed, stored=stored).ratios == stored.ratios


def test_the_gpus_own_times_are_not_mixed_with_elapsed_ones() -> None:
    """Where some launches held the queue back, the others do not count."""
    own = tuple(one.model_copy(update={"held": True, "host_s": (1e-4,)}) for one in near(1.2))
    elapsed = launch(3.0).model_copy(update={"held": False, "host_s": (1e-4,)})
    (bound,) = made(on("cuda:0", ratio(*own, elapsed))).ratios
    assert (bound.launches, bound.held) == (3, True)
    assert bound.ratio == pytest.approx(1.2, rel=0.01)


def test_a_ratio_that_failed_makes_no_bound() -> None:
    """Launches before a crash say nothing of what would have come; the failure is listed."""
    outcome = {"timing": Outcome(status=Status.FAILED, reason="it died")}
    run = on("cuda:0", ratio(*near(2.0)).model_copy(update={"outcomes": outcome}))
    assert kinds(run) == {RATIO: ChangeKind.LEFT_OUT}
    assert [one.reason for one in made(run).failures] == ["it died"]


def test_a_tighter_bound_gives_way_to_nothing_but_replace() -> None:
    """A looser one is shown and not taken; one that agrees changes nothing; a tighter one is taken."""
    stored = made(on("cuda:0", ratio(*near(1.5)), check(6.0)))
    slower = on("cuda:0", ratio(*near(2.0)), check(20.0), started="2026-02-01T00:00:00+00:00")
    assert kinds(slower, stored=stored) == {RATIO: ChangeKind.KEPT, CHECK: ChangeKind.KEPT}
    kept = made(slower, stored=stored)
    assert (kept.ratios, kept.limits) == (stored.ratios, stored.limits)
    assert kinds(slower, stored=stored, replace=True) == {RATIO: ChangeKind.LOOSER, CHECK: ChangeKind.LOOSER}
    same = on("cuda:0", ratio(*near(1.52)), check(5.0))
    assert set(kinds(same, stored=stored).values()) == {ChangeKind.SAME}
    faster = on("cuda:0", ratio(*near(1.1)), check(1.0))
    assert kinds(faster, stored=stored) == {RATIO: ChangeKind.TIGHTER, CHECK: ChangeKind.TIGHTER}
    assert made(faster, stored=stored).ratios[0].bound < stored.ratios[0].bound


def test_several_runs_are_one_measurement() -> None:
    """A bound takes the launches of all of them, a limit the larger number."""
    first = on("cuda:0", ratio(*near(2.0)[:2]), check(6.0))
    second = on("cuda:0", ratio(launch(2.1)), check(7.0), started="2026-02-01T00:00:00+00:00")
    known = made(first, second)
    assert known.ratios[0].launches == 3
    assert known.limits[0].limit == 21.0
    assert known.limits[0].runs == known.ratios[0].runs == (first.started, second.started)


def test_far_beyond_the_limit_of_cpus_is_a_deviation() -> None:
    """A gross fault is not made the norm: it is listed, and a regression until it is pinned."""
    run = on("cuda:0", check(41.0), check("wrong", name=PROMISE))
    known = made(run)
    assert [(one.case, one.value) for one in known.deviations] == [(CHECK, 41.0), (PROMISE, "wrong")]
    assert {one.verdict for one in found(run, known).values()} == {Verdict.REGRESSED}


def test_an_accepted_number_calibrates_as_well() -> None:
    """It may be 3 times the accepted one; so is B held against A in a comparison."""
    accepted = baselines.LINES["checks"].of_run(on("cuda:0", check(6.0)))
    lines = {"checks": accepted}
    assert found(on("cuda:0", check(17.0)), lines=lines)[CHECK].verdict is Verdict.PASS
    assert found(on("cuda:0", check(19.0)), lines=lines)[CHECK].verdict is Verdict.REGRESSED


def test_controls_have_figures() -> None:
    """Whatever controls a launch holds; the copy by its bytes. The other side of a ratio is none."""
    three = tuple(timing(1e-3, cpu_share=None, gpu=watched()) for _ in range(3))
    extra = tuple(one.model_copy(update={"controls_s": {**one.controls_s, "launch": (5e-6, 6e-6)}}) for one in three)
    known = made(on("cuda:0", result("op/a", timings=extra), ratio(*near(2.0))))
    figures = {(one.name, one.nbytes): (one.median_s, one.launches) for one in known.controls}
    assert figures == {
        ("copy", 1 << 20): (1e-4, 3),
        ("launch", None): (5.5e-6, 3),
        ("linear", None): (1e-4, 3),
    }


def test_the_file_is_read_back_and_used(tmp_path: Path) -> None:
    """Beside the baselines, one file per model of GPU; a CPU's is never used."""
    run = on("cuda:0", ratio(*near(2.0)), check(6.0))
    (tmp_path / "base").mkdir()
    ours = ["--baselines", str(tmp_path / "base")]
    assert main(["calibrate", str(saved(run, tmp_path / "r")), *ours]) == 0
    path = calibration.path(tmp_path / "base", run)
    assert path.name == "cuda-some-gpu.json"
    known = baselines.load(tmp_path / "base", run).calibration
    assert known == made(run)
    assert all(len(line) < 2000 for line in path.read_text().splitlines())
    cpu = on("cpu", ratio(*near(2.0)))
    assert main(["calibrate", str(saved(cpu, tmp_path / "c")), *ours]) == 0
    assert calibration.read(tmp_path / "base", cpu) is not None
    assert baselines.load(tmp_path / "base", cpu).calibration is None
    assert main(["check", str(tmp_path / "c"), *ours]) == 1


def test_a_run_that_can_not_be_trusted_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that did not finish or measured another layer is an error; a disturbed one is not measured as asked."""
    ours = ["--baselines", str(tmp_path / "base")]
    unfinished = on("cuda:0", ratio(*near(2.0)), finished=False)
    assert main(["calibrate", str(saved(unfinished, tmp_path / "u")), *ours]) == 2
    assert "did not come to its end" in capsys.readouterr().err
    run = on("cuda:0", ratio(*near(2.0)))
    other = run.model_copy(update={"options": run.options.model_copy(update={"implementation": "k:L"})})
    assert main(["calibrate", str(saved(other, tmp_path / "i")), *ours]) == 2
    disturbed = on("cuda:0", ratio(*(launch(2.0, foreign=1) for _ in range(3))))
    assert main(["calibrate", str(saved(disturbed, tmp_path / "d")), *ours]) == 3
    assert "0 undisturbed launches, 3 are not, 2 are needed" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "base").exists()


def test_limits_without_a_ratio_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The limits of checks are written, and the last line says why the status is 3."""
    disturbed = on("cuda:0", ratio(*(launch(2.0, foreign=1) for _ in range(3))), check(3.0))
    where = tmp_path / "base"
    assert main(["calibrate", str(saved(disturbed, tmp_path / "d")), "--baselines", str(where)]) == 3
    known = calibration.read(where, disturbed)
    assert known is not None
    assert [one.case for one in known.limits] == [CHECK]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "no ratio is calibrated: each needs 2 undisturbed launches; measure again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON, or cut off"),
        ('{"schema": 1, "device": "cuda"}', "wrong field model"),
        ('{"schema": 9}', "has schema 9"),
    ],
)
def test_a_damaged_calibration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """With the file, the cause and the fix, and status 2, for whatever judges by it."""
    run = on("cuda:0", ratio(*near(2.0)))
    path = calibration.path(tmp_path / "base", run)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    folder = str(saved(run, tmp_path / "r"))
    for verb in ("check", "calibrate"):
        assert main([verb, folder, "--baselines", str(tmp_path / "base")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{path}: " in line
        assert said in line


def test_a_deviation_becomes_a_pin_with_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For this kind of device and release, with the reason, after the pins that were there; then it passes."""
    run = on("cuda:0", check(41.0), check("wrong", name=PROMISE))
    folder, base = str(saved(run, tmp_path / "r")), tmp_path / "base"
    ours = ["--baselines", str(base)]
    assert main(["calibrate", folder, *ours]) == 0
    assert "2 checks with deviations" in capsys.readouterr().out
    assert main(["check", folder, *ours]) == 1
    why = ["--reason", "so it is on this GPU (a/b#1)"]
    assert main(["calibrate", folder, *ours, "--pin", "numerics/strides/* places*", *why]) == 0
    known = pins.read(base)
    assert known[:-1] == pins.read(tmp_path)  # those that are shipped
    assert (known[-1].case, known[-1].device, known[-1].torch, known[-1].value) == (PROMISE, "cuda", "2.14", "wrong")
    assert main(["calibrate", folder, *ours, "--pin", CHECK, *why]) == 0
    assert pins.read(base)[-1].value == 130.0
    assert main(["check", folder, *ours]) == 0
    assert main(["calibrate", folder, *ours]) == 0
    assert made(run).deviations != ()
    assert baselines.load(base, run).calibration.deviations == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pin", "numerics/*"],
        ["--reason", "so it is"],
        ["--pin", "numerics/*", "--reason", "short"],
        ["--pin", "behaviour/none", "--reason", "so it is on this GPU"],
        ["--device", "cuda"],
    ],
)
def test_wrong_usage_changes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    """A pin without a reason, a reason too short, a pin of nothing, and how to measure a run that is there."""
    folder = str(saved(on("cuda:0", check("wrong", name=PROMISE)), tmp_path / "r"))
    assert main(["calibrate", folder, "--baselines", str(tmp_path / "base"), *arguments]) == 2
    assert not (tmp_path / "base").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Neither a calibration nor pins."""
    folder = str(saved(on("cuda:0", ratio(*near(2.0)), check("wrong", name=PROMISE)), tmp_path / "r"))
    ours = ["--baselines", str(tmp_path / "base"), "--dry-run"]
    assert main(["calibrate", folder, *ours]) == 0
    assert main(["calibrate", folder, *ours, "--pin", PROMISE, "--reason", "so it is on this GPU"]) == 0
    assert not (tmp_path / "base").exists()


@pytest.mark.slow
def test_it_measures_where_no_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of its own, kept like any other; here of a CPU, whose calibration judges nothing."""
    monkeypatch.chdir(tmp_path)
    select = "offsets/batch_norm1d/n=16/contiguous/constant/values=to-1e4"
    assert main(["calibrate", "--device", "cpu", "-k", select, "--out", "r", "--baselines", "b"]) == 0
    run = store.load(tmp_path / "r")
    known = calibration.read(tmp_path / "b", run)
    assert known is not None
    assert {one.case for one in known.limits} == {one.id for one in run.cases}
    assert len(known.limits) == 20
    assert all(one.limit == one.from_cpu for one in known.limits)


def test_checks_without_a_baseline_on_a_gpu_are_one_piece_of_news() -> None:
    """With the command that calibrates; once the GPU is calibrated with that which accepts; a CPU's stay apart."""
    word = Observation(what="outcome", value="raises")
    other = Observation(what="peak", value=3.0)
    results = (
        check(6.0),
        result("numerics/reference/y", observations=(word,)),
        result("behaviour/peak-memory/z", observations=(other,)),
    )

    def shown(run: Run, known: Calibration | None) -> list[news.Item]:
        report = RunReport(run, judgement(list(found(run, known).values())), folder=Path("results/x"))
        assert terminal.render(report, Screen(UNLIMITED))
        return news.items(report)

    run = on("cuda:0", *results)
    (item,) = shown(run, None)
    assert (item.gate, item.who) == ("checks", "3 cases")
    assert item.reason == "they have no baseline on this kind of GPU"
    assert item.command == "bnsuite calibrate results/x"
    (item,) = shown(run, made(run))
    assert (item.who, item.command) == ("2 cases", "bnsuite accept results/x --only checks")
    assert [one.gate for one in shown(on("cpu", *results[1:]), None)] == ["numerics", "behaviour"]


def test_a_gpus_ratios_that_are_not_calibrated_are_one_piece_of_news() -> None:
    """Each with its number."""
    run = on("cuda:0", *(ratio(*near(one)).model_copy(update={"case": case(f"ratio/x/{one}")}) for one in (1.1, 2.0)))
    report = RunReport(run, judgement(list(found(run).values())), folder=Path("results/x"))
    (item,) = news.items(report)
    assert (item.gate, item.who, item.command) == ("timing", "2 cases", "bnsuite calibrate results/x")
    numbers = [place.number for place in item.places]
    assert all("× partner (not calibrated)" in one for one in numbers)
    assert [one[:4] for one in numbers] == ["1.10", "2.00"]


def case(name: str) -> object:
    return ratio(*near(1.0)).case.model_copy(update={"id": name})


def test_every_guessed_bound_of_a_gpu_is_to_be_calibrated() -> None:
    """All of a GPU's ratios but those that are asked of an implementation; patterns of checks are none of trainings."""
    for one in all_cases():
        if isinstance(one, RatioCase):
            assert one.to_calibrate == (() if one.of_implementation else ("ratio",)), one.id
        assert not one.to_calibrate or one.kind in {"ratio", "check"}, one.id


def test_the_plan_tells_what_is_to_be_calibrated() -> None:
    """The judging half knows it of each case; runs of before say nothing, which changes no verdict of theirs."""
    (first,) = [
        one for one in all_cases() if one.id.endswith("/24x14x9x7/train/float32/contiguous") and "batch/group" in one.id
    ]
    assert first.describe()["to_calibrate"] == ["*"]
    plain = json.loads(on("cpu", check(1.0)).model_dump_json(by_alias=True))
    del plain["cases"][0]["case"]["to_calibrate"]
    assert Run.model_validate_json(json.dumps(plain)).cases[0].case.to_calibrate == ()
