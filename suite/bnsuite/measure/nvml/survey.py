"""The condition of a GPU before a measurement: driver, modes, clocks, errors and processes. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnsuite.measure.nvml.binding import NvmlError, Queries, text
from bnsuite.measure.nvml.company import MPS_LISTS
from bnsuite.measure.nvml.handle import Handle, find, slices_of
from bnsuite.measure.nvml.state import describe, driver_version, health


@dataclass(frozen=True)
class GpuCondition:
    """The condition of one GPU; None where the driver can't say.

    Of a MIG slice the processes are its own, and the rest is the whole GPU's. ECC errors are those since the driver was
    loaded. `pages_pending` and the remapped rows are what GPUs before and since Ampere do about bad memory.
    """

    name: str | None
    uuid: str
    mig: bool | None
    mig_slices: int | None
    mig_slice: bool
    persistence: bool | None
    compute_mode: int | None
    sm_clock_mhz: int | None
    sm_clock_mhz_max: int | None
    reasons: tuple[str, ...] | None
    temperature_c: int | None
    power_limit_w: float | None
    ecc_corrected: int | None
    ecc_uncorrected: int | None
    remapped_correctable: int | None
    remapped_uncorrectable: int | None
    remap_pending: bool | None
    remap_failed: bool | None
    pages_pending: bool | None
    processes: tuple[int, ...] | None
    mps_processes: int | None
    used_bytes: int | None
    total_bytes: int | None
    trouble: str | None
    #: Those of the processes that only draw.
    drawing: tuple[int, ...] | None = None


@dataclass(frozen=True)
class GpuSurvey:
    """The driver, and the GPU that is asked for; None with the reason in `trouble` where one can't be had."""

    driver: str | None
    cuda: str | None
    count: int | None
    gpu: GpuCondition | None
    trouble: str | None


def survey(index: int = 0) -> GpuSurvey:
    """Returns the account of the GPU that CUDA numbers `index`. Never raises."""
    driver, trouble = driver_version()
    if driver is None:
        return GpuSurvey(None, None, None, None, trouble)
    queries = Queries()
    version = queries.ask("nvmlSystemGetCudaDriverVersion")
    cuda = None if version is None else f"{version // 1000}.{version % 1000 // 10}"
    count = queries.ask("nvmlDeviceGetCount")
    gpu, why = find(None, index)
    if gpu is None:
        return GpuSurvey(driver, cuda, count, None, why)
    try:
        return GpuSurvey(driver, cuda, count, _condition(gpu, index), queries.trouble)
    except NvmlError as error:
        return GpuSurvey(driver, cuda, count, None, str(error))


def _condition(gpu: Handle, index: int) -> GpuCondition:
    queries, board = Queries(), gpu.board
    now, facts = health(gpu), describe(None, index)
    ask = queries.ask
    # Remapped rows can't be asked for while slices are in use.
    rows = ask("nvmlDeviceGetRemappedRows", board)
    mps = next((found for name in MPS_LISTS if (found := ask(name, gpu.own)) is not None), None)
    whole = Handle(text("nvmlDeviceGetUUID", board), board, board)
    return GpuCondition(
        name=facts.name if facts else None,
        uuid=gpu.uuid,
        mig=facts.mig if facts else None,
        mig_slices=len(slices_of(whole)) if facts and facts.mig else None,
        mig_slice=gpu.is_slice,
        persistence=_yes(ask("nvmlDeviceGetPersistenceMode", board)),
        compute_mode=ask("nvmlDeviceGetComputeMode", board),
        sm_clock_mhz=now.sm_clock_mhz,
        sm_clock_mhz_max=facts.sm_clock_mhz_max if facts else None,
        reasons=now.reasons,
        temperature_c=now.temperature_c,
        power_limit_w=facts.power_limit_w if facts else None,
        ecc_corrected=now.ecc_corrected,
        ecc_uncorrected=now.ecc_uncorrected,
        remapped_correctable=None if rows is None else int(rows[0]),
        remapped_uncorrectable=None if rows is None else int(rows[1]),
        remap_pending=None if rows is None else bool(rows[2]),
        remap_failed=None if rows is None else bool(rows[3]),
        pages_pending=_yes(ask("nvmlDeviceGetRetiredPagesPendingStatus", board)),
        processes=None if now.processes is None else tuple(process.id for process in now.processes),
        mps_processes=None if mps is None else len(mps),
        used_bytes=now.used_bytes,
        total_bytes=facts.memory_total_bytes if facts else None,
        trouble=queries.trouble or now.trouble,
        drawing=None if now.processes is None else tuple(one.id for one in now.processes if not one.computes),
    )


def _yes(value: Any) -> bool | None:
    return None if value is None else bool(value)
