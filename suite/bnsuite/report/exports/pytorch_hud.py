"""``pytorch-hud.json``: records of the benchmark database behind PyTorch's HUD, schema v3.

Fields and types are those of the table ``oss_ci_benchmark_v3`` in pytorch/test-infra: what is extra is text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import text
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

Record = dict[str, Any]


def render(report: Report) -> str:
    """Returns one record per case and metric; values of a time are those of its launches, in seconds."""
    return json.dumps(list(_records(Subject.of(report))), indent=1, ensure_ascii=False) + "\n"


def _records(subject: Subject) -> Iterator[Record]:
    common = {"runners": [_runner(subject.run)], "dependencies": _dependencies(subject.run)}
    found = {(one.case, one.gate): one for one in subject.findings}
    for one in numbers.measured(subject):
        about = {"benchmark": _benchmark(subject, one.result), "model": _model(one.result)}
        metrics: dict[str, tuple[str, list[float]]] = {"step_time_s": ("timing", list(one.launches_s))}
        if one.peak_bytes is not None:
            metrics["peak_memory_bytes"] = ("memory", [one.peak_bytes])
        for name, (gate, values) in metrics.items():
            if values:
                finding = found.get((one.case, gate))
                told = {"verdict": finding.verdict.value} if finding is not None else {}
                changed = numbers.of_finding(finding) if finding is not None else {}
                extra = {**told, **{key: repr(value) for key, value in changed.items()}}
                yield {**about, **common, "metric": {"name": name, "benchmark_values": values, "extra_info": extra}}


def _benchmark(subject: Subject, result: CaseResult) -> Record:
    run = subject.run
    evaluates = "eval" in result.case.labels.get("phase", "")
    return {
        "name": "bnsuite",
        "mode": "inference" if evaluates else "training",
        "dtype": _plain(result.case.labels.get("dtype", "")),
        "extra_info": {
            "bnsuite": _plain(run.bnsuite),
            "kind": subject.kind,
            "profile": _plain(run.options.profile),
            "device": run.device,
            "threads": str(run.environment.threads),
            "reference": _plain(subject.judgement.reference),
        },
    }


def _model(result: CaseResult) -> Record:
    labels = result.case.labels
    return {
        "name": _plain(result.id),
        "type": result.case.kind,
        "backend": _plain(labels.get("execution", "")),
        "origins": ["bnsuite"],
        "extra_info": {_plain(name): _plain(value) for name, value in labels.items()},
    }


def _runner(run: Run) -> Record:
    environment, gpu = run.environment, run.environment.gpu
    on_gpu = (
        {
            "gpu_info": _plain(gpu.name),
            "gpu_count": gpu.count,
            "avail_gpu_mem_in_gb": gpu.memory_total_bytes >> 30,
            "extra_info": {"driver": _plain(gpu.driver or ""), "cuda": _plain(environment.cuda or "")},
        }
        if gpu
        else {}
    )
    return {
        "name": "",
        "type": run.device.partition(":")[0],
        "cpu_info": _plain(environment.cpu),
        "cpu_count": environment.cores_given,
        **on_gpu,
    }


def _dependencies(run: Run) -> Record:
    environment = run.environment
    torch = {"repo": "pytorch/pytorch", "branch": "", "sha": _plain(environment.torch_git or "")}
    return {"pytorch": {**torch, "version": _plain(environment.packages.get("torch", "")), "extra_info": {}}}


def _plain(value: str) -> str:
    return text.clipped(text.one_line(value), text.MAX_CELL)
