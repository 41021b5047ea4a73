"""Writes docs/defects.md: each known defect and the cases that would catch it, or why none does (`make defects`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bnsuite.cases import Case, all_cases
from bnsuite.cases.defects import DEFECTS, Defect

PAGE = Path(__file__).resolve().parents[1] / "docs" / "defects.md"

#: Defects that trainings would show, by the part of the ids of those: the convergence gate catches them.
TRAININGS = {
    "T01": ("train/resnet18/", "train/cnn/"),
    "T02": ("train/resnet18/", "train/cnn/"),
    "T04": ("train/mnist-mlp-sgd/", "train/cnn/"),
    "T05": ("train/mnist-mlp-sgd/", "train/cnn/"),
    "N82": ("train/synthetic-mlp/bn/", "train/cnn/bn/"),
    "N11": ("train/cnn/bn/",),
}

#: Why no case would catch a defect.
WHY_NOT = {
    "N75": "no fault of the layer: another version of a library rounds otherwise. Versions are recorded with every "
    "run, and a check that drifts to three times its accepted error is reported",
    "P22": "kernels are not counted; on a GPU the time of a tiny layer is held against that GPU's baseline",
    "P23": "TorchScript's fuser is not timed; frozen layers are checked for what they compute and keep",
    "A36": "SyncBatchNorm is not compiled: it trains on GPUs only",
}


def catching(defect: Defect) -> list[Case]:
    """Returns the cases that claim to catch it."""
    parts = TRAININGS.get(defect.id, ())
    return [
        case
        for case in all_cases()
        if defect.id in getattr(case, "rows", ()) or any(case.id.startswith(part) for part in parts)
    ]


def _groups(cases: list[Case]) -> str:
    """Returns text such as `numerics/strides` (24), `ratio/layouts` (4)."""
    counts = Counter("/".join(case.id.split("/")[:2]) for case in cases)
    return ", ".join(f"`{name}` ({count})" for name, count in counts.items())


def _devices(cases: list[Case]) -> str:
    return "GPU" if all(case.gpu_only for case in cases) else "CPU, GPU"


def _row(defect: Defect) -> str:
    cases = catching(defect)
    repository, _, number = defect.thread.partition("#")
    thread = f"[{defect.thread}](https://github.com/{repository}/issues/{number})"
    title = defect.title.replace("|", "\\|")
    if cases:
        caught = f"{_groups(cases)}, such as `{cases[0].id}` | {_devices(cases)}"
    else:
        caught = f"*no case:* {WHY_NOT[defect.id]} | –"
    return f"| {defect.id} | {thread} | {title} | {defect.device} | {caught} |"


def page() -> str:
    """Returns the text of the page."""
    caught = [one for one in DEFECTS if catching(one)]
    on_cpu = [one for one in caught if not all(case.gpu_only for case in catching(one))]
    checks = Counter(
        "/".join(case.id.split("/")[:2]) for case in all_cases() if case.family in {"numerics", "behaviour"}
    )
    families = "\n".join(f"| `{name}` | {count} |" for name, count in checks.items())
    rows = "\n".join(map(_row, DEFECTS))
    return f"""# Known defects, and the cases that would catch them

{len(DEFECTS)} defects of batch norm and other normalization layers, reported in public trackers.
{len(caught)} of them have a case that would show the symptom on a device that has the defect
({len(on_cpu)} by cases that run on a CPU as well, \
{len(caught) - len(on_cpu)} on a GPU only); {len(DEFECTS) - len(caught)} have none, for the reason given.
A case is claimed where its author says that it would show the symptom; 131 injected faults (`make faults`) test the
families themselves, and 200 of layer, group, instance and RMS norm (`tests/norm_faults.py`).
They are made over shapes, layouts, precisions and modes, to catch what is not on the list as well.
Made by `make defects` from `suite/bnsuite/cases/defects.csv` and the catalogue.

| family | cases |
| --- | --- |
{families}

| id | thread | title | seen on | cases (how many) | run on |
| --- | --- | --- | --- | --- | --- |
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
