"""The folder of results: a summary that is replaced after each step, and an archive of all of it."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpu_check.step import FOUND, OK, SKIPPED, Outcome, Request

#: The version of ``summary.json``.
SCHEMA = 1


class Results:
    """The folder of one check."""

    def __init__(self, request: Request, outcomes: Sequence[Outcome]) -> None:
        self.request, self.outcomes = request, outcomes
        self.folder = request.folder
        self._began = datetime.now(timezone.utc)
        self.ended_by: str | None = None

    def write(self) -> None:
        """Replaces the summaries: a reader finds the last ones whole, whenever this process is killed."""
        seconds = (datetime.now(timezone.utc) - self._began).total_seconds()
        summary = {
            "schema": SCHEMA,
            "device": self.request.device,
            "began": self._began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "limit_s": self.request.seconds,
            "ended_by": self.ended_by,
            "steps": [one.as_json() for one in self.outcomes],
        }
        replace(self.folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        replace(self.folder / "summary.md", self._markdown(seconds))

    def _markdown(self, seconds: float) -> str:
        facts = _read(self.folder / "environment.json")
        lines = [f"# GPU check on {self.request.device}", ""]
        lines += [f"Began {self._began:%Y-%m-%d %H:%M} UTC, {seconds:.0f} of {self.request.seconds:g} s."]
        if not self.request.on_gpu:
            lines += ["", "**A rehearsal on a CPU: it says nothing about a GPU.**"]
        if self.ended_by:
            lines += ["", f"Ended early: {self.ended_by}."]
        if facts:
            lines += ["", *(f"- {name}: {_cell(str(value))}" for name, value in headline(facts))]
        lines += ["", "| step | state | seconds | result |", "| --- | --- | ---: | --- |"]
        for one in self.outcomes:
            taken = "" if one.seconds is None else f"{one.seconds:.0f}"
            told = " · ".join(filter(None, [one.reason, one.last_line]))
            lines.append(f"| {one.title} | {one.state} | {taken} | {_cell(told)} |")
        reports = [path for path in sorted(self.folder.glob("*/report.html")) if path.is_file()]
        if reports:
            lines += ["", "Reports:", ""]
            lines += [f"- [{path.parent.name}]({path.relative_to(self.folder)})" for path in reports]
        return "\n".join(lines) + "\n"

    def pack(self) -> Path:
        """Writes all that is there into one archive beside the folder; returns it."""
        archive = self.folder.with_name(f"{self.folder.name}.tar.gz")
        part = archive.with_name(f".{archive.name}.part")
        with tarfile.open(part, "w:gz", compresslevel=3) as tar:
            tar.add(self.folder, self.folder.name)
        os.replace(part, archive)  # noqa: PTH105  # by rename: a half archive is never seen
        return archive

    @property
    def status(self) -> int:
        """0 if every step went well or had nothing to do, 1 if one found something, 3 if one was not done."""
        states = {one.state for one in self.outcomes}
        if states <= {OK, SKIPPED}:
            return 0
        return 1 if states <= {OK, SKIPPED, FOUND} else 3


def replace(file: Path, text: str) -> None:
    """Replaces a file at once."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)  # noqa: PTH105  # the same as in pack()


def headline(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns the facts of an environment that a reader looks for first."""
    gpu = facts.get("gpu") or {}
    nvml = gpu.get("nvml") or {}
    packages = facts.get("packages") or {}
    found = [
        ("GPU", gpu.get("name")),
        ("UUID", nvml.get("uuid")),
        ("driver", gpu.get("driver")),
        ("driver's CUDA", nvml.get("cuda")),
        ("torch", packages.get("torch")),
        ("torch's CUDA", facts.get("cuda")),
        ("cuDNN", facts.get("cudnn")),
        ("Python", facts.get("python")),
        ("CPU", facts.get("cpu")),
    ]
    return [(name, value) for name, value in found if value is not None]


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")[:300]
