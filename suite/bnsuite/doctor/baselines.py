"""Checks of the accepted times: whether there are any for this machine, and whether they are still of use."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from bnsuite.doctor.gpu import has_gpu
from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, disturbs, judged, not_applicable
from bnsuite.record.baselines import TimingFile
from bnsuite.record.errors import InputError
from bnsuite.record.files import read_text
from bnsuite.record.key import MachineKey
from bnsuite.record.store import parse

#: Machines drift: their firmware, kernel and neighbours change. Older times say little of today.
MAX_AGE_DAYS = 90


@dataclass(frozen=True)
class BaselineFacts:
    """The folder of baselines, whether it is there, the timing files of this machine, and how many others there are."""

    folder: Path
    exists: bool
    mine: tuple[TimingFile, ...]
    others: int
    unreadable: tuple[str, ...]
    torch: str | None
    now: datetime


def processor(host: Host) -> str | None:
    """Returns the CPU's name as a measured process records it (``measure/environment.py``)."""
    text = host.text("proc/cpuinfo")
    if text is None:
        return None
    first = text.split("\n\n", 1)[0].splitlines()
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
    numbers = [known[key] for key in ("cpu family", "model", "stepping") if key in known]
    name = known.get("model name") or known.get("CPU part")
    if name is None:
        return None
    return f"{name} ({'/'.join(numbers)})" if numbers else name


def probe(host: Host, request: DoctorRequest) -> BaselineFacts:
    """Reads the timing baselines and compares their machines with this one."""
    package = host.torch()
    mine, others, unreadable = [], 0, []
    on_gpu = has_gpu(host, request)
    gpu_name = _gpu_name(host, request) if on_gpu else None
    cpu = processor(host)
    for path in sorted((request.baselines / "timing").glob("*.json")):
        try:
            file = parse(TimingFile, read_text(path, "timing baseline"), path)
        except InputError as error:
            unreadable.append(str(error))
            continue
        own = _is_mine(file.machine, request, len(host.cores), cpu, gpu_name)
        others += not own
        mine += [file] if own else []
    return BaselineFacts(
        folder=request.baselines,
        exists=request.baselines.is_dir(),
        mine=tuple(mine),
        others=others,
        unreadable=tuple(unreadable),
        torch=package.version if package else None,
        now=host.now(),
    )


def _gpu_name(host: Host, request: DoctorRequest) -> str | None:
    """Returns the name of the GPU that would be measured; None if none answers."""
    with contextlib.suppress(Exception):  # the checks of the GPU report it
        answer = host.gpu(int(request.device.partition(":")[2] or 0))
        return answer.gpu.name if answer.gpu else None
    return None


def _is_mine(machine: MachineKey, request: DoctorRequest, cores: int, cpu: str | None, gpu: str | None) -> bool:
    """Returns True if times are of a machine like this one, as far as can be told without torch."""
    if machine.cores_given != cores or machine.threads != request.threads or machine.cpu != cpu:
        return False
    return machine.gpu == gpu if gpu is not None else machine.device == "cpu"


def timing(facts: BaselineFacts) -> Result:
    """Times can be judged only beside accepted ones of the same kind of machine."""
    if facts.unreadable:
        return disturbs("restore-baseline", error=facts.unreadable[0])
    if not facts.mine:
        return disturbs("accept", folder=str(facts.folder), exists=facts.exists, others=facts.others)
    return judged("accept", disturbed=False, folder=str(facts.folder), others=facts.others)


def torch(facts: BaselineFacts) -> Result:
    """Times accepted with another release of torch compare two releases."""
    if not facts.mine:
        return not_applicable("no-baseline")
    accepted = sorted({_release(file.origin.packages.get("torch", "unknown")) for file in facts.mine})
    now = _release(facts.torch or "none")
    return judged("accept-again", disturbed=accepted != [now], accepted=[*accepted], now=now)


def _release(version: str) -> str:
    """Returns a version without the build that follows a plus sign."""
    return re.split(r"\+", version, maxsplit=1)[0]


def age(facts: BaselineFacts) -> Result:
    """Old times may be of another state of the machine."""
    if not facts.mine:
        return not_applicable("no-baseline")
    oldest = min(datetime.fromisoformat(file.origin.started) for file in facts.mine)
    if oldest.tzinfo is None:
        oldest = oldest.replace(tzinfo=timezone.utc)
    days = (facts.now - oldest).days
    return judged("accept-again", disturbed=days > MAX_AGE_DAYS, days=days, limit_days=MAX_AGE_DAYS)


SUBJECT = Subject("baselines", probe, {"baseline": timing, "baseline-torch": torch, "baseline-age": age})
