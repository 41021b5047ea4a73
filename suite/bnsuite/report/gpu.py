"""The state of the GPU during a run, and the energy of an epoch."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from bnsuite.record.schema import CaseResult, Run, Timing
from bnsuite.report import tabular, text, units
from bnsuite.report.tabular import NOTHING


def line(run: Run) -> str | None:
    """Returns clocks, temperature, power and ECC errors over all launches; None where no GPU was watched."""
    watched = [one.gpu for result in run.cases for one in result.timings if one.gpu is not None]
    if not watched:
        return None
    parts = []
    if clocks := _known(one.sm_clock_mhz_min for one in watched):
        parts.append(f"SM clock {min(clocks)} to {max(_known(one.sm_clock_mhz_max for one in watched))} MHz")
    if heat := _known(one.temperature_c_max for one in watched):
        parts.append(f"up to {max(heat)} °C")
    if power := [one.power_w_max for one in watched if one.power_w_max is not None]:
        parts.append(f"up to {max(power):.0f} W")
    if reasons := sorted({reason for one in watched for reason in one.reasons or () if reason != "gpu_idle"}):
        parts.append(f"clocks held by {text.listed(reasons)}")
    if errors := sum(_known(one.ecc_errors for one in watched)):
        parts.append(f"{errors} ECC errors")
    if trouble := sorted({one.trouble for one in watched if one.trouble}):
        parts.append(f"incomplete ({text.clipped(trouble[0])})")
    return f"GPU: {', '.join(parts) or 'NVML said nothing'}; {_cost(run)}"


def energy(run: Run) -> str | None:
    """Returns a table of the energy of an epoch of each training, as Markdown; None where none is known."""
    rows = [row for result in run.cases if result.case.kind == "training" and (row := _energy(result))]
    if not rows:
        return None
    return tabular.markdown(rows, ("training", "joules per epoch", "joules per thousand examples"))


def _energy(result: CaseResult) -> list[str] | None:
    """Returns a row: the median over launches of the board's energy between the first round and the last."""
    launches = [(one, one.gpu.energy_j) for one in result.undisturbed if one.gpu and one.gpu.energy_j is not None]
    if not launches:
        return None
    epoch_j = median(joules / _steps(one) for one, joules in launches)
    examples = launches[0][0].examples
    return [result.id, f"{epoch_j:.3g}", f"{1e3 * epoch_j / examples:.3g}" if examples else NOTHING]


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
