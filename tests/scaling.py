"""Writes docs/results/distributed.md: ``python tests/scaling.py RUN [RUN ...]``, runs of the family ``distributed``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bnsuite.record import store
from bnsuite.record.schema import Run
from bnsuite.report import section, units
from bnsuite.report.scaling import section as scaling

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "distributed.md"

HEAD = """# Steps of several ranks

This page is made by `make scaling` from measured runs. [Several GPUs](../how-to/several-gpus.md) says how a step of
several ranks is timed.
"""


def about(run: Run) -> str:
    """Returns what the run was measured with, as a list."""
    info = run.environment
    device = info.gpu.name if info.gpu else f"{info.cpu}, {info.cores_given} cores"
    return "\n".join(
        [
            f"- {run.started}, bnsuite {run.bnsuite} ({run.revision}), {units.duration(run.wall_s)}",
            f"- {device}; {units.count(info.threads, 'thread')} per rank; {info.system}, {info.libc}",
            f"- torch {info.packages.get('torch')}, {'NCCL' if info.gpu else 'gloo'}; Python {info.python}",
            f"- {run.options.launches} launches of each case"
            + (", ranks shared cores" if run.options.oversubscribe else ", every rank on a core of its own"),
        ]
    )


def page(runs: Sequence[Run]) -> str:
    """Returns the page of these runs; ValueError for a run without steps of several ranks."""
    parts = [HEAD]
    for run in runs:
        made = scaling(run)
        if made is None:
            raise ValueError(f"the run of {run.started} has no steps of several ranks")
        parts += [section.markdown(made), about(run) + "\n"]
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page([store.load(Path(one)) for one in sys.argv[1:]]), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
