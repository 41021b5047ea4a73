"""The counters of a GPU that only grow: what held its clocks, energy, memory errors. One call reads all of them.

Two counters are compared, one from before a measurement and one from after it: what grew belongs to the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnsuite.measure.nvml.binding import NvmlError, Queries, described, is_unavailable, library

#: Counters of the time that a reason held the clocks down, in nanoseconds: the field, and the policy by which drivers
#: from before the fields are asked. "thermal" is any kind of heat.
HELD = {
    "sw_power_cap": ("NVML_FI_DEV_PERF_POLICY_POWER", "NVML_PERF_POLICY_POWER"),
    "thermal": ("NVML_FI_DEV_PERF_POLICY_THERMAL", "NVML_PERF_POLICY_THERMAL"),
    "sync_boost": ("NVML_FI_DEV_PERF_POLICY_SYNC_BOOST", "NVML_PERF_POLICY_SYNC_BOOST"),
    "board_limit": ("NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT", "NVML_PERF_POLICY_BOARD_LIMIT"),
    "reliability": ("NVML_FI_DEV_PERF_POLICY_RELIABILITY", "NVML_PERF_POLICY_RELIABILITY"),
}
#: Those of newer drivers. NVIDIA gave these fields other numbers from one release to the next (251 to 253 in bindings
#: of driver 570, 269 to 271 in later ones), and what had the numbers meanwhile are settings of 32 bits: only 64 bits
#: are a counter of nanoseconds.
HELD_LATELY = {
    "sw_thermal_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "hw_thermal_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "hw_power_brake_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
}
#: Other counters and states, by the name of their attribute in :class:`Counters`.
COUNTED = {
    "ecc_corrected": "NVML_FI_DEV_ECC_SBE_VOL_TOTAL",
    "ecc_uncorrected": "NVML_FI_DEV_ECC_DBE_VOL_TOTAL",
    "pages_corrected": "NVML_FI_DEV_RETIRED_SBE",
    "pages_uncorrected": "NVML_FI_DEV_RETIRED_DBE",
    "pages_pending": "NVML_FI_DEV_RETIRED_PENDING",
    "rows_corrected": "NVML_FI_DEV_REMAPPED_COR",
    "rows_uncorrected": "NVML_FI_DEV_REMAPPED_UNC",
    "remap_pending": "NVML_FI_DEV_REMAPPED_PENDING",
    "remap_failed": "NVML_FI_DEV_REMAPPED_FAILURE",
    "energy_mj": "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "power_mw": "NVML_FI_DEV_POWER_INSTANT",
}

#: The member of NVML's union that holds a value, by the type of the value.
_MEMBERS = {
    "NVML_VALUE_TYPE_DOUBLE": "dVal",
    "NVML_VALUE_TYPE_UNSIGNED_INT": "uiVal",
    "NVML_VALUE_TYPE_UNSIGNED_LONG": "ulVal",
    "NVML_VALUE_TYPE_UNSIGNED_LONG_LONG": "ullVal",
    "NVML_VALUE_TYPE_SIGNED_LONG_LONG": "sllVal",
    "NVML_VALUE_TYPE_SIGNED_INT": "siVal",
    "NVML_VALUE_TYPE_UNSIGNED_SHORT": "usVal",
}
#: The types of 64 bits.
_LONG = ("NVML_VALUE_TYPE_UNSIGNED_LONG", "NVML_VALUE_TYPE_UNSIGNED_LONG_LONG")


@dataclass(frozen=True)
class Counters:
    """The counters at one moment; None where the driver does not count. `held_ns` is by reason, of those it counts."""

    held_ns: Mapping[str, int] = field(default_factory=dict)
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    pages_corrected: int | None = None
    pages_uncorrected: int | None = None
    pages_pending: int | None = None
    rows_corrected: int | None = None
    rows_uncorrected: int | None = None
    remap_pending: int | None = None
    remap_failed: int | None = None
    energy_mj: int | None = None
    power_mw: int | None = None


def read(board: Any, queries: Queries) -> Counters:
    """The counters of a whole GPU now, by one call where the driver has it. Never raises."""
    try:
        binding = library()
    except NvmlError as error:
        queries.complain(str(error))
        return Counters()
    wanted = {name: constant for name, (constant, _) in HELD.items()} | HELD_LATELY | COUNTED
    known = {name: getattr(binding, constant) for name, constant in wanted.items() if hasattr(binding, constant)}
    answers = queries.ask("nvmlDeviceGetFieldValues", board, list(known.values())) or ()
    found = {
        name: value
        for name, answer in zip(known, answers, strict=False)
        if (value := _value(binding, answer, queries, long=name in HELD_LATELY)) is not None
    }
    held = {name: found.pop(name) for name in (*HELD, *HELD_LATELY) if name in found}
    if not set(held) & set(HELD) and queries.trouble is None:
        held |= _by_policy(binding, board, queries)
    return Counters(held_ns=held, **found)


def power_mw(board: Any, queries: Queries) -> int | None:
    """The power of this instant in milliwatts, without any other counter."""
    binding = library()
    number = getattr(binding, COUNTED["power_mw"], None)
    answers = queries.ask("nvmlDeviceGetFieldValues", board, [number]) if number is not None else None
    return _value(binding, answers[0], queries, long=False) if answers else None


def _value(binding: Any, answer: Any, queries: Queries, *, long: bool) -> int | None:
    """The value of one field, None where there is none; with `long` only if it has 64 bits."""
    if answer.nvmlReturn != binding.NVML_SUCCESS:
        if not is_unavailable(answer.nvmlReturn):
            queries.complain(described(binding, binding.NVMLError(answer.nvmlReturn)))
        return None
    names = {getattr(binding, name): name for name in _MEMBERS if hasattr(binding, name)}
    kind = names.get(answer.valueType)
    if kind is None or (long and kind not in _LONG):
        return None
    return int(getattr(answer.value, _MEMBERS[kind]))


def _by_policy(binding: Any, board: Any, queries: Queries) -> dict[str, int]:
    """The time that each policy held the clocks, as drivers without the fields tell it."""
    found = {}
    for name, (_, policy) in HELD.items():
        if hasattr(binding, policy):
            answer = queries.ask("nvmlDeviceGetViolationStatus", board, getattr(binding, policy))
            if answer is not None:
                found[name] = int(answer.violationTime)
    return found


def grown(before: int | None, after: int | None) -> int | None:
    """The growth of a counter, or None where it can't be read or began again (the driver was reloaded)."""
    return None if before is None or after is None or after < before else after - before


def held_s(before: Counters, after: Counters) -> dict[str, float] | None:
    """Seconds that each counted reason held the clocks between the two; None where none is counted."""
    growth = {
        name: nanoseconds
        for name in before.held_ns
        if (nanoseconds := grown(before.held_ns[name], after.held_ns.get(name))) is not None
    }
    return {name: nanoseconds / 1e9 for name, nanoseconds in growth.items()} or None
