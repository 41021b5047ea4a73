"""Other processes on a GPU: which there are, which of them work, and why they may not be seen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bnsuite.measure.nvml.binding import Queries
from bnsuite.measure.nvml.handle import Handle
from bnsuite.measure.nvml.state import Process, busy_percent, health, is_vgpu

#: A process that uses less of the GPU's time, in per cent, is idle: a window system at rest, a notebook that waits.
MIN_WORK_PERCENT = 5
#: A process that holds this much more than before works.
GROWN_BYTES = 1 << 20

#: Processes that use the GPU through MPS.
MPS_LISTS = tuple(f"nvmlDeviceGetMPSComputeRunningProcesses{version}" for version in ("_v3", "_v2"))


@dataclass(frozen=True)
class Before:
    """A GPU before this process touched it; None where the driver can't say."""

    ids: frozenset[int] | None
    busy_percent: int | None
    used_bytes: int | None
    #: Watts of the whole board without work; None if it was at work.
    idle_w: float | None


def look_before(gpu: Handle) -> Before:
    """The GPU now, which this process has not touched yet."""
    now, busy = health(gpu), busy_percent(gpu)
    idle = busy == 0 or (busy is None and "gpu_idle" in (now.reasons or ()))
    return Before(
        ids=None if now.processes is None else frozenset(process.id for process in now.processes),
        busy_percent=busy,
        used_bytes=now.used_bytes,
        idle_w=now.power_w if idle else None,
    )


@dataclass(frozen=True)
class Company:
    """The processes on a GPU during a measurement, as far as they are seen.

    `foreign` counts all that are not this one, `active` those of them that worked, `active_ids` names these; `own_id`
    is this process's, which in a container may be the host's. `blind` names why others may be there unseen.
    """

    foreign: int | None
    active: int | None
    active_ids: tuple[int, ...]
    own_id: int | None
    own_bytes: int | None
    blind: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """The processes seen over a measurement: the most that each held, those of the first look and of the last."""

    held: Mapping[int, int | None]
    first: tuple[Process, ...]
    last: frozenset[int]
    computing: frozenset[int]
    #: Whether the driver listed processes at all.
    listed: bool


def company(seen: Seen, before: Before | None, own_id: int | None, used: Mapping[int, int] | None) -> Company:
    """The company of this process, by what was seen, and by the share of time that each process `used` (per cent).

    Where that share can't be had, every process that computes counts as one that works: it can't be told from one.
    """
    if not seen.held:
        return Company(None, None, (), own_id, None, ("own-hidden" if seen.listed else "no-list",))
    came = seen.last - before.ids if before is not None and before.ids is not None else frozenset[int]()
    if os.getpid() in seen.held:
        own_id = os.getpid()
    elif own_id is None and len(came) == 1:
        (own_id,) = came
    there = {process.id: process.used_bytes or 0 for process in seen.first}
    active = {
        one
        for one, held in seen.held.items()
        if one != own_id
        and (
            one not in there
            or (held or 0) - there[one] > GROWN_BYTES
            or (one in seen.computing if used is None else used.get(one, 0) >= MIN_WORK_PERCENT)
        )
    }
    if own_id is not None and own_id in seen.held:
        others = len(seen.held) - 1
        return Company(others, len(active), tuple(sorted(active)), own_id, seen.held[own_id], ())
    # Of several that came at once one is this one, whichever; if none came, NVML doesn't show it.
    one_is_ours = own_id is None and bool(came)
    return Company(
        foreign=len(seen.held) - one_is_ours,
        active=len(active) - (one_is_ours and bool(active & came)),
        active_ids=() if one_is_ours else tuple(sorted(active)),
        own_id=None,
        own_bytes=None,
        blind=() if one_is_ours else ("own-hidden",),
    )


def blind_spots(gpu: Handle) -> tuple[str, ...]:
    """Why work of others on the same board can't be seen, whatever the list of processes says."""
    ask = Queries().ask
    spots = ["mig"] if gpu.is_slice else []
    if is_vgpu(gpu.board, ask):
        spots.append("vgpu")
    if next((found for name in MPS_LISTS if (found := ask(name, gpu.own)) is not None), None):
        spots.append("mps")
    return tuple(spots)
