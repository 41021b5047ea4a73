"""``make characteristic``: how often the convergence gate rings without cause, and finds a slower training.

Real trainings, many seeds each, three ways: as the baseline has them; in an environment that rounds otherwise
(torch's kernels without vector instructions: what another CPU or another torch does); and, on that one, with a
learning rate that makes learning slower. Nights are drawn from these pools: ten of the seeds at random, run against
baseline, judged by the gate as a run is. The slowdown is what the pools show, not what was intended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from statistics import fmean

from tabulate import tabulate

from bnsuite.judge import convergence
from bnsuite.judge.verdict import Verdict
from bnsuite.record.reference import CurveReference
from bnsuite.record.schema import Curve
from conftest import make_run, result

#: Workloads that learn over many epochs, so that a part of an epoch counts; and by what the learning rate is divided.
CASES = {
    "train/synthetic-mlp/bn/lr=0.01": 1.22,
    "train/mnist-mlp/bn/data=digits": 1.055,
    "train/mnist-mlp-sgd/bn/data=digits": 1.22,
    "train/cnn/none/data=digits": 1.14,
    "train/cnn/bn/data=digits": 1.35,
    "train/bad-init-regression/bn/act=tanh": 1.03,
}
SEEDS, NIGHTS, CHOSEN = 40, 200, 10


def pool(name: str, divisor: float, seeds: range) -> list[dict[str, object]]:
    """Curves of `name`, in this process: what the worker does."""
    import torch

    from bnsuite.cases import TrainCase, catalogue
    from bnsuite.measure import devices
    from bnsuite.measure.training_recorder import record

    torch.set_num_threads(1)
    case = catalogue.case(name)
    assert isinstance(case, TrainCase)
    case = replace(case, optimizer=replace(case.optimizer, lr=case.optimizer.lr / divisor), probed=False)
    return [asdict(record(case, devices.get("cpu"), seed)[0]) for seed in seeds]


def elsewhere(name: str, divisor: float, *, vectors: bool) -> list[Curve]:
    """The same in a process of its own, with torch's vector instructions or without."""
    environment = {**os.environ, **({} if vectors else {"ATEN_CPU_CAPABILITY": "default"})}
    done = subprocess.run(
        [sys.executable, __file__, "--pool", name, "--divisor", str(divisor)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Curve.model_validate_json(json.dumps(one)) for one in json.loads(done.stdout)]


def nights(name: str, target: float, new: list[Curve], old: list[Curve]) -> Counter[Verdict]:
    """Verdicts over nights drawn from two pools, paired by seed."""
    chance = random.Random(0)
    found: Counter[Verdict] = Counter()
    for _ in range(NIGHTS):
        seeds = chance.sample(range(SEEDS), CHOSEN)
        run = result(name, curves=tuple(new[seed] for seed in seeds))
        run = run.model_copy(update={"case": run.case.model_copy(update={"target": target})})
        stored = CurveReference(
            id=name,
            version=1,
            profiles=("full",),
            device="cpu",
            workload="w",
            curves=tuple(old[seed] for seed in seeds),
        )
        (finding,) = convergence.judge(
            make_run(run), convergence.Reference(name="baselines/", convergence={name: stored})
        )
        found[finding.verdict] += 1
    return found


def slowdown(target: float, new: list[Curve], old: list[Curve]) -> float:
    """How much later the target is met, on the seeds that meet it in both."""
    pairs = [
        (a, b)
        for one, other in zip(new, old, strict=True)
        if (a := convergence.epochs_to_target(one, target)) and (b := convergence.epochs_to_target(other, target))
    ]
    return fmean(a for a, _ in pairs) / fmean(b for _, b in pairs) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", help=argparse.SUPPRESS)
    parser.add_argument("--divisor", type=float, default=1.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pool:
        print(json.dumps(pool(options.pool, options.divisor, range(SEEDS))))
        return
    from bnsuite.cases import TrainCase, catalogue

    rows = []
    with ThreadPoolExecutor(2) as aside:
        started = {
            name: (
                aside.submit(elsewhere, name, 1.0, vectors=True),
                aside.submit(elsewhere, name, 1.0, vectors=False),
                aside.submit(elsewhere, name, divisor, vectors=False),
            )
            for name, divisor in CASES.items()
        }
        for name, futures in started.items():
            case = catalogue.case(name)
            assert isinstance(case, TrainCase)
            target = case.target or 0.0
            old, null, slower = (one.result() for one in futures)
            equal = sum(a == b for a, b in zip(null, old, strict=True))
            quiet, found = nights(name, target, null, old), nights(name, target, slower, old)
            rows.append(
                (
                    name,
                    f"{equal} of {SEEDS}",
                    f"{quiet[Verdict.REGRESSED] + quiet[Verdict.IMPROVED]} of {NIGHTS}",
                    f"{quiet[Verdict.PASS]} / {quiet[Verdict.INCONCLUSIVE]}",
                    f"{slowdown(target, slower, old):+.1%}",
                    f"{found[Verdict.REGRESSED]} of {NIGHTS}",
                    f"{found[Verdict.PASS]}",
                )
            )
    headers = (
        *("training", "curves equal", "false alarms", "PASS / INCONCLUSIVE"),
        *("injected: target met later by", "found", "passed"),
    )
    print(f"{CHOSEN} of {SEEDS} seeds a night, {NIGHTS} nights each")
    print(tabulate(rows, headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
