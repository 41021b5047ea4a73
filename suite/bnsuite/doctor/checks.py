"""The registry of subjects; a new one is a module beside this and a line here."""

from __future__ import annotations

from typing import Any

from bnsuite.doctor import baselines, cgroup, cpu, data, disk, engine, gpu, kernel, memory
from bnsuite.doctor.result import Subject

#: Subjects that are looked at before every measurement too.
FAST: tuple[Subject[Any], ...] = (cpu.SUBJECT, cgroup.SUBJECT, memory.SUBJECT, disk.SUBJECT)

#: All subjects, in the order in which they are shown.
SUBJECTS: tuple[Subject[Any], ...] = (
    *FAST,
    gpu.SUBJECT,
    kernel.SUBJECT,
    engine.SUBJECT,
    data.SUBJECT,
    baselines.SUBJECT,
)


def check_names() -> list[str]:
    """Returns the names of all checks."""
    return [name for subject in SUBJECTS for name in subject.checks]
