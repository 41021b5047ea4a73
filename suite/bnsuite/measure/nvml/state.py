"""The driver's account of a GPU: its facts, and its state at this moment. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnsuite.measure.nvml import counters
from bnsuite.measure.nvml.binding import NvmlError, Queries, call, library, text
from bnsuite.measure.nvml.counters import Counters
from bnsuite.measure.nvml.handle import Handle, find

#: The bits of NVML's clock event reasons: why the clocks are not higher. nvml.h of driver 525 has no name for the last
#: two, later ones have.
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

#: The lists of processes: first those that compute, then those that draw.
PROCESS_LISTS = tuple(
    tuple(f"nvmlDeviceGet{kind}RunningProcesses_{version}" for version in ("v3", "v2"))
    for kind in ("Compute", "Graphics")
)

#: A GPU of a virtual machine that shares the real one with others (``NVML_GPU_VIRTUALIZATION_MODE_VGPU``).
VGPU_GUEST = 2

#: Where the kernel tells of PCI devices.
PCI = Path("/sys/bus/pci/devices")


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
    #: As the kernel writes it, such as "0000:3b:00.0".
    pci_address: str | None
    #: The cores next to the GPU, on its NUMA node.
    cores: tuple[int, ...] | None
    persistence: bool | None
    compute_mode: int | None
    #: The clock that application clocks set; the driver does not tell of locked ones.
    sm_clock_mhz_set: int | None
    vgpu: bool | None


@dataclass(frozen=True)
class Process:
    """A process on the GPU. In a container its id may be the host's."""

    id: int
    used_bytes: int | None
    #: It computes; else it only draws, as a window system does.
    computes: bool = True


@dataclass(frozen=True)
class Health:
    """The state of a GPU at one moment; None where the driver can't say.

    Of a MIG slice the memory and the processes are its own, and the rest is the whole GPU's: no energy, which nobody
    counts by slice. Power is that of this instant, or `averaged` over the last second by drivers that tell no other.
    `trouble` is the first error, if there was one.
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
    averaged: bool | None = None
    counters: Counters = field(default_factory=Counters)


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
        pci_address=(address := _pci_address(gpu.board, ask)),
        cores=cores_next_to(gpu.board, address, ask),
        persistence=_yes(ask("nvmlDeviceGetPersistenceMode", gpu.board)),
        compute_mode=ask("nvmlDeviceGetComputeMode", gpu.board),
        sm_clock_mhz_set=ask("nvmlDeviceGetApplicationsClock", gpu.board, binding.NVML_CLOCK_SM),
        vgpu=is_vgpu(gpu.board, ask),
    )


def is_vgpu(board: Any, ask: Any) -> bool | None:
    """True if the GPU is a part of one that other virtual machines use as well."""
    mode = ask("nvmlDeviceGetVirtualizationMode", board)
    return None if mode is None else int(getattr(mode, "value", mode)) == VGPU_GUEST


def _pci_address(board: Any, ask: Any) -> str | None:
    """The GPU's address as the kernel writes it: four digits of the domain, where the driver writes eight."""
    info = ask("nvmlDeviceGetPciInfo", board)
    if info is None:
        return None
    written = info.busId.decode() if isinstance(info.busId, bytes) else str(info.busId)
    found = re.fullmatch(r"[0-9a-f]*([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])", written.strip().lower())
    return found[1] if found else None


def cores_next_to(board: Any, address: str | None, ask: Any) -> tuple[int, ...] | None:
    """The cores on the GPU's NUMA node, as the driver says, or else the kernel."""
    words = ask("nvmlDeviceGetCpuAffinity", board, (max(os.cpu_count() or 1, 1024) + 63) // 64)
    if words is not None:
        found = [64 * place + bit for place, word in enumerate(words) for bit in range(64) if int(word) >> bit & 1]
        if found:
            return tuple(found)
    if address is None:
        return None
    try:
        return _listed((PCI / address / "local_cpulist").read_text(encoding="ascii")) or None
    except (OSError, ValueError):
        return None


def _listed(text: str) -> tuple[int, ...]:
    """The numbers of a list such as "0-3,8"."""
    spans = [part.partition("-") for part in text.strip().split(",") if part]
    return tuple(core for first, _, last in spans for core in range(int(first), int(last or first) + 1))


def glance(gpu: Handle) -> Health:
    """What changes with the work on the GPU, by few calls: clock, reasons, temperature and power. Never raises."""
    try:
        binding = library()
    except NvmlError as error:
        return Health(trouble=str(error))
    queries = Queries()
    ask, board = queries.ask, gpu.board
    power, averaged = _power(None, board, queries)
    return Health(
        sm_clock_mhz=ask("nvmlDeviceGetClockInfo", board, binding.NVML_CLOCK_SM),
        reasons=_reasons(board, queries),
        temperature_c=_temperature(board, queries),
        power_w=power,
        averaged=averaged,
        trouble=queries.trouble,
    )


def _reasons(board: Any, queries: Queries) -> tuple[str, ...] | None:
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    mask = queries.ask(names, board)
    return None if mask is None else words(mask)


def _temperature(board: Any, queries: Queries) -> int | None:
    names = ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV")
    found = queries.ask(names, board, library().NVML_TEMPERATURE_GPU)
    return None if found is None else int(found)


def _power(counted: Counters | None, board: Any, queries: Queries) -> tuple[float | None, bool | None]:
    """Watts, and True if they are the average of a second, which is all that some drivers tell."""
    instant = counters.power_mw(board, queries) if counted is None else counted.power_mw
    if instant is not None:
        return instant / 1e3, False
    average = queries.ask("nvmlDeviceGetPowerUsage", board)
    return (None, None) if average is None else (average / 1e3, True)


def health(gpu: Handle) -> Health:
    """The GPU's state now. Never raises."""
    try:
        binding = library()
    except NvmlError as error:  # a forked process whose driver has gone
        return Health(trouble=str(error))
    queries = Queries()
    ask, board = queries.ask, gpu.board
    counted = counters.read(board, queries)
    power, averaged = _power(counted, board, queries)
    memory = ask("nvmlDeviceGetMemoryInfo", gpu.own)
    found = processes(gpu, queries)
    own = next((process.used_bytes for process in found or () if process.id == os.getpid()), None)
    energy = _thousandth(counted.energy_mj)
    if energy is None:
        energy = _thousandth(ask("nvmlDeviceGetTotalEnergyConsumption", board))
    return Health(
        sm_clock_mhz=ask("nvmlDeviceGetClockInfo", board, binding.NVML_CLOCK_SM),
        memory_clock_mhz=ask("nvmlDeviceGetClockInfo", board, binding.NVML_CLOCK_MEM),
        reasons=_reasons(board, queries),
        temperature_c=_temperature(board, queries),
        power_w=power,
        averaged=averaged,
        energy_j=None if gpu.is_slice else energy,
        ecc_corrected=_ecc(counted.ecc_corrected, binding.NVML_MEMORY_ERROR_TYPE_CORRECTED, board, queries),
        ecc_uncorrected=_ecc(counted.ecc_uncorrected, binding.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, board, queries),
        used_bytes=None if memory is None else int(memory.used),
        own_bytes=own,
        processes=found,
        counters=counted,
        trouble=queries.trouble,
    )


def words(mask: int) -> tuple[str, ...]:
    """The clock event reasons of a bit mask; a bit that this table doesn't know keeps its number."""
    bits = (1 << place for place in range(mask.bit_length()))
    return tuple(REASONS.get(bit, f"{bit:#x}") for bit in bits if mask & bit)


def _ecc(counted: int | None, kind: int, board: Any, queries: Queries) -> int | None:
    """Errors of one kind since the driver was loaded: those that were counted, or else asked for one by one."""
    if counted is not None:
        return counted
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
    computing = {process.pid for process in lists[0] or ()}
    return tuple(Process(number, size, number in computing) for number, size in sorted(found.items()))


def utilization(gpu: Handle, since_us: int) -> dict[int, int] | None:
    """The share of the GPU's time that each process used since a moment (µs since 1970), at most, in per cent.

    None where the driver does not say, as for MIG slices, or has no sample of that time.
    """
    try:
        samples = call("nvmlDeviceGetProcessUtilization", gpu.own, since_us)
    except NvmlError:  # also "not found": it has no sample
        return None
    found: dict[int, int] = {}
    for one in samples:
        if one.pid and one.smUtil <= 100:  # the buffer has places that were never written
            found[one.pid] = max(found.get(one.pid, 0), int(one.smUtil))
    return found or None


def busy_percent(gpu: Handle) -> int | None:
    """The share of the last moments that the whole GPU was busy, in per cent; None where the driver does not say."""
    with contextlib.suppress(NvmlError):
        return int(call("nvmlDeviceGetUtilizationRates", gpu.board).gpu)
    return None


def _yes(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3
