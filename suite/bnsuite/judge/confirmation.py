"""A slowdown against a stored baseline, once an interleaved comparison has measured its case again."""

from __future__ import annotations

from bnsuite.judge.reason import Reason, ReasonCode, reason
from bnsuite.judge.verdict import Finding, Verdict

#: The verdicts of an interleaved comparison that replace that of a stored baseline.
CONFIRMING = frozenset({Verdict.REGRESSED, Verdict.PASS, Verdict.IMPROVED, Verdict.INCONCLUSIVE})


def confirmed(stored: Finding, again: Finding | None, *, against: str, reference: str) -> Finding:
    """Returns the verdict of the comparison with `against` in the place of that against `reference`.

    `again` is the comparison's finding of the case. Where it has none, or none that decides, the stored one stays.
    """
    if again is None:
        return unconfirmed(stored, reason(ReasonCode.NOT_MEASURED), reference=reference)
    if again.verdict not in CONFIRMING:
        return unconfirmed(stored, again.reason, reference=reference, verdict=again.verdict)
    why = reason(
        ReasonCode.CONFIRMATION,
        against=against,
        reason=again.reason,
        reference=reference,
        stored=stored.reason.without("confirm", "kernels"),
    )
    evidence = {**again.evidence, "confirmed_against": against, "stored_change": stored.change}
    return again.model_copy(update={"reason": why, "evidence": evidence})


def unconfirmed(stored: Finding, why: Reason, *, reference: str, verdict: Verdict | None = None) -> Finding:
    """Returns a finding that stays as it was, since a regression is never hidden by a later failure.

    `why` the comparison decided nothing; `verdict`, if that is the reason of a finding of it.
    """
    data = {} if verdict is None else {"verdict": verdict.value}
    stays = reason(
        ReasonCode.NOT_CONFIRMED, reference=reference, stored=stored.reason.without("confirm"), why=why, **data
    )
    return stored.model_copy(update={"reason": stays})
