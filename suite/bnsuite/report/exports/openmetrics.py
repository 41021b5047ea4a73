"""``bnsuite.prom``: a run as gauges, for node_exporter's textfile collector and everything that reads OpenMetrics.

`METRICS` is the one list of names. Dashboards are written against it: a name is a promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import Verdict
from bnsuite.record.gpu import GpuWatch
from bnsuite.report.exports import numbers
from bnsuite.report.exports.exposition import Sample, exposition
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

#: The names of all metrics, with their help.
METRICS = {
    "bnsuite_run_timestamp_seconds": "Start of the run, in seconds since 1970.",
    "bnsuite_run_duration_seconds": "Wall time of the run.",
    "bnsuite_run_exit_status": "0 nothing wrong, 1 a regression, 2 unusable, 3 not measured as asked.",
    "bnsuite_run_finished": "1 if the run came to its end, else 0.",
    "bnsuite_run_info": "Versions and machine of the run, as labels; always 1.",
    "bnsuite_findings": "Number of findings by gate and verdict.",
    "bnsuite_case_step_seconds": "Time of a step: the median over launches.",
    "bnsuite_case_peak_bytes": "Largest peak of memory of a step, in the allocator of torch.",
    "bnsuite_case_copy_bandwidth_ratio": "Achieved memory bandwidth as a share of that of a plain copy.",
    "bnsuite_case_change_ratio": "Relative change against the reference (0.03: 3 % more).",
    "bnsuite_case_change_low_ratio": "Lower bound of the relative change.",
    "bnsuite_case_change_high_ratio": "Upper bound of the relative change.",
    "bnsuite_case_verdict": "1 for the verdict of a case by a gate; of checks, those that are not PASS.",
    "bnsuite_gpu_sm_clock_min_hertz": "Lowest SM clock of the GPU while it was measured.",
    "bnsuite_gpu_sm_clock_max_hertz": "Highest SM clock of the GPU while it was measured.",
    "bnsuite_gpu_temperature_max_celsius": "Highest temperature of the GPU while it was measured.",
    "bnsuite_gpu_power_max_watts": "Highest power draw of the GPU while it was measured.",
}
_CHANGES = {
    "change": "bnsuite_case_change_ratio",
    "low": "bnsuite_case_change_low_ratio",
    "high": "bnsuite_case_change_high_ratio",
}


def render(report: Report) -> str:
    """Returns the file."""
    subject = Subject.of(report)
    common = _common(subject)
    samples = (
        Sample(name, value, {**common, **labels})
        for part in (_run, _findings, _cases, _verdicts, _gpu)
        for name, value, labels in part(subject)
    )
    return exposition(samples, METRICS)


Part = Iterator[tuple[str, float, dict[str, str]]]


def _common(subject: Subject) -> dict[str, str]:
    """Returns the labels of every metric; those of a GPU are named as dcgm-exporter names them."""
    run = subject.run
    labels = {"kind": subject.kind, "profile": run.options.profile, "device": run.device}
    gpu = run.environment.gpu
    if gpu is None:
        return labels
    uuid = {"UUID": gpu.nvml.uuid} if gpu.nvml is not None else {}
    return {**labels, "gpu": run.device.partition(":")[2], **uuid}


def _run(subject: Subject) -> Part:
    run, environment = subject.run, subject.run.environment
    if subject.started is not None:
        yield "bnsuite_run_timestamp_seconds", subject.started.timestamp(), {}
    yield "bnsuite_run_duration_seconds", run.wall_s, {}
    yield "bnsuite_run_exit_status", subject.judgement.status.value, {}
    yield "bnsuite_run_finished", int(run.finished), {}
    versions = {
        "bnsuite": run.bnsuite,
        "torch": environment.packages.get("torch", ""),
        "cuda": environment.cuda or "",
        "cudnn": "" if environment.cudnn is None else str(environment.cudnn),
        "python": environment.python,
        "driver": (environment.gpu.driver or "") if environment.gpu else "",
        "cpu": environment.cpu,
        "reference": subject.judgement.reference,
    }
    yield "bnsuite_run_info", 1, versions


def _findings(subject: Subject) -> Part:
    for gate in subject.gates:
        for verdict, count in subject.counts(gate).items():
            yield "bnsuite_findings", count, {"gate": gate, "verdict": verdict.value}


def _cases(subject: Subject) -> Part:
    for one in numbers.measured(subject):
        values = {
            "bnsuite_case_step_seconds": one.step_s,
            "bnsuite_case_peak_bytes": one.peak_bytes,
            "bnsuite_case_copy_bandwidth_ratio": one.copy_share,
        }
        for name, value in values.items():
            if value is not None:
                yield name, value, {"case": one.case}


def _verdicts(subject: Subject) -> Part:
    for finding in subject.findings:
        labels = {"case": finding.case, "gate": finding.gate}
        for name, value in numbers.of_finding(finding).items():
            yield _CHANGES[name], value, labels
        counted = finding.gate in GATES and GATES[finding.gate].counted
        if not (counted and finding.verdict is Verdict.PASS):
            yield "bnsuite_case_verdict", 1, {**labels, "verdict": finding.verdict.value}


def _gpu(subject: Subject) -> Part:
    launches = [one.gpu for result in subject.run.cases for one in result.timings if one.gpu is not None]
    extremes = {
        "bnsuite_gpu_sm_clock_min_hertz": partial(_extreme, launches, "sm_clock_mhz_min", largest=False, scale=10**6),
        "bnsuite_gpu_sm_clock_max_hertz": partial(_extreme, launches, "sm_clock_mhz_max", largest=True, scale=10**6),
        "bnsuite_gpu_temperature_max_celsius": partial(_extreme, launches, "temperature_c_max", largest=True),
        "bnsuite_gpu_power_max_watts": partial(_extreme, launches, "power_w_max", largest=True),
    }
    for name, extreme in extremes.items():
        if (value := extreme()) is not None:
            yield name, value, {}


def _extreme(launches: list[GpuWatch], field: str, *, largest: bool, scale: int = 1) -> float | None:
    known = [scale * value for one in launches if (value := getattr(one, field)) is not None]
    return (max if largest else min)(known) if known else None
