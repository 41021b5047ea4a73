"""A slowdown against the stored baseline, settled by an interleaved comparison with the baseline's environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnsuite.experiments.ab import Compare, ComparisonRequest, ComparisonResult
from bnsuite.experiments.events import Notify, Remark
from bnsuite.judge.confirmation import confirmed, unconfirmed
from bnsuite.judge.reason import text
from bnsuite.judge.timing import looks_slower
from bnsuite.judge.verdict import Finding
from bnsuite.launch.environments import parse
from bnsuite.launch.queries import ask_once
from bnsuite.record.errors import in_one_line
from bnsuite.record.folder import CONFIRM, ResultsFolder
from bnsuite.record.key import differences, machine_key
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run
from bnsuite.record.select import expression

#: The name of the environment that the baseline was measured in.
BASELINE = "baseline"


@dataclass(frozen=True)
class ConfirmRequest:
    """A judged run whose slowdowns are to be settled, and against which environment."""

    run: Run
    reference: Reference
    findings: tuple[Finding, ...]
    #: An environment as the user writes it, or BASELINE.
    environment: str
    #: Where the run lies; the comparison goes into a folder inside it.
    folder: ResultsFolder
    #: The folder of images, if one was named.
    data: Path | None
    baselines: Path
    #: Whether the run was measured by this command; else it is made sure first that its environment is here, on this
    #: machine, as it was.
    measured_here: bool = True


class _UnsettledError(Exception):
    """The comparison can't settle anything; the message is the cause."""


def flagged(findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings to be settled: slower than the stored baseline. A ratio has its bound, and no baseline."""
    return [one for one in findings if looks_slower(one)]


def settle(request: ConfirmRequest, compare: Compare, notify: Notify) -> tuple[Finding, ...]:
    """Returns the findings, those that are flagged with the verdict of a comparison that `compare` makes.

    A case that the comparison measures and can't decide is INCONCLUSIVE; one that it can't measure stays as it was.
    """
    slower = flagged(request.findings)
    if not slower:
        return request.findings
    try:
        wanted = _comparison(request, slower)
        if not request.measured_here:
            _require_same_machine(request.run)
        result = _compared(wanted, compare)
    except _UnsettledError as error:
        notify(Remark(f"--confirm: {error}"))
        why = text(str(error))
        settled = {one.case: unconfirmed(one, why, reference=request.reference.name) for one in slower}
    else:
        again = {(one.case, one.gate): one for one in result.findings}
        settled = {
            one.case: confirmed(
                one, again.get((one.case, one.gate)), against=wanted.a, reference=request.reference.name
            )
            for one in slower
        }
        notify(
            Remark(
                f"cases that the baseline flags were measured again, interleaved with {wanted.a}: {wanted.folder.path}/"
            )
        )
    return tuple(settled[one.case] if one in slower else one for one in request.findings)


def _comparison(request: ConfirmRequest, slower: Sequence[Finding]) -> ComparisonRequest:
    """The comparison that settles it: the flagged cases, on the same device, with the run's options."""
    run, a = request.run, request.environment
    if a == BASELINE:
        known = request.reference.environment(one.case for one in slower)
        if known is None and run.options.implementation is None:
            raise _UnsettledError(
                f"{request.reference.name} does not say which one torch it was measured with; name it: "
                "--confirm torch==X.Y.Z"
            )
        a = run.options.environment if run.options.implementation is not None or known is None else known
    select = expression(one.case for one in slower)
    options = run.options.model_copy(update={"device": run.device, "select": select or run.options.select})
    return ComparisonRequest(
        a=a,
        b=run.options.environment,
        options=(options.model_copy(update={"implementation": None, "supports": None}), options),
        folder=request.folder.within(CONFIRM),
        data=request.data,
        baselines=request.baselines,
    )


def _require_same_machine(run: Run) -> None:
    """Raise if the run's environment, or this machine, is another one than the run has measured."""
    try:
        device, environment = ask_once(parse(run.options.environment), run.device, run.options.threads)
    except KeyboardInterrupt:
        raise _UnsettledError("interrupted") from None
    except Exception as error:
        raise _UnsettledError(in_one_line(error)) from error
    here = run.model_copy(update={"device": device, "environment": environment})
    apart = differences(machine_key(here), machine_key(run))
    ours, its = (one.environment.packages.get("torch") for one in (here, run))
    if ours != its:
        apart.insert(0, f"torch {ours}, not {its}")
    if apart:
        raise _UnsettledError(f"this is not where the run was measured ({'; '.join(apart)}); confirm it there")


def _compared(wanted: ComparisonRequest, compare: Compare) -> ComparisonResult:
    try:
        result = compare(wanted)
    except KeyboardInterrupt:
        raise _UnsettledError("interrupted") from None
    except Exception as error:  # whatever it is: what the run has measured is shown
        raise _UnsettledError(in_one_line(error)) from error
    if not result.b.finished:
        raise _UnsettledError(result.b.ended_by or "the comparison did not come to its end")
    return result
