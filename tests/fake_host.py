"""A host made of files in a folder, for the checks of ``bnsuite doctor``; only what a test names is on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bnsuite.doctor.examine import examine
from bnsuite.doctor.host import DoctorRequest, Host, Room, TorchPackage
from bnsuite.doctor.result import Subject
from bnsuite.launch.environments.engine import EngineError, EngineFacts
from bnsuite.launch.process.messages import GpuAnswer, KernelAnswer
from bnsuite.record.host import CheckState, HostCheck
from bnsuite.report import doctor
from bnsuite.report.doctor_fixes import FIXES

NOW = datetime(2026, 11, 28, tzinfo=timezone.utc)
MANY = Room(free_bytes=1 << 40, inodes=1 << 30, writable=True)


def put(root: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def no_engine() -> EngineFacts:
    """An engine that does not answer."""
    raise EngineError("no Docker engine answers; start it")


def no_gpu(index: int) -> GpuAnswer:
    """A driver that is not there."""
    return GpuAnswer(driver=None, cuda=None, count=None, gpu=None, trouble="NVML: NVML Shared Library Not Found")


def no_kernel(device: str) -> KernelAnswer:
    """A kernel that can't be run."""
    return KernelAnswer(device=None, right=None, first_s=None, again_s=None, error="no GPU", fix=None)


def fake_host(root: Path, files: Mapping[str, str] | None = None, later: Mapping[str, str] | None = None) -> Host:
    """Returns a host with two cores and these files; those in `later` come while a counter is watched."""
    put(root, files or {})
    return Host(
        root=root,
        cores=(0, 1),
        environ={},
        window_s=0.0,
        wait=lambda _: put(root, later or {}),
        now=lambda: NOW,
        room=lambda _: MANY,
        engine=no_engine,
        gpu=no_gpu,
        kernel=no_kernel,
        torch=lambda: TorchPackage("2.14.1", "13.0"),
        which=lambda _: None,
    )


def look(
    subject: Subject[Any], host: Host, request: DoctorRequest | None = None, **host_changes: Any
) -> dict[str, HostCheck]:
    """Returns the checks of one subject by name; each of them has words, and its fix too."""
    checks = examine(replace(host, **host_changes), request or DoctorRequest(), [subject], limit_s=60.0)
    for check in checks:
        assert not doctor.observed(check).startswith("{"), check
        assert (check.fix is not None) == (check.state is CheckState.DISTURBS), check
        assert check.fix is None or check.fix in FIXES
        assert "\n" not in doctor.line(check)
    return {check.name: check for check in checks}


def shown(check: HostCheck) -> str:
    """Returns a check's state and what it observed, such as "disturbs: load 3.0 on 2 cores"."""
    return f"{check.state.value}: {doctor.observed(check)}"
