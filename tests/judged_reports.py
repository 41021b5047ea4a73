"""Judged runs and comparisons made by hand, for whatever shows or exports them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import Finding, Judgement, Verdict, exit_status
from bnsuite.record import interleaved, store
from bnsuite.record.folder import SIDES
from bnsuite.record.gpu import Gpu, GpuFacts
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.schema import Run
from bnsuite.report import findings_json
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from conftest import curve, make_run, result, timing, watched

#: Everything that some format would act on.
HOSTILE = (
    "\x1b]0;owned\x07\x00\ufffe <script>alert(1)</script> ]]> <![CDATA[ &amp; **bold** [link](http://x) ![p](http://y) "
    "`code` | cell <!-- --> </details> @someone #1 GH-2 www.example.com $x$ %0A::set-output name=a::b\r\n"
    '::error::c\n# TYPE x counter\n" \\ {a="b"} [[ATTACHMENT|/etc/passwd]] \u202e\u2028 =1+1'
)
#: An id has no spaces, and may else be any ASCII.
HOSTILE_ID = "=cmd|'/c'!A0</testcase>]]>&\"\\`*_[x](y)<!--@me#1::set-output::a%0A,b$x$|"


def judgement(findings: list[Finding], *, finished: bool = True, reference: str = "baselines/") -> Judgement:
    """Returns a judgement with the exit status that follows."""
    status = exit_status(findings, finished=finished, strict=False)
    return Judgement(schema=Judgement.SCHEMA, reference=reference, status=status, findings=tuple(findings))


def finding(case: str, gate: str, verdict: Verdict, why: str = "a reason", *, change: float | None = None) -> Finding:
    """Returns a finding, with an interval of 2 % around its change if it has one."""
    bounds = {} if change is None else {"change": change, "low": change - 0.01, "high": change + 0.01}
    return Finding(case=case, gate=gate, verdict=verdict, reason=because(why), **bounds)


def every_verdict() -> RunReport:
    """Returns a run with a finding of each verdict, and a case by several gates."""
    timed = (timing(1e-3, copy_s=5e-4), timing(1.1e-3, copy_s=5e-4), timing(1.2e-3, copy_s=5e-4))
    run = make_run(
        *(
            result(f"op/{verdict.value.lower()}", timings=timed)
            for verdict in Verdict
            if verdict is not Verdict.MISSING
        ),
        result("train/w/bn/x", timings=timed, curves=(curve(0),)),
        *(result(f"numerics/strides/{number}") for number in range(3)),
    )
    changes = {Verdict.REGRESSED: 0.25, Verdict.INCONCLUSIVE: 0.03, Verdict.IMPROVED: -0.2, Verdict.PASS: 0.001}
    findings = [finding(f"op/{one.value.lower()}", "timing", one, change=changes.get(one)) for one in Verdict]
    findings += [
        finding("train/w/bn/x", "timing", Verdict.PASS, change=0.0),
        finding("train/w/bn/x", "memory", Verdict.REGRESSED, change=0.5),
        finding("train/w/bn/x", "convergence", Verdict.INCONCLUSIVE, change=0.07),
        *(finding(f"numerics/strides/{number}", "numerics", Verdict.PASS) for number in range(3)),
    ]
    return RunReport(run, judgement(findings))


def compared() -> ComparisonReport:
    """Returns a comparison with a slowdown and an improvement, of environments that differ."""
    a = make_run(*(result(name, timings=(timing(1e-3),)) for name in ("op/slow", "op/fast")))
    a = a.model_copy(update={"options": a.options.model_copy(update={"timeout_s": 300.0})})
    packages = {"packages": {"torch": "2.15.0"}}
    b = a.model_copy(update={"environment": a.environment.model_copy(update=packages)})
    findings = [
        finding("op/slow", "timing", Verdict.REGRESSED, change=0.08),
        finding("op/fast", "timing", Verdict.IMPROVED, change=-0.12),
    ]
    return ComparisonReport(a, b, paired(a), judgement(findings, reference="torch==2.14.1"))


def paired(run: Run, a: str = "torch==2.14.1", b: str = "docker:trainer:new") -> InterleavedTimes:
    """Returns times of a run's cases beside those of another environment."""
    launch = PairedLaunch(
        a_rounds_s=((1e-3, 2e-3),),
        b_rounds_s=((2e-3, 3e-3),),
        a_first=(True,),
        layouts=(0,),
        a_shares=(1.0,),
        b_shares=(1.0,),
        iterations=10,
        rounds=2,
        confirms=False,
    )
    cases = tuple(PairedCase(id=one.id, launches=(launch,)) for one in run.cases)
    return InterleavedTimes(
        schema=2, a=a, b=b, seed=7, most_launches=18, budget_s=None, variables={}, injected={}, cases=cases
    )


def empty() -> RunReport:
    """Returns a run that was ended before anything was measured."""
    return RunReport(make_run(finished=False), judgement([], finished=False))


@cache
def many(number: int = 5000) -> RunReport:
    """Returns a run of so many cases, of each verdict as many, with long ids and reasons that all differ."""
    names = [f"op/batch_norm2d/fwd+bwd/f32/nchw/{n}x64x56x56/{'x' * 60}" for n in range(number)]
    run = make_run(*(result(name, timings=(timing(1e-3 + n * 1e-9),)) for n, name in enumerate(names)))
    verdicts = list(Verdict)
    findings = [
        finding(name, "timing", verdicts[n % len(verdicts)], f"{n} {'because it is so ' * 30}", change=n / number)
        for n, name in enumerate(names)
    ]
    return RunReport(run, judgement(findings))


def hostile() -> list[Report]:
    """Returns a run and a comparison all of whose texts are hostile."""
    harmless = make_run(result(HOSTILE_ID, timings=(timing(1e-3),)))
    environment = harmless.environment.model_copy(
        update={"cpu": HOSTILE, "python": HOSTILE, "packages": {"torch": HOSTILE, HOSTILE: HOSTILE}}
    )
    options = harmless.options.model_copy(
        update={"implementation": HOSTILE, "environment": HOSTILE, "cases": (HOSTILE,), "profile": HOSTILE}
    )
    run = harmless.model_copy(
        update={
            "environment": environment,
            "options": options,
            "finished": False,
            "ended_by": HOSTILE,
            "started": HOSTILE,
            "bnsuite": HOSTILE,
        }
    )
    findings = [finding(HOSTILE_ID, "timing", Verdict.REGRESSED, HOSTILE, change=0.1)]
    findings += [finding(HOSTILE, HOSTILE, one, HOSTILE) for one in (Verdict.FAILED, Verdict.SKIPPED)]
    findings += [finding("", "", Verdict.INCONCLUSIVE, "")]
    verdicts = judgement(findings, finished=False, reference=HOSTILE)
    return [
        RunReport(run, verdicts, (HOSTILE,)),
        ComparisonReport(harmless, run, paired(run, HOSTILE, HOSTILE), verdicts),
    ]


def on_gpu() -> RunReport:
    """Returns a run on the second GPU of a machine."""
    facts = dict.fromkeys(GpuFacts.model_fields) | {"uuid": "GPU-1", "mig_slice": False}
    gpu = Gpu(
        name="Some GPU", count=2, capability="9.0", memory_total_bytes=80 << 30, driver="600.1", nvml=GpuFacts(**facts)
    )
    run = make_run(result("op/a", timings=(timing(1e-3, cpu_share=None, gpu=watched()),)))
    environment = run.environment.model_copy(update={"gpu": gpu, "cuda": "13.0", "cudnn": 92000})
    run = run.model_copy(update={"device": "cuda:1", "environment": environment})
    return RunReport(run, judgement([finding("op/a", "timing", Verdict.PASS, change=0.01)]))


def saved(report: Report, folder: Path) -> Path:
    """Writes a report's results into `folder`, as a run or a comparison leaves them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(report, RunReport):
        store.save(report.run, folder)
    else:
        for side, run in zip(SIDES, (report.a, report.b), strict=True):
            (folder / side).mkdir()
            store.save(run, folder / side)
        interleaved.save(report.times, folder)
    (folder / "findings.json").write_text(findings_json.text(report.judgement), encoding="utf-8")
    return folder
