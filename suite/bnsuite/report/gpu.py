"""The state of the GPU during a run, and the energy of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from bnsuite.record.gpu import GpuWatch
from bnsuite.record.schema import CaseResult, Run, Timing
from bnsuite.report import reasons as reasons_in_words
from bnsuite.report import tabular, text, units
from bnsuite.report.tabular import NOTHING

#: Energy over less time is noise.
MIN_ENERGY_S = 2.0
#: A reason that held the clocks for less of the time is not worth a word.
MIN_HELD = 0.01


def line(run: Run) -> str | None:
    """Returns clocks, temperature, power and ECC errors over all launches; None where no GPU was watched."""
    watched = [one.gpu for result in run.cases for one in result.timings if one.gpu is not None]
    if not watched:
        return None
    parts = [*_conditions(watched), *_clocks_held(watched), *_faults(watched), *_others(watched)]
    if trouble := sorted({one.trouble for one in watched if one.trouble}):
        parts.append(f"incomplete ({text.clipped(trouble[0], text.MAX_SENTENCE)})")
    return f"GPU: {', '.join(parts) or 'NVML said nothing'}; {_cost(run)}"


def _conditions(watched: Sequence[GpuWatch]) -> Iterator[str]:
    """Yields clock, heat and power."""
    if at_work := [one.sm_clock_mhz_median for one in watched if one.sm_clock_mhz_median is not None]:
        yield f"median SM clock under load {median(at_work):.0f} MHz"
    if clocks := _known(one.sm_clock_mhz_min for one in watched):
        yield f"SM clock {min(clocks)} to {max(_known(one.sm_clock_mhz_max for one in watched))} MHz"
    if heat := _known(one.temperature_c_max for one in watched):
        yield f"up to {max(heat)} °C"
    if power := [one.power_w_max for one in watched if one.power_w_max is not None]:
        kind = " as an average" if any(one.power_averaged for one in watched) else ""
        yield f"up to {max(power):.0f} W{kind}"


def _clocks_held(watched: Sequence[GpuWatch]) -> Iterator[str]:
    """Yields what held the clocks: as it was seen, as it was counted, and where nobody counts."""
    if reasons := sorted({reason for one in watched for reason in one.reasons or () if reason != "gpu_idle"}):
        yield f"clocks held by {text.listed(reasons)}"
    if held := _held(watched):
        yield f"by the driver's counters {held} of the time"
    if sampled := sorted({reason for one in watched for reason in one.sampled_reasons}):
        yield f"seen by samples alone: {text.listed(sampled)}"


def _others(watched: Sequence[GpuWatch]) -> Iterator[str]:
    """Yields the idle processes of others, and why others may have gone unseen."""
    if idle := max((_idle(one) for one in watched), default=0):
        yield f"{units.count(idle, 'idle process', 'idle processes')} of others on it"
    if spots := sorted({spot for one in watched for spot in one.blind}):
        yield reasons_in_words.blind(spots)


def _held(watched: Sequence[GpuWatch]) -> str:
    """Returns the share of the time that each counted reason held the clocks, where it is worth a word."""
    total_s = sum(one.window_s or 0.0 for one in watched if one.throttle_s is not None)
    held: dict[str, float] = {}
    for one in watched:
        for name, seconds in (one.throttle_s or {}).items():
            held[name] = held.get(name, 0.0) + seconds
    shares = {name: min(1.0, seconds / total_s) for name, seconds in held.items()} if total_s else {}
    return text.listed([f"{name} {100 * share:.0f} %" for name, share in sorted(shares.items()) if share >= MIN_HELD])


def _faults(watched: Sequence[GpuWatch]) -> Iterator[str]:
    """Yields what went wrong with the GPU meanwhile: memory errors, rows and pages that fail, Xid events."""
    if errors := sum(_known(one.ecc_errors for one in watched)):
        lost = sum(_known(one.ecc_uncorrected for one in watched))
        yield f"{errors} ECC errors" + (f", {lost} of them not corrected" if lost else "")
    if rows := sum(_known(one.rows_remapped for one in watched)):
        yield f"{units.count(rows, 'memory row')} remapped"
    if any(one.remap_pending for one in watched):
        yield "a row remap is pending: reset the GPU"
    if any(one.remap_failed for one in watched):
        yield "a row remap has failed: have the GPU replaced"
    if pages := sum(_known(one.pages_retired for one in watched)):
        yield f"{units.count(pages, 'memory page')} retired"
    if xids := sorted({xid for one in watched for xid in one.xids or ()}):
        yield f"Xid {text.listed([str(xid) for xid in xids])} (see `dmesg`)"
    if any(one.xids is None and one.trouble is None and one.window_s is not None for one in watched):
        yield "Xid events not available"


def _idle(watch: GpuWatch) -> int:
    """Returns the number of other processes that were there and did nothing."""
    return max(0, (watch.foreign or 0) - watch.foreign_active) if watch.foreign_active is not None else 0


def energy(run: Run) -> str | None:
    """Returns a table of the energy of an epoch of each training, as Markdown; None where none is known."""
    rows = [row for result in run.cases if result.case.kind == "training" and (row := _energy(result))]
    if not rows:
        return None
    head = ("training", "joules per epoch (whole board, less idle)", "joules per thousand examples")
    return tabular.markdown(rows, head)


def _energy(result: CaseResult) -> list[str] | None:
    """Returns a row: the median over launches of the board's energy from before the first round to after the last.

    The counter moves in steps of up to a tenth of a second, and counts the board's idle power as well: a short window,
    or an unknown idle power, gives no row. Nobody counts a MIG slice's energy.
    """
    launches = [(one, joules) for one in result.undisturbed if one.gpu and (joules := _work_j(one.gpu)) is not None]
    if not launches:
        return None
    epoch_j = median(joules / _steps(one) for one, joules in launches)
    examples = launches[0][0].examples
    return [result.id, f"{epoch_j:.3g}", f"{1e3 * epoch_j / examples:.3g}" if examples else NOTHING]


def _work_j(watch: GpuWatch) -> float | None:
    """Returns the joules of the work: the board's, less what it draws when idle; None where they can't be told."""
    if watch.energy_j is None or watch.idle_w is None or (watch.window_s or 0.0) < MIN_ENERGY_S:
        return None
    work_j = watch.energy_j - watch.idle_w * (watch.window_s or 0.0)
    return work_j if work_j > 0 else None


def _steps(timing: Timing) -> int:
    return len(timing.samples_s) * timing.iterations


def _cost(run: Run) -> str:
    """Returns the time that watching took beside the measured time."""
    timed = [one for result in run.cases for one in result.timings if one.gpu is not None]
    measured_s = sum(sum(one.samples_s) * one.iterations for one in timed)
    sampling_s = sum(one.gpu.sampling_s for one in timed if one.gpu is not None)
    return f"watching it took {units.seconds(max(sampling_s, 1e-9))} beside {units.seconds(measured_s)} of measuring"


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
