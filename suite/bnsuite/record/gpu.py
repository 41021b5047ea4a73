"""A GPU in a record: its facts, and what NVML saw of it while something was measured."""

from __future__ import annotations

from enum import Enum

from bnsuite.record.quantities import Bytes, Count, Number, Whole
from bnsuite.record.value import Value

#: A GPU that was so busy (per cent) before the measured process came is used by another one.
BUSY_PERCENT = 10


class GpuDisturbance(str, Enum):
    """The kinds of disturbance of a GPU."""

    THROTTLED = "gpu-throttled"
    SHARED = "gpu-shared"
    FAULTY = "gpu-faulty"
    BUSY_BEFORE = "gpu-busy-before"


class GpuWatch(Value):
    """The GPU by NVML while the rounds ran; None where the driver couldn't say.

    `foreign` counts processes other than the measured one; bytes are the most that was seen in use, by all and by
    the measured process; `energy_j` is the whole board's, over `window_s`.
    """

    throttled: tuple[str, ...] | None
    reasons: tuple[str, ...] | None
    foreign: Whole | None
    sm_clock_mhz_min: Whole | None
    sm_clock_mhz_max: Whole | None
    temperature_c_max: Whole | None
    power_w_max: Number | None
    energy_j: Number | None
    ecc_errors: Whole | None
    used_bytes: Bytes | None
    own_bytes: Bytes | None
    samples: Count
    sampling_s: Number
    trouble: str | None
    #: Seconds that each reason held the clocks down, by the driver's own counters.
    throttle_s: dict[str, Number] | None = None
    #: Reasons that spoil a measurement and that the driver does not count: samples had to tell.
    sampled_reasons: tuple[str, ...] = ()
    #: The median SM clock of the samples that were taken during the work.
    sm_clock_mhz_median: Number | None = None
    #: The number of these samples.
    clock_samples: Count = 0
    #: True if power is the average of a second, which is all that some drivers tell, and not that of an instant.
    power_averaged: bool | None = None
    #: Seconds from the first reading of the counters to the last.
    window_s: Number | None = None
    #: Watts of the idle board, before the measured process used it.
    idle_w: Number | None = None
    #: Foreign processes that worked, came or grew meanwhile; None in older runs.
    foreign_active: Whole | None = None
    #: The ids of those, as the driver lists them.
    foreign_ids: tuple[Count, ...] = ()
    #: The measured process's id in the driver's list; None if it is not listed.
    own_id: Count | None = None
    #: Why other processes may be there unseen: "own-hidden", "no-list", "mig", "vgpu", "mps".
    blind: tuple[str, ...] = ()
    #: The share of its time (per cent) that the GPU was busy before the measured process came.
    busy_before_percent: Count | None = None
    #: The memory in use before the measured process came.
    used_before_bytes: Bytes | None = None
    #: Memory errors meanwhile that were not corrected.
    ecc_uncorrected: Whole | None = None
    #: Rows of memory that were remapped meanwhile.
    rows_remapped: Whole | None = None
    #: True if a row is to be remapped when the GPU is reset.
    remap_pending: bool | None = None
    #: True if a row could not be remapped.
    remap_failed: bool | None = None
    #: Pages of memory that were retired meanwhile (GPUs before Ampere).
    pages_retired: Whole | None = None
    #: The driver's Xid events meanwhile; None where they can't be heard.
    xids: tuple[Whole, ...] | None = None

    @property
    def disturbance(self) -> GpuDisturbance | None:
        """The kind of disturbance that makes times taken meanwhile worthless, or None.

        Processes that only are there (a window system, an idle notebook) disturb nothing. Where other processes can't
        be seen, a GPU that was busy before this process came is taken to be shared.
        """
        if self.throttled:
            return GpuDisturbance.THROTTLED
        if self.ecc_uncorrected:
            return GpuDisturbance.FAULTY
        if self.foreign if self.foreign_active is None else self.foreign_active:
            return GpuDisturbance.SHARED
        unseen = {"own-hidden", "no-list"} & set(self.blind)
        return GpuDisturbance.BUSY_BEFORE if unseen and (self.busy_before_percent or 0) >= BUSY_PERCENT else None

    @property
    def disturbed(self) -> str | None:
        """The disturbance in words, or None."""
        words = {
            GpuDisturbance.THROTTLED: f"the GPU was throttled ({', '.join(self.throttled or ())})",
            GpuDisturbance.FAULTY: "the GPU's memory had errors that could not be corrected",
            GpuDisturbance.SHARED: "another process was on the GPU",
            GpuDisturbance.BUSY_BEFORE: "the GPU was busy before, and whose work that is can't be seen here",
        }
        return None if self.disturbance is None else words[self.disturbance]


class GpuFacts(Value):
    """NVML's facts about a GPU, which do not change while it is measured; None where the driver can't say."""

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
    memory_total_bytes: Bytes | None
    #: As the kernel writes it, such as "0000:3b:00.0".
    pci_address: str | None = None
    #: The cores on the GPU's NUMA node.
    cores: tuple[Count, ...] | None = None
    #: True if persistence mode is on.
    persistence: bool | None = None
    #: NVML's number: 0 for any processes, 2 for none, 3 for one.
    compute_mode: int | None = None
    #: The clock that application clocks set; the driver does not tell of locked ones.
    sm_clock_mhz_set: int | None = None
    #: True if it is a part of a GPU that other virtual machines use as well.
    vgpu: bool | None = None


class Gpu(Value):
    """The GPU as torch sees it, and as the driver does."""

    name: str
    count: int
    capability: str
    memory_total_bytes: Bytes
    driver: str | None
    nvml: GpuFacts | None
    l2_bytes: Bytes | None = None
