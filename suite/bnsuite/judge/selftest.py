"""Error rates by the trials of a self-test: false alarms of a gate, and the share of faults that it detects."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import log1p
from pathlib import Path
from statistics import median

from bnsuite.judge import interleaved
from bnsuite.judge.statistics import share_interval, t_quantile
from bnsuite.judge.verdict import NOT_MEASURED, WORST_FIRST, ExitStatus, Verdict
from bnsuite.record.selftest import Seen, Trial, Where

NIGHT = "night"
#: A slowdown from this on must never be passed, and from that on it must be found.
NEVER_PASSED, FOUND = 0.05, 0.10
#: Runs that are resampled, and the cases of each.
RUNS, CASES = 10_000, 20
#: From fewer launches with nothing changed nothing is resampled: six nights' first looks. A case whose few launches
#: happen to lie above the margin raises an alarm in nearly every run drawn from them: 8 launches of one machine gave
#: anything from 0.9 to 45 %, 24 of it 0.5 % and 48 of it 0.3 %.
MIN_LAUNCHES = 6 * interleaved.FIRST_LOOK
#: A value so near to a threshold is decided by the gate itself.
ALMOST = 0.999


class Duty(Enum):
    """The required end of a trial."""

    NO_ALARM = "no alarm"
    FOUND = "found"
    NOT_PASSED = "not passed"
    NONE = "–"


class End(Enum):
    """The end of a trial."""

    AS_REQUIRED = "as required"
    AGAINST_DUTY = "AGAINST DUTY"
    NOT_MEASURED = "NOT MEASURED"


def duty(trial: Trial) -> Duty:
    """Returns the required end of `trial`; a slowdown too small for one is only counted."""
    if trial.gate is None:
        return Duty.NO_ALARM
    slower = trial.injected.get("slower")
    if slower is None or slower >= FOUND:
        return Duty.FOUND
    return Duty.NOT_PASSED if slower >= NEVER_PASSED else Duty.NONE


def concerned(trial: Trial) -> list[Seen]:
    """Returns the findings of the gate that must detect the fault, or all."""
    return [one for one in trial.findings if trial.gate in {None, one.gate}]


def parts(trial: Trial) -> dict[str, list[Seen]]:
    """Returns the parts that must each be detected: a slowdown in every case, a fault wherever it shows."""
    found: dict[str, list[Seen]] = {}
    for one in concerned(trial):
        found.setdefault(one.case if "slower" in trial.injected else _variant(trial), []).append(one)
    return found


def end(trial: Trial) -> End:
    """Returns the end of a trial: the worst of its parts."""
    ends = {_end(duty(trial), seen) for seen in parts(trial).values()} or {End.NOT_MEASURED}
    return next((one for one in (End.AGAINST_DUTY, End.NOT_MEASURED) if one in ends), End.AS_REQUIRED)


def surely_against(trial: Trial) -> bool:
    """Returns if a trial ended against its duty, whatever its open cases might have shown."""
    required = duty(trial)
    some = [seen for seen in parts(trial).values() if _end(required, seen) is End.AGAINST_DUTY]
    return any(required is not Duty.FOUND or Verdict.INCONCLUSIVE not in {one.verdict for one in seen} for seen in some)


def _end(required: Duty, seen: Iterable[Seen]) -> End:
    verdicts = {Verdict(one.verdict) for one in seen}
    against = {
        Duty.NO_ALARM: Verdict.REGRESSED in verdicts,
        Duty.NOT_PASSED: bool(verdicts & {Verdict.PASS, Verdict.IMPROVED}),
        Duty.FOUND: Verdict.REGRESSED not in verdicts and not verdicts & NOT_MEASURED,
        Duty.NONE: False,
    }[required]
    if against:
        return End.AGAINST_DUTY
    found = required is Duty.FOUND and Verdict.REGRESSED in verdicts
    return End.NOT_MEASURED if verdicts & NOT_MEASURED and not found else End.AS_REQUIRED


@dataclass(frozen=True)
class Rate:
    """Trials of one kind, put together; `hits` are alarms where nothing was changed, and else what was found."""

    kind: str
    #: The case that was slowed, the fault, or what else tells it from others of its kind; may be empty.
    variant: str
    where: Where
    duty: Duty
    hits: int
    of: int
    verdicts: Counter[Verdict]
    #: The measured relative change of the time, the median over trials; None where trials are not of one case.
    change: float | None
    launches: float
    #: Seconds of wall that a case took, median over trials.
    case_s: float
    ends: Counter[End]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of hits."""
        return share_interval(self.hits, self.of)

    @property
    def undecided(self) -> float:
        """The share of INCONCLUSIVE among all verdicts."""
        return self.verdicts[Verdict.INCONCLUSIVE] / max(1, self.verdicts.total())


def rates(trials: Iterable[Trial]) -> list[Rate]:
    """Returns a rate per kind and machine; of slowdowns one per case, of faults one per fault."""
    groups: dict[tuple[Where, str, str], list[tuple[Trial, list[Seen]]]] = {}
    for trial in trials:
        for variant, seen in parts(trial).items():
            groups.setdefault((trial.where, trial.kind, variant), []).append((trial, seen))
    return [_rate(*key, members) for key, members in groups.items()]


def _variant(trial: Trial) -> str:
    return trial.variant if trial.gate is not None else ""


def _rate(where: Where, kind: str, variant: str, members: Sequence[tuple[Trial, list[Seen]]]) -> Rate:
    verdicts = [[Verdict(one.verdict) for one in seen] for _, seen in members]
    slowed = [one.change for trial, seen in members for one in seen if "slower" in trial.injected]
    changes = [change for change in slowed if change is not None]
    return Rate(
        kind=kind,
        variant=variant,
        where=where,
        duty=duty(members[0][0]),
        hits=sum(Verdict.REGRESSED in some for some in verdicts),
        of=len(members),
        verdicts=Counter(verdict for some in verdicts for verdict in some),
        change=median(changes) if changes else None,
        launches=median(trial.launches for trial, _ in members),
        case_s=median(trial.wall_s / max(1, trial.cases) for trial, _ in members),
        ends=Counter(_end(duty(trial), seen) for trial, seen in members),
    )


@dataclass(frozen=True)
class Resampled:
    """Runs put together from the launches of nights with nothing changed, and how many of them raise an alarm."""

    where: Where
    launches: int
    cases: int
    alarms: int
    runs: int = RUNS


@dataclass(frozen=True)
class Missing:
    """Comparisons of a kind that were not made, or one that was not measured and whose files are in `folder`."""

    kind: str
    count: int
    reason: str
    variant: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class Repetition:
    """Trials of some kinds to be made again under the same conditions."""

    where: Where
    trials: int
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class SelftestResult:
    """All trials of a folder, put together."""

    trials: tuple[Trial, ...]
    rates: tuple[Rate, ...]
    resampled: tuple[Resampled, ...]
    missing: tuple[Missing, ...]
    again: tuple[Repetition, ...]
    status: ExitStatus


def counts(verdicts: Mapping[Verdict, int]) -> str:
    """Returns numbers and verdicts, the worst first, such as "2 INCONCLUSIVE, 21 PASS"."""
    return ", ".join(f"{verdicts[one]} {one.value}" for one in WORST_FIRST if verdicts.get(one))


def status(trials: Iterable[Trial], *, complete: bool) -> ExitStatus:
    """Returns the exit status; `complete` if every requested trial was measured at least once."""
    ends = [end(trial) for trial in trials]
    if End.AGAINST_DUTY in ends:
        return ExitStatus.REGRESSED
    return ExitStatus.FINE if complete and ends and End.NOT_MEASURED not in ends else ExitStatus.NOT_MEASURED


#: The values of one launch, by case.
Launch = Mapping[str, float]


def unchanged_launches(trials: Iterable[Trial], where: Where) -> list[Launch]:
    """Returns the launches of trials with nothing changed, up to the first look.

    Later launches have undecided cases alone, and would represent only those.
    """
    found: list[Launch] = []
    for trial in trials:
        if trial.kind != NIGHT or trial.where != where:
            continue
        cases = [one for one in trial.values if not one.case.startswith(interleaved.CONTROL)]
        for place in range(interleaved.FIRST_LOOK):
            values = {one.case: one.screen[place] for one in cases if place < len(one.screen)}
            if launch := {case: value for case, value in values.items() if value is not None}:
                found.append(launch)
    return found


def runs_with_alarms(
    launches: Sequence[Launch], *, most: int, runs: int = RUNS, cases: int = CASES, seed: int = 0
) -> int:
    """Returns how many of `runs` runs of `cases` cases raise an alarm, their launches drawn from measured ones.

    A drawn launch gives its value to every case at once, as a launch does. Where fewer cases were measured than a run
    has, the rest are the same cases by launches drawn for themselves. `most` is as for `interleaved.decide_values`.
    """
    chance = random.Random(seed)  # noqa: S311  # what is drawn is no secret
    names = sorted({name for launch in launches for name in launch})
    columns = {name: [launch.get(name) for launch in launches] for name in names}
    places = range(len(launches))
    count = 0
    for _ in range(runs):
        left = cases
        alarm = False
        while left > 0 and not alarm:
            chosen = names if left >= len(names) else chance.sample(names, left)
            left -= len(chosen)
            drawn = chance.choices(places, k=2 * most)
            alarm = any(_alarms(columns[name], drawn, cases, most) for name in chosen)
        count += alarm
    return count


def _alarms(column: Sequence[float | None], drawn: Sequence[int], cases: int, most: int) -> bool:
    """Returns if a case raises an alarm, launched until it is decided."""
    values = [value for place in drawn if (value := column[place]) is not None]
    if not _may_be_flagged(values[:most]):
        return False
    screen: list[float] = []
    confirm: list[float] = []
    taken = screen
    for start in range(0, len(values), interleaved.EVERY):
        taken += values[start : start + interleaved.EVERY]
        decision = interleaved.decide_values(screen, confirm, cases, most)
        if decision.verdict is not None:
            return decision.verdict is Verdict.REGRESSED
        taken = confirm if decision.flagged else screen
    return False


def _may_be_flagged(values: Sequence[float]) -> bool:
    """Returns if any look may flag a slowdown: most cases show none, which is quicker to see than to decide."""
    floor = log1p(interleaved.FLOOR)
    for count in range(interleaved.FIRST_LOOK, len(values) + 1, interleaved.EVERY):
        seen = interleaved.moderated(values[:count])
        if seen.mean > max(floor, ALMOST * t_quantile(int(seen.freedom), 1 - interleaved.LOOK_ALPHA) * seen.error):
            return True
    return False
