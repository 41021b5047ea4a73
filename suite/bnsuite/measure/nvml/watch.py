"""A watch over a GPU while something is measured on it: clocks, heat, power, energy, errors, memory and processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from threading import Event, Thread
from time import perf_counter, time_ns

from bnsuite.measure.cores import leave_timed
from bnsuite.measure.nvml import company
from bnsuite.measure.nvml.binding import NvmlError, Queries
from bnsuite.measure.nvml.company import Before, Company, Seen
from bnsuite.measure.nvml.handle import Handle, everything, find
from bnsuite.measure.nvml.state import glance, health, processes, utilization
from bnsuite.measure.nvml.tally import Tally, ecc_errors, sum_of, throttling
from bnsuite.measure.nvml.xid import XidListener

#: The time that a driver has for an answer.
ANSWER_S = 5.0
#: The period of the full look, for counters and processes, between the glances at clock and power.
FULL_LOOK_S = 1.0
#: The driver has a process's share of the GPU for every second or less: one from so long before is of the measurement.
LOOK_BACK_S = 1.0


@dataclass(frozen=True)
class GpuWatch:
    """The summary of a watch; None where the driver couldn't say.

    `foreign` counts all listed processes but this one, `foreign_active` those of them that worked; None where not even
    this one is listed, as in some containers. Clocks are those of a busy GPU, if a sample found it busy, and the median
    is of samples during the work alone. Bytes are maxima over the samples. `throttled` follows from `throttle_s`, and
    for the reasons in `sampled_reasons`, which nobody counts, from samples. `sampling_s` is the thread time that all
    samples took. The other fields are explained in the record of this name.
    """

    throttled: tuple[str, ...] | None
    reasons: tuple[str, ...] | None
    foreign: int | None
    sm_clock_mhz_min: int | None
    sm_clock_mhz_max: int | None
    temperature_c_max: int | None
    power_w_max: float | None
    energy_j: float | None
    ecc_errors: int | None
    used_bytes: int | None
    own_bytes: int | None
    samples: int
    sampling_s: float
    trouble: str | None
    throttle_s: dict[str, float] | None = None
    sampled_reasons: tuple[str, ...] = ()
    sm_clock_mhz_median: float | None = None
    clock_samples: int = 0
    power_averaged: bool | None = None
    window_s: float | None = None
    idle_w: float | None = None
    foreign_active: int | None = None
    foreign_ids: tuple[int, ...] = ()
    own_id: int | None = None
    blind: tuple[str, ...] = ()
    busy_before_percent: int | None = None
    used_before_bytes: int | None = None
    ecc_uncorrected: int | None = None
    rows_remapped: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    pages_retired: int | None = None
    xids: tuple[int, ...] | None = None


class Watch:
    """A running watch over one GPU, which :meth:`Presence.watch` starts. Nothing of it raises."""

    def __init__(self, presence: Presence, gpu: Handle | None, trouble: str | None, period_s: float | None) -> None:
        self._presence, self._gpu = presence, gpu
        self._tally = Tally(trouble=trouble)
        self._stop = Event()
        self._thread: Thread | None = None
        self._began_us = time_ns() // 1000
        #: Whether the measured work is running: the thread samples while it is.
        self.working = True
        self._look()
        if period_s is not None and gpu is not None:
            self._thread = Thread(target=self._keep_sampling, args=(gpu, period_s), name="bnsuite-nvml", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads
                self._thread, self._tally.trouble = None, str(error)

    def sample(self) -> None:
        """Reads the sensors once more, while the GPU works."""
        self._look(during=True)

    def _look(self, *, during: bool = False) -> None:
        if self._gpu is not None:
            self._tally.sample(self._gpu, health, during=during)

    def _keep_sampling(self, gpu: Handle, period_s: float) -> None:
        """Samples until the end, or until something is wrong with the GPU, which more calls won't fix."""
        leave_timed()
        full_s = perf_counter() + FULL_LOOK_S
        while self._tally.trouble is None and not self._stop.wait(period_s):
            if not self.working:
                continue
            look = glance
            if perf_counter() >= full_s:
                look, full_s = health, perf_counter() + FULL_LOOK_S
            self._tally.sample(gpu, look, during=True)

    def stop(self) -> GpuWatch:
        """Reads the sensors for the last time and returns the summary."""
        if self.end_thread():
            self._look()
        else:
            self._tally.trouble = no_answer()
        return self._summary()

    def end_thread(self) -> bool:
        """Ends the sampling thread; False if it hangs in the driver, which is waited for only once."""
        if self._thread is None:
            return True
        timeout_s = 0.0 if self._stop.is_set() else ANSWER_S
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._thread = None
        return True

    def _summary(self) -> GpuWatch:
        tally, gpu = self._tally, self._gpu
        with_others, before, xids = Company(None, None, (), None, None, ()), None, None
        blind: tuple[str, ...] = ()
        if gpu is not None:
            # A driver that hangs or a GPU that is lost is asked no more.
            silent = tally.trouble is not None
            since_us = self._began_us - int(LOOK_BACK_S * 1e6)
            with_others = self._presence.company(tally.seen, gpu, None if silent else utilization(gpu, since_us))
            before = self._presence.before(gpu)
            blind = (*with_others.blind, *self._presence.blind_spots(gpu))
            xids = self._presence.xids(gpu) if not silent else None
        clocks = tally.busy_clocks or tally.clocks
        held, throttled, sampled = throttling(tally)
        last = tally.last.counters if tally.last is not None else None
        return GpuWatch(
            throttled=throttled,
            reasons=None if tally.reasons is None else tuple(sorted(tally.reasons)),
            foreign=with_others.foreign,
            sm_clock_mhz_min=min(clocks, default=None),
            sm_clock_mhz_max=max(clocks, default=None),
            temperature_c_max=tally.temperature_c,
            power_w_max=tally.power_w,
            energy_j=tally.growth(lambda health: health.energy_j),
            ecc_errors=tally.growth(ecc_errors),
            used_bytes=tally.used_bytes,
            own_bytes=with_others.own_bytes,
            samples=tally.samples,
            sampling_s=tally.sampling_s,
            trouble=tally.trouble,
            throttle_s=held,
            sampled_reasons=sampled,
            sm_clock_mhz_median=median(tally.clocks_at_work) if tally.clocks_at_work else None,
            clock_samples=len(tally.clocks_at_work),
            power_averaged=tally.averaged,
            window_s=tally.window_s,
            idle_w=before.idle_w if before is not None else None,
            foreign_active=with_others.active,
            foreign_ids=with_others.active_ids,
            own_id=with_others.own_id,
            blind=blind,
            busy_before_percent=before.busy_percent if before is not None else None,
            used_before_bytes=before.used_bytes if before is not None else None,
            ecc_uncorrected=tally.growth(lambda health: health.ecc_uncorrected),
            rows_remapped=tally.growth(
                lambda health: sum_of(health.counters.rows_corrected, health.counters.rows_uncorrected)
            ),
            remap_pending=None if last is None or last.remap_pending is None else bool(last.remap_pending),
            remap_failed=None if last is None or last.remap_failed is None else bool(last.remap_failed),
            pages_retired=tally.growth(
                lambda health: sum_of(health.counters.pages_corrected, health.counters.pages_uncorrected)
            ),
            xids=xids,
        )


class Presence:
    """The state of the GPUs before this process came; it starts watches. Nothing of it raises.

    Make it before this process touches a GPU: the process that has come by the first stop is then known to be this
    one, even in a container, where NVML may list processes by the host's ids.
    """

    def __init__(self) -> None:
        self._own_id: int | None = None
        self._last: Watch | None = None
        self._key: tuple[str | None, int] | None = None
        self._has_arrived = False
        self._gpu: Handle | None = None
        self._trouble = ""
        self._before: dict[str, Before] = {}
        self._blind: dict[str, tuple[str, ...]] = {}
        self._xids: dict[str, XidListener] = {}
        with suppress(NvmlError):
            for gpu in everything():
                self._before[gpu.uuid] = company.look_before(gpu)

    def arrived(self) -> None:
        """Tells that this process has just come to its GPU: the one that is new there is this one.

        Only the first call says that: whoever comes later is another.
        """
        if self._has_arrived:
            return
        self._has_arrived = True
        with suppress(NvmlError):
            for gpu in everything():
                known = self._before.get(gpu.uuid)
                present = processes(gpu, Queries())
                if known is None or known.ids is None or present is None or self._own_id is not None:
                    continue
                came = {process.id for process in present} - known.ids
                if len(came) == 1:
                    (self._own_id,) = came

    def watch(self, uuid: str | None, index: int = 0, *, period_s: float | None = None) -> Watch:
        """A new watch over torch's cuda:`index`, whose UUID is `uuid` if torch says; the one before it ends.

        With a period, a thread samples as well.
        """
        if self._last is not None and not self._last.end_thread():
            return Watch(self, None, no_answer(), None)
        if self._gpu is None or self._key != (uuid, index):
            self._key = uuid, index
            self._gpu, self._trouble = find(uuid, index)
        if self._gpu is not None:
            self.xids(self._gpu)  # those of before are no matter of this watch
        self._last = Watch(self, self._gpu, self._trouble or None, period_s)
        return self._last

    def company(self, seen: Seen, gpu: Handle, used: dict[int, int] | None) -> Company:
        """The processes on `gpu` beside this one, by what a watch has seen."""
        found = company.company(seen, self.before(gpu), self._own_id, used)
        self._own_id = found.own_id if found.own_id is not None else self._own_id
        return found

    def before(self, gpu: Handle) -> Before | None:
        """The GPU as it was before this process came."""
        return self._before.get(gpu.uuid)

    def blind_spots(self, gpu: Handle) -> tuple[str, ...]:
        """Why others on the same board may go unseen, asked for once per GPU."""
        if gpu.uuid not in self._blind:
            self._blind[gpu.uuid] = company.blind_spots(gpu)
        return self._blind[gpu.uuid]

    def xids(self, gpu: Handle) -> tuple[int, ...] | None:
        """The Xid events since the last call; None where the driver lets nobody hear them."""
        if gpu.uuid not in self._xids:
            self._xids[gpu.uuid] = XidListener(gpu.board)
        return self._xids[gpu.uuid].read()


def no_answer() -> str:
    """The trouble with a driver that hangs."""
    return f"NVML: no answer for {ANSWER_S:g} s; the driver hangs: see `dmesg`, and reboot if it goes on"
