"""The driver's account of a GPU: its facts, and its state at this moment. Nothing is changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from bnsuite.measure.nvml.binding import NvmlError, Queries, call, library, text
from bnsuite.measure.nvml.handle import Handle, find

#: The bits of NVML's clock event reasons: why the clocks are not higher.
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}

PROCESS_LISTS = tuple(
    tuple(f"nvmlDeviceGet{kind}RunningProcesses_{version}" for version in ("v3", "v2"))
    for kind in ("Compute", "Graphics")
)


@dataclass(frozen=True)
class GpuFacts:
    """Facts about a GPU that do not change while it is measured; None where the driver can't say."""

    name: str | None
    uuid: str
    driver: str | None
    cuda: str | None
    mig: bool | None
    mig_slice: bool
    ecc: bool | None
    pcie_generation: int | None
    pcie_generation_max: int | None
    pcie_width: int | None
    pcie_width_max: int | None
    power_limit_w: float | None
    sm_clock_mhz_max: int | None
    memory_clock_mhz_max: int | None
    memory_total_bytes: int | None


@dataclass(frozen=True)
class Process:
    """A process on the GPU. In a container its id may be the host's."""

    id: int
    used_bytes: int | None


@dataclass(frozen=True)
class Health:
    """The state of a GPU at one moment; None where the driver can't say.

    Of a MIG slice the memory and the processes are its own, and the rest is the whole GPU's. `trouble` is the first
    error, if there was one.
    """

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    reasons: tuple[str, ...] | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    energy_j: float | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    used_bytes: int | None = None
    own_bytes: int | None = None
    processes: tuple[Process, ...] | None = None
    trouble: str | None = None


def driver_version() -> tuple[str | None, str]:
    """The driver's version, or None and the reason."""
    try:
        return text("nvmlSystemGetDriverVersion"), ""
    except NvmlError as error:
        return None, str(error)


def used_bytes(uuid: str | None, index: int = 0) -> int | None:
    """Memory in use on torch's cuda:`index`, or its MIG slice, by all processes; None where NVML can't say."""
    gpu, _ = find(uuid, index)
    if gpu is None:
        return None
    try:
        return int(call("nvmlDeviceGetMemoryInfo", gpu.own).used)
    except NvmlError:
        return None


def describe(uuid: str | None, index: int = 0) -> GpuFacts | None:
    """The facts about torch's cuda:`index`, or None where NVML can't say which GPU that is."""
    gpu, _ = find(uuid, index)
    if gpu is None:
        return None
    binding, ask = library(), Queries().ask
    cuda = ask("nvmlSystemGetCudaDriverVersion")
    mig = ask("nvmlDeviceGetMigMode", gpu.board)
    ecc = ask("nvmlDeviceGetEccMode", gpu.board)
    name = ask("nvmlDeviceGetName", gpu.own)
    memory = ask("nvmlDeviceGetMemoryInfo", gpu.own)
    return GpuFacts(
        name=name.decode() if isinstance(name, bytes) else name,
        uuid=gpu.uuid,
        driver=driver_version()[0],
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        mig=None if mig is None else bool(mig[0]),
        mig_slice=gpu.is_slice,
        ecc=None if ecc is None else bool(ecc[0]),
        pcie_generation=ask("nvmlDeviceGetCurrPcieLinkGeneration", gpu.board),
        pcie_generation_max=ask("nvmlDeviceGetMaxPcieLinkGeneration", gpu.board),
        pcie_width=ask("nvmlDeviceGetCurrPcieLinkWidth", gpu.board),
        pcie_width_max=ask("nvmlDeviceGetMaxPcieLinkWidth", gpu.board),
        power_limit_w=_thousandth(ask("nvmlDeviceGetEnforcedPowerLimit", gpu.board)),
        sm_clock_mhz_max=ask("nvmlDeviceGetMaxClockInfo", gpu.board, binding.NVML_CLOCK_SM),
        memory_clock_mhz_max=ask("nvmlDeviceGetMaxClockInfo", gpu.board, binding.NVML_CLOCK_MEM),
        memory_total_bytes=None if memory is None else int(memory.total),
    )


def health(gpu: Handle) -> Health:
    """The GPU's state now. Never raises."""
    try:
        binding = library()
    except NvmlError as error:  # a forked process whose driver has gone
        return Health(trouble=str(error))
    queries = Queries()
    ask, board = queries.ask, gpu.board
    mask = ask(("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"), board)
    memory = ask("nvmlDeviceGetMemoryInfo", gpu.own)
    found = processes(gpu, queries)
    own = next((process.used_bytes for process in found or () if process.id == os.getpid()), None)
    return Health(
        sm_clock_mhz=ask("nvmlDeviceGetClockInfo", board, binding.NVML_CLOCK_SM),
        memory_clock_mhz=ask("nvmlDeviceGetClockInfo", board, binding.NVML_CLOCK_MEM),
        reasons=None if mask is None else words(mask),
        temperature_c=ask(
            ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"), board, binding.NVML_TEMPERATURE_GPU
        ),
        power_w=_thousandth(ask("nvmlDeviceGetPowerUsage", board)),
        energy_j=_thousandth(ask("nvmlDeviceGetTotalEnergyConsumption", board)),
        ecc_corrected=_ecc(binding.NVML_MEMORY_ERROR_TYPE_CORRECTED, board, queries),
        ecc_uncorrected=_ecc(binding.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, board, queries),
        used_bytes=None if memory is None else int(memory.used),
        own_bytes=own,
        processes=found,
        trouble=queries.trouble,
    )


def words(mask: int) -> tuple[str, ...]:
    """The clock event reasons of a bit mask; a bit that this table doesn't know keeps its number."""
    bits = (1 << place for place in range(mask.bit_length()))
    return tuple(REASONS.get(bit, f"{bit:#x}") for bit in bits if mask & bit)


def _ecc(kind: int, board: Any, queries: Queries) -> int | None:
    """Errors of one kind since the driver was loaded."""
    count = queries.ask("nvmlDeviceGetTotalEccErrors", board, kind, library().NVML_VOLATILE_ECC)
    return None if count is None else int(count)


def processes(gpu: Handle, queries: Queries) -> tuple[Process, ...] | None:
    """The processes that compute or draw on the GPU, by their ids; one that does both is one."""
    lists = [queries.ask(names, gpu.own) for names in PROCESS_LISTS]
    if lists == [None, None]:
        return None
    found: dict[int, int | None] = {}
    for process in (process for one in lists for process in one or ()):
        sizes = [size for size in (found.get(process.pid), process.usedGpuMemory) if size is not None]
        found[process.pid] = max(sizes, default=None)
    return tuple(Process(number, size) for number, size in sorted(found.items()))


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3
