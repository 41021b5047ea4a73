"""``--confirm``: what the stored baseline flags as slower is settled by lockstep against the baseline's environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bnsuite.cli.options import baselines_folder, data_folder
from bnsuite.cli.output import remark
from bnsuite.cli.results import CONFIRM
from bnsuite.record.errors import InputError, one_line

if TYPE_CHECKING:
    from bnsuite.cli.comparing import ComparisonRequest, ComparisonResult
    from bnsuite.judge.verdict import Finding
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run

    Compare = Callable[[ComparisonRequest, TextIO], ComparisonResult]

#: Given without an environment, --confirm means that of the baseline.
BASELINE = "baseline"


class _UnsettledError(Exception):
    """The lockstep says nothing; the message says why."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """--confirm [ENVIRONMENT]."""
    parser.add_argument(
        "--confirm",
        nargs="?",
        const=BASELINE,
        metavar="ENVIRONMENT",
        help="settle a slowdown in lockstep with the baseline's release of torch, or with ENVIRONMENT (as for ab)",
    )


def require_environment(options: argparse.Namespace) -> None:
    """Raise InputError for an environment that is none, or an interpreter that is not there; makes nothing."""
    from bnsuite.launch.environments import Interpreter, parse

    if options.confirm is not None:
        data_folder(options)
    if options.confirm in {None, BASELINE}:
        return
    try:
        site = parse(options.confirm)
        if type(site) is Interpreter:
            site.prepare()
    except InputError as error:
        raise InputError(f"--confirm {error}") from None


def flagged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings to be settled: slower than the stored baseline. A relation has its bound, and no baseline."""
    from bnsuite.judge.timing import looks_slower

    return [one for one in findings if looks_slower(one)]


def settle(
    run: Run,
    reference: Reference,
    findings: list[Finding],
    options: argparse.Namespace,
    folder: Path,
    *,
    measured_here: bool = True,
    compare: Compare | None = None,
) -> list[Finding]:
    """`findings`, but what is flagged has the verdict of a lockstep, whose results go into `folder`.

    What the lockstep measures and can't decide is INCONCLUSIVE; what it can't measure stays REGRESSED and says why.
    Without `measured_here` it is made sure first that this interpreter is what `run` has measured. `compare` makes the
    lockstep.
    """
    slower = flagged(findings)
    if not slower:
        return findings
    try:
        wanted = _wanted(run, reference, slower, options, folder)
        if not measured_here:
            _require_same_machine(run)
        judged = _compared(wanted, compare)
    except _UnsettledError as error:
        remark(f"--confirm: {error}")
        told = {one.case: _unsettled(run, reference, one, str(error)) for one in slower}
    else:
        shown = {(one.case, one.gate): one for one in judged.findings}
        told = {one.case: _settled(run, reference, one, shown.get((one.case, one.gate)), wanted.a) for one in slower}
        remark(f"what the baseline flags was measured again in lockstep against {wanted.a}: {wanted.folder}/")
    return [told[one.case] if one in slower else one for one in findings]


def _wanted(
    run: Run, reference: Reference, slower: list[Finding], options: argparse.Namespace, folder: Path
) -> ComparisonRequest:
    """The comparison that settles it: the cases that are flagged, on the same device, as the run was asked for."""
    from bnsuite.cli.comparing import ComparisonRequest
    from bnsuite.record.select import expression

    a = options.confirm
    if a == BASELINE:
        a = "." if run.options.implementation is not None else reference.environment(one.case for one in slower)
    if a is None:
        raise _UnsettledError(
            f"{reference.name} does not say which one torch it was measured with; name it: --confirm torch==X.Y.Z"
        )
    select = expression(one.case for one in slower)
    asked = run.options.model_copy(update={"device": run.device, "select": select or run.options.select})
    return ComparisonRequest(
        a=a,
        b=".",
        options=(asked.model_copy(update={"implementation": None}), asked),
        folder=folder / CONFIRM,
        data=data_folder(options),
        baselines=baselines_folder(options),
    )


def _require_same_machine(run: Run) -> None:
    """Raise if this interpreter, or this machine, is another one than the run has measured."""
    from bnsuite.launch.queries import ask_here
    from bnsuite.record.key import differences, machine_key

    try:
        device, environment = ask_here(run.device, run.options.threads)
    except KeyboardInterrupt:
        raise _UnsettledError("interrupted") from None
    except Exception as error:
        raise _UnsettledError(str(error) if isinstance(error, InputError) else one_line(error)) from error
    here = run.model_copy(update={"device": device, "environment": environment})
    apart = differences(machine_key(here), machine_key(run))
    ours, its = (one.environment.packages.get("torch") for one in (here, run))
    if ours != its:
        apart.insert(0, f"torch {ours}, not {its}")
    if apart:
        raise _UnsettledError(f"this is not where the run was measured ({'; '.join(apart)}); confirm it there")


def _compared(wanted: ComparisonRequest, compare: Compare | None) -> ComparisonResult:
    """The lockstep, from beginning to end; by `compare`, or as `bnsuite ab` does it."""
    from bnsuite.cli import comparing

    try:
        judged = (compare or comparing.compare)(wanted, sys.stderr)
    except KeyboardInterrupt:
        raise _UnsettledError("interrupted") from None
    except InputError as error:
        raise _UnsettledError(str(error)) from error
    except Exception as error:  # whatever it is: what the run has measured is shown
        raise _UnsettledError(one_line(error)) from error
    for warning in judged.warnings:
        remark(warning)
    if not judged.b.finished:
        raise _UnsettledError(judged.b.ended_by or "the lockstep did not come to its end")
    return judged


def _settled(run: Run, reference: Reference, stored: Finding, again: Finding | None, against: str) -> Finding:
    """The verdict of the lockstep in the place of the stored baseline's, both in words."""
    from bnsuite.judge.verdict import Verdict

    verdicts = {Verdict.REGRESSED, Verdict.PASS, Verdict.IMPROVED, Verdict.INCONCLUSIVE}
    if again is None or again.verdict not in verdicts:
        why = f"{again.verdict.value}: {again.summary}" if again else "the case was not measured"
        return _unsettled(run, reference, stored, why)
    summary = f"in lockstep against {against}: {again.summary}; {_before(run, reference, stored)}"
    evidence = {**again.evidence, "confirmed_against": against, "stored_change": stored.change}
    return again.model_copy(update={"summary": summary, "evidence": evidence})


def _unsettled(run: Run, reference: Reference, stored: Finding, why: str) -> Finding:
    """A finding that stays as it was, since a regression is never hidden by what fails later."""
    return stored.model_copy(update={"summary": f"{_before(run, reference, stored)}; not confirmed: {why}"})


def _before(run: Run, reference: Reference, stored: Finding) -> str:
    """What the stored baseline showed, without the advice to confirm it."""
    from bnsuite.judge.timing import how_to_confirm

    words = stored.summary.removesuffix(how_to_confirm(run, stored.case, reference))
    return f"against {reference.name} it is {words}"
