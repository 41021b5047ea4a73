"""The kernels gate: a change alarms where nothing known explains it, and explains a slowdown where it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnsuite.judge.gates import judge
from bnsuite.judge.kernels import change_of, explain
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict, exit_status
from bnsuite.record import accept, baselines
from bnsuite.record.accept import WHAT
from bnsuite.record.key import machine_key
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.lines import KERNELS, conditions_of
from bnsuite.record.recorder import Recorder
from bnsuite.record.reference import Reference, from_run, trusted
from bnsuite.record.schema import Outcome, Run, Status
from bnsuite.report import kernels, news, totals
from bnsuite.report.reasons import words
from conftest import make_run, result, timing

NAME = "op/x"
TWO = {"native_batch_norm": 1, "native_batch_norm_backward": 1}
FOUR = {**TWO, "mul": 2}


def launched(names: dict[str, int], backend: str | None = "native", of: Any = "operators") -> LaunchedKernels:
    return LaunchedKernels(of=of, launched=names, batch_norm=backend)


def run_of(kernels: LaunchedKernels | None, *, torch: str = "2.14.1", version: int = 1, **environment: object) -> Run:
    """A run of one timed case that launches `kernels`; None for one that was not looked at."""
    outcome = Outcome(status=Status.SKIPPED, reason="no CUPTI") if kernels is None else Outcome(status=Status.MEASURED)
    case = result(NAME, timings=(timing(1e-3),) * 3, version=version)
    case = case.model_copy(update={"kernels": kernels, "outcomes": {**case.outcomes, "kernels": outcome}})
    run = make_run(case)
    changes = {"packages": {"torch": torch}, **environment}
    return run.model_copy(update={"environment": run.environment.model_copy(update=changes)})


def baseline(run: Run) -> Reference:
    return Reference(name="baselines/", lines={"kernels": KERNELS.of_run(run)})


def of_kernels(run: Run, reference: Reference) -> Finding:
    (one,) = (one for one in judge(run, reference) if one.gate == "kernels")
    return one


def test_the_same_kernels_pass_in_any_order_and_with_another_release() -> None:
    """What counts is how often each name was launched, and the backend of batch norm."""
    reference = baseline(run_of(launched(TWO)))
    for run in (
        run_of(launched(dict(reversed(TWO.items())))),
        run_of(launched(TWO), torch="2.15.0"),
        run_of(launched(TWO), cpu_capability="AVX512"),
    ):
        found = of_kernels(run, reference)
        assert (found.verdict, words(found)) == (Verdict.PASS, "launches the same 2 operators; batch norm native")


def test_a_change_that_nothing_known_explains_is_a_regression() -> None:
    """As between two builds of what should be one image: one line names it, and the status is 1."""
    found = of_kernels(run_of(launched(FOUR)), baseline(run_of(launched(TWO))))
    assert found.verdict is Verdict.REGRESSED
    assert words(found) == (
        "launched 2 operators, now 4: new 2 mul, though nothing that chooses operators is known to differ"
    )
    assert found.evidence == {
        "launched": 4,
        "batch_norm": "native",
        "launched_before": 2,
        "batch_norm_before": "native",
    }
    assert exit_status([found], finished=True, strict=False) is ExitStatus.REGRESSED


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"torch": "2.15.0"}, "torch 2.14.1 → 2.15.0"),
        ({"torch": "2.15.0", "torch_git": "abc"}, "torch 2.14.1 → 2.15.0"),
        ({"torch_git": "abc"}, "torch revision none → abc"),
        ({"cpu_capability": "AVX512"}, "CPU capability AVX2 → AVX512"),
        ({"system": "Linux aarch64"}, "system Linux x86_64 → Linux aarch64"),
        ({"threads": 2}, "threads 1 → 2"),
    ],
)
def test_a_change_that_something_known_explains_is_no_alarm(changes: dict[str, Any], cause: str) -> None:
    """It asks to be accepted where it can be, and is named and let pass where it can't: the times decide."""
    before, run = run_of(launched(TWO)), run_of(launched(FOUR), **changes)
    stored, beside = of_kernels(run, baseline(before)), of_kernels(run, trusted(before, "A", ()))
    assert (stored.verdict, beside.verdict) == (Verdict.NO_BASELINE, Verdict.PASS)
    assert words(beside) == f"launched 2 operators, now 4: new 2 mul; known to differ: {cause}"
    assert words(stored) == f"{words(beside)}; if the times are right, `bnsuite accept` takes it over"


def test_an_implementation_explains_other_kernels_and_two_of_one_do_not() -> None:
    """Who judges a layer of their own expects it to launch its own; the same one must launch the same."""

    def of_layer(run: Run) -> Run:
        return run.model_copy(update={"options": run.options.model_copy(update={"implementation": "mine:Norm"})})

    plain, own, other = run_of(launched(TWO)), of_layer(run_of(launched(FOUR))), of_layer(run_of(launched(TWO)))
    found = of_kernels(own, baseline(plain))
    assert found.verdict is Verdict.PASS
    assert words(found).endswith("known to differ: batch norm torch's own → mine:Norm")
    assert of_kernels(own, trusted(other, "A", ())).verdict is Verdict.REGRESSED


def test_a_gpu_has_kernels_of_its_own_and_libraries_that_choose_them() -> None:
    """Another cuDNN explains another backend; the file is that of the model."""
    gpu: dict[str, Any] = {"flags": {"cudnn_enabled": True}}
    before, after = (
        run_of(launched(names, backend, "kernels"), cudnn=version, **gpu).model_copy(update={"device": "cuda:0"})
        for names, backend, version in (({"cudnn::bn": 1}, "cudnn", 91000), ({"batch_norm_a": 2}, "native", 92000))
    )
    assert words(of_kernels(after, trusted(before, "A", ()))) == (
        "launched 1 kernel, now 2: gone 1 cudnn::bn, new 2 batch_norm_a; batch norm cudnn → native; "
        "known to differ: cuDNN 91000 → 92000"
    )
    assert conditions_of(before)["cuDNN"] == "91000"
    assert KERNELS.path(Path("b"), before) == Path("b/kernels/cuda.jsonl")
    assert KERNELS.path(Path("b"), run_of(None)) == Path("b/kernels/cpu.jsonl")


def test_what_is_not_known_is_quiet() -> None:
    """No line of the case, one of another version, a profiler that can't record, and a run that never looked."""
    known = baseline(run_of(launched(TWO)))
    assert of_kernels(run_of(launched(TWO)), Reference(name="baselines/")).verdict is Verdict.NO_BASELINE
    assert of_kernels(run_of(launched(FOUR), version=2), known).verdict is Verdict.NO_BASELINE
    unseen = of_kernels(run_of(None), known)
    assert (unseen.verdict, words(unseen)) == (Verdict.SKIPPED, "no CUPTI")
    old = make_run(result(NAME, timings=(timing(1e-3),) * 3))
    assert {one.gate for one in judge(old, known)} == {"timing"}


def test_a_case_that_was_not_timed_says_so_once() -> None:
    """The timing gate has the reason."""
    run = run_of(None)
    (case,) = run.cases
    skipped = Outcome(status=Status.SKIPPED, reason="no such layer")
    run = run.model_copy(
        update={"cases": (case.model_copy(update={"outcomes": dict.fromkeys(case.outcomes, skipped)}),)}
    )
    assert [one.gate for one in judge(run, Reference(name="baselines/"))] == ["timing"]


def test_only_what_changed_is_named_and_not_more_than_a_line_holds() -> None:
    """Of either kind three names, and the number of others; a change of the backend alone is one as well."""
    many = {f"k{number}": 1 for number in range(9)}
    change = change_of(launched({"mul": 2}), launched({**many, "mul": 1}))
    assert change is not None
    assert (change["gone"], change["new"], change["more_new"]) == (["1 mul"], ["1 k0", "1 k1", "1 k2"], 6)
    only = change_of(launched(TWO), launched(TWO, "mkldnn"))
    assert only is not None
    assert change_of(launched(TWO), launched(TWO)) is None


def slower(case: str, **data: float) -> Finding:
    numbers = {"change": 0.2, "low": 0.1, "high": 0.3, "launches": 4, "confirming": 4, "controls": {}, **data}
    why = reason(ReasonCode.SLOWDOWN_CONFIRMED, **numbers)  # type: ignore[arg-type]
    return Finding(case=case, gate="timing", verdict=Verdict.REGRESSED, reason=why, change=0.2)


def test_a_slowdown_names_the_kernels_that_changed_and_another_does_not() -> None:
    """In one line, behind the number; also where it is one of several alike."""
    changed = of_kernels(run_of(launched(FOUR), torch="2.15.0"), trusted(run_of(launched(TWO)), "A", ()))
    told, passed, plain, same = explain(
        [slower(NAME), slower(NAME).model_copy(update={"verdict": Verdict.PASS}), slower("op/other"), changed]
    )
    tail = "; it launched 2 operators, now 4: new 2 mul"
    assert words(told).endswith(f"in 4 launches and again in 4 fresh ones{tail}")
    assert (passed, plain, same) == (
        slower(NAME).model_copy(update={"verdict": Verdict.PASS}),
        slower("op/other"),
        changed,
    )
    assert news._reason(told) == words(told)


def test_a_comparison_names_the_kernels_among_what_differs() -> None:
    """Cases with the same change share a line."""
    a, b = run_of(launched(TWO)), run_of(launched(FOUR))

    def of_three(run: Run) -> Run:
        (case,) = run.cases
        names = ("op/x", "op/y", "op/z")
        cases = tuple(case.model_copy(update={"case": case.case.model_copy(update={"id": one})}) for one in names)
        return run.model_copy(update={"cases": cases})

    assert list(kernels.changes(a, b)) == ["op/x launched 2 operators, now 4: new 2 mul"]
    assert list(kernels.changes(of_three(a), of_three(b))) == [
        "each of 3 cases (op/x, …) launched 2 operators, now 4: new 2 mul"
    ]
    assert list(kernels.changes(a, a)) == []


def test_a_report_lists_what_a_case_launches() -> None:
    """With the backend of batch norm, where one was seen."""
    assert kernels.listed(launched(FOUR)) == (
        "4 operators: 1 native_batch_norm, 1 native_batch_norm_backward, 2 mul; batch norm native"
    )
    assert kernels.listed(launched({"mul": 1}, None, "kernels")) == "1 kernel: 1 mul"


def test_totals_say_that_kernels_are_unchanged_or_how_many_are() -> None:
    """A line per kind of case, as for memory."""
    run, changed = run_of(launched(TWO)), run_of(launched(FOUR))
    for one, told in ((run, "kernels unchanged"), (changed, "kernels of 0 of 1 unchanged (1 REGRESSED)")):
        found = judge(one, baseline(run))
        assert told in dict(totals.lines(one, found))["layers"]


def test_kernels_are_accepted_kept_and_replaced(tmp_path: Path) -> None:
    """By --only kernels alone; what passes keeps its names, and learns under which release they hold too."""
    first, newer, changed = (
        run_of(launched(names), torch=version)
        for names, version in ((TWO, "2.14.1"), (TWO, "2.15.0"), (FOUR, "2.15.0"))
    )
    assert "kernels" in WHAT
    for run, told in (
        (first, "new"),
        (newer, "kept but for what it lacked: the run passes against it"),
        (changed, "replaced"),
    ):
        passing = [
            (0, one.case, one.gate) for one in judge(run, baselines.load(tmp_path, run)) if one.verdict is Verdict.PASS
        ]
        changes, files = accept.accept([run], tmp_path, what=["kernels"], keep=passing)
        assert [(one.gate, one.what) for one in changes] == [("kernels", told)]
        assert list(files) == [tmp_path / "kernels" / "cpu.jsonl"]
        accept.write(files)
        stored = KERNELS.read(tmp_path, run)[NAME]
        assert (stored.kernels, stored.torch) == (run.cases[0].kernels, run.environment.packages["torch"])
    assert of_kernels(changed, baselines.load(tmp_path, changed)).verdict is Verdict.PASS


def test_another_run_is_a_reference_on_any_machine_of_its_kind() -> None:
    """Operators do not depend on the model of a CPU."""
    run = run_of(launched(TWO))
    elsewhere = run.model_copy(update={"environment": run.environment.model_copy(update={"cpu": "Another"})})
    assert of_kernels(elsewhere, from_run(run, "run", machine_key(elsewhere))).verdict is Verdict.PASS


def test_what_was_not_looked_at_leaves_other_gates_alone(tmp_path: Path) -> None:
    """A case whose kernels can't be seen is timed all the same."""
    pending = {gate: Outcome(status=Status.PENDING) for gate in ("timing", "kernels")}
    recorder = Recorder(make_run(result(NAME, outcomes=pending)), tmp_path, 0.0)
    recorder.leave_out(NAME, "kernels", "no CUPTI")
    assert recorder.ids("timing") == [NAME]
    recorder.add_kernels(NAME, launched(TWO))
    assert recorder.run.cases[0].outcomes["kernels"].status is Status.MEASURED
