"""What the GPU went through during a run, and what an epoch cost in energy."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from tabulate import tabulate

from bnsuite.record.schema import CaseResult, Run, Timing
from bnsuite.report import units

NOTHING = "–"


def line(run: Run) -> str | None:
    """Clocks, temperature, power and ECC errors over all launches in one line; None where no GPU was watched."""
    seen = [one.gpu for result in run.cases for one in result.timings if one.gpu is not None]
    if not seen:
        return None
    parts = []
    if clocks := _known(one.sm_clock_mhz_min for one in seen):
        parts.append(f"SM clock {min(clocks)} to {max(_known(one.sm_clock_mhz_max for one in seen))} MHz")
    if heat := _known(one.temperature_c_max for one in seen):
        parts.append(f"up to {max(heat)} °C")
    if power := [one.power_w_max for one in seen if one.power_w_max is not None]:
        parts.append(f"up to {max(power):.0f} W")
    if reasons := sorted({reason for one in seen for reason in one.reasons or () if reason != "gpu_idle"}):
        parts.append(f"clocks held by {', '.join(reasons)}")
    if errors := sum(_known(one.ecc_errors for one in seen)):
        parts.append(f"{errors} ECC errors")
    if trouble := sorted({one.trouble for one in seen if one.trouble}):
        parts.append(f"not all was seen ({trouble[0]})")
    return f"GPU: {', '.join(parts) or 'NVML said nothing'}; {_cost(run)}"


def energy(run: Run) -> str | None:
    """A table of what an epoch of each training took in energy; None where none is known."""
    rows = [row for result in run.cases if result.case.family == "train" and (row := _energy(result))]
    if not rows:
        return None
    return tabulate(rows, headers=("training", "joules an epoch", "joules a thousand examples"), tablefmt="github")


def _energy(result: CaseResult) -> list[str] | None:
    """The median over launches; the board's energy between the first round and the last."""
    launches = [(one, one.gpu.energy_j) for one in result.undisturbed if one.gpu and one.gpu.energy_j is not None]
    if not launches:
        return None
    epoch_j = median(joules / _steps(one) for one, joules in launches)
    examples = launches[0][0].examples
    return [result.id, f"{epoch_j:.3g}", f"{1e3 * epoch_j / examples:.3g}" if examples else NOTHING]


def _steps(timing: Timing) -> int:
    return len(timing.samples_s) * timing.iterations


def _cost(run: Run) -> str:
    """What watching took of the time that was measured."""
    timed = [one for result in run.cases for one in result.timings if one.gpu is not None]
    measured_s = sum(sum(one.samples_s) * one.iterations for one in timed)
    sampling_s = sum(one.gpu.sampling_s for one in timed if one.gpu is not None)
    return f"watching it took {units.seconds(max(sampling_s, 1e-9))} beside {units.seconds(measured_s)} of measuring"


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
