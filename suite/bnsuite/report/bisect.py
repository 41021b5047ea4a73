"""A search for the environment that brought a change, in words: a line per step, and the answer in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from bnsuite.judge.bisect import UNCHANGED, Assessment, BisectAnswer, BisectStep, label
from bnsuite.judge.verdict import Finding
from bnsuite.report import units
from bnsuite.report.reasons import words


def named(short: str, after: str = "") -> str:
    """Such as "torch 2.14.0", or the name of an environment that is no release; "2.14.0" `after` another release."""
    return f"torch {short}" if _is_release(short) and not _is_release(after) else short


def beginning(environments: Sequence[str]) -> str:
    """Such as "4 releases from torch 2.11.0, which is trusted, to 2.14.1"; images and interpreters are listed."""
    labels = [label(one) for one in environments]
    good, bad = labels[0], labels[-1]
    releases = all(map(_is_release, labels))
    kind = "releases" if releases else "environments"
    between = f"; between them {', '.join(map(named, labels[1:-1]))}" if labels[1:-1] and not releases else ""
    return f"{len(labels)} {kind} from {named(good)}, which is trusted, to {named(bad, good)}{between}"


def step(one: BisectStep) -> str:
    """Such as "torch 2.14.0: bad: REGRESSED timing of op/a, +12.0 % (+11.0 % to +13.0 %)"."""
    return f"{named(one.release)}: {one.assessment.value}: {_evidence(one)}"


def sentence(answer: BisectAnswer) -> str:
    """The environment that brought the change, or between which two it lies, with the evidence for both."""
    by_release = {one.release: one for one in answer.steps}
    end = by_release[answer.bad]
    if end.assessment is Assessment.GOOD:
        return f"no change between {named(answer.good)} and {named(answer.bad, answer.good)}: {_evidence(end)}"
    if end.assessment is Assessment.SKIPPED or answer.first_bad is None or answer.last_good is None:
        good = named(answer.good, answer.bad)
        return f"whether {named(answer.bad)} differs from {good} could not be told: {_evidence(end)}"
    good, bad = answer.last_good, answer.first_bad
    why = f" ({_evidence(by_release[good])})" if good in by_release else ", as given"
    before = f"{named(good, bad)} is good{why}"
    if not answer.between:
        return f"{named(bad)} is the first bad one ({_evidence(by_release[bad])}); {before}"
    ended = f"{answer.ended}; " if answer.ended else ""
    return (
        f"{ended}the change came after {named(good)} and not after {named(bad, good)} "
        f"({_evidence(by_release[bad])}); {before}; {', '.join(answer.between)} could not be told"
    )


def as_json(answer: BisectAnswer) -> str:
    """The answer as it stands in ``bisect.json``, with the sentence as "text"."""
    return answer.model_copy(update={"text": sentence(answer)}).model_dump_json(by_alias=True, indent=1)


def _is_release(short: str) -> bool:
    return short[:1].isdigit()


def _evidence(one: BisectStep) -> str:
    if one.problem is not None:
        return one.problem
    if not one.findings:
        return "not all of what regressed was measured"
    first = one.findings[0]
    more = f", and {len(one.findings) - 1} more" if len(one.findings) > 1 else ""
    if one.assessment is Assessment.SKIPPED and first.verdict in UNCHANGED:
        more += ", by which it could still have the change that is looked for"
    return _finding(first) + more


def _finding(finding: Finding) -> str:
    """Verdict, gate and case, and by how much: the estimate with its interval, or the reason in words."""
    text = words(finding)
    if finding.change is not None and finding.low is not None and finding.high is not None:
        bounds = f"{units.change(finding.low)} to {units.change(finding.high)}"
        text = f"{units.change(finding.change)} ({bounds})"
    return f"{finding.verdict.value} {finding.gate} of {finding.case}, {text}"
