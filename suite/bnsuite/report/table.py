"""The verdict table, its reasons and its one-line summary, for a terminal and for ``report.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from statistics import median, quantiles

from tabulate import tabulate

from bnsuite.judge.timing import share_of_limit
from bnsuite.judge.verdict import WORST_FIRST, ExitStatus, Finding, Verdict, worst
from bnsuite.record.accept import Change
from bnsuite.record.schema import CHECK_GATES, CaseResult, PlannedCase, Run
from bnsuite.report import gpu, units

HEADERS = ("case", "median", "spread", "of limit", "against baseline", "memory", "verdict")
ALIGN = ("left", "right", "right", "right", "left", "right", "left")
NOTHING = "–"

#: These need no word of explanation below the table.
SELF_EXPLANATORY = frozenset({Verdict.PASS})


def terminal(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """Table, reasons and summary as plain text."""
    watched = gpu.line(run)
    body = [
        _heading(run),
        "",
        _table(run, findings, "simple"),
        *reasons(findings),
        *(["", watched] if watched else []),
    ]
    return "\n".join([*body, "", summary(run, findings, status)])


def markdown(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """The same as Markdown."""
    told = [f"- {line.strip()}" if line else line for line in reasons(findings)]
    seen = [text for text in (gpu.line(run), gpu.energy(run)) if text]
    return "\n".join(
        [
            "# bnsuite",
            "",
            _heading(run),
            "",
            _table(run, findings, "github"),
            *told,
            "",
            *(line for text in seen for line in (text, "")),
            f"**{summary(run, findings, status)}**",
            "",
        ]
    )


def summary(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """One line that says it all: what was found, over how much, in which time, and the exit status."""
    counts = Counter(finding.verdict for finding in findings)
    said = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in WORST_FIRST if counts[verdict])
    head = {
        ExitStatus.FINE: "nothing wrong",
        ExitStatus.REGRESSED: "REGRESSED",
        ExitStatus.NOT_MEASURED: "not measured as asked",
        ExitStatus.UNUSABLE: "unusable",
    }[status]
    if status is ExitStatus.FINE and not {Verdict.PASS, Verdict.IMPROVED} & counts.keys():
        head = "nothing compared"
    if not run.finished:
        head += f" ({run.ended_by or 'the run did not come to its end'})"
    took = units.duration(run.wall_s)
    cases = _count(len(run.cases))
    without = f" ({run.left_out} more need a GPU)" if run.left_out else ""
    return f"{head}: {said or 'nothing measured'} in {cases}{without}, {took} (exit status {status.value})"


def cases(planned: Collection[PlannedCase], *, each_check: bool) -> str:
    """The catalogue: what each case moves, which gates judge it, and what it needs.

    Checks are a row a family, or a row each.
    """
    checks = [] if each_check else [case for case in planned if _is_check(case)]
    families = Counter("/".join(case.id.split("/")[:2]) for case in checks)
    rows = [
        [f"{name}/...", name.split("/")[0], f"{count} check{'s' if count > 1 else ''}", *[NOTHING] * 4]
        for name, count in families.items()
    ]
    rows += [
        [
            case.id,
            case.family,
            ", ".join(case.gates),
            "quick, full" if "quick" in case.profiles else "full",
            units.nbytes(case.nbytes) if case.nbytes else NOTHING,
            case.dataset or NOTHING,
            _here(case),
        ]
        for case in planned
        if each_check or not _is_check(case)
    ]
    return (
        tabulate(
            rows, headers=("case", "family", "gates", "profiles", "bytes moved", "data", "here"), disable_numparse=True
        )
        + f"\n{_count(len(planned))}"
        + (f", of which {len(checks)} are checks; -k lists them" if checks else "")
    )


def _count(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases} cases"


def _is_check(case: PlannedCase) -> bool:
    return any(gate in CHECK_GATES for gate in case.gates)


def _here(case: PlannedCase) -> str:
    """What keeps a case from being measured here, as far as can be said before a device is chosen."""
    if case.lacks:
        return f"skipped: {', '.join(case.lacks)} is not installed"
    if case.gpu_only:
        return "on a GPU only"
    return "data downloaded first" if case.to_download else NOTHING


def changes(accepted: Iterable[Change]) -> str:
    """What accepting changes, a line a case and gate."""
    return tabulate([[one.case, one.gate, one.what] for one in accepted], headers=("case", "gate", "baseline"))


def _heading(run: Run) -> str:
    environment = run.environment
    where = environment.gpu.name if environment.gpu else f"{environment.cpu}, {environment.cores_given} cores given"
    packages = environment.packages
    judged = f"{run.options.implementation} in the place of torch's batch norm · " if run.options.implementation else ""
    cuda = f", CUDA {environment.cuda}, cuDNN {environment.cudnn}" if environment.gpu else ""
    threads = f"{environment.threads} thread{'s' if environment.threads > 1 else ''}"
    return (
        f"bnsuite {run.bnsuite} · {run.options.profile} · {run.device} · {judged}"
        f"torch {packages.get('torch', '?')}{cuda} · Python {environment.python} · {threads} · {where}"
    )


def by_row(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """A row a case; of checks, which are many and have no numbers of their own, a row a family of defects."""
    rows: dict[str, list[Finding]] = {}
    for finding in findings:
        checks = finding.gate in CHECK_GATES
        rows.setdefault("/".join(finding.case.split("/")[:2]) if checks else finding.case, []).append(finding)
    return rows


def _table(run: Run, findings: list[Finding], style: str) -> str:
    rows = by_row(findings)
    results = {result.id: result for result in run.cases}
    return tabulate(
        [_row(name, results.get(name), some) for name, some in rows.items()],
        headers=HEADERS,
        tablefmt=style,
        colalign=ALIGN,
        disable_numparse=True,
    )


def _row(name: str, result: CaseResult | None, findings: list[Finding]) -> list[str]:
    numbers = [*_time(result), _limit(result), _against(findings), memory(result)]
    return [name, *numbers, worst(findings).value]


def _against(findings: list[Finding]) -> str:
    """What moved against the baseline: the time, the memory, and for a training how it learnt."""
    if findings[0].gate in CHECK_GATES:
        return checked(findings)
    parts = []
    for finding in findings:
        if finding.gate == "memory" and finding.verdict in {Verdict.PASS, Verdict.NO_BASELINE}:
            continue
        if "ratio" in finding.evidence:
            parts.append(f"{finding.evidence['ratio']:.2f} × partner (≤ {finding.evidence['bound']:g})")
        elif finding.gate == "convergence":
            parts.append(learnt(finding))
        elif finding.change is not None:
            parts.append(("memory " if finding.gate == "memory" else "") + units.change(finding.change))
    return ", ".join(part for part in parts if part) or NOTHING


def learnt(finding: Finding) -> str:
    """What moved most in how a training learnt, such as "early loss +4.0 %"; empty where there is no number for it."""
    if finding.change is not None:
        return f"{finding.evidence.get('metric', 'loss')} {units.change(finding.change)}"
    return "loss identical" if finding.verdict is Verdict.PASS else ""


def checked(findings: list[Finding]) -> str:
    """How many checks a row stands for, and how many of them have a known deviation."""
    pinned = sum(bool(finding.evidence.get("pinned")) for finding in findings)
    count = f"{len(findings)} check{'s' if len(findings) > 1 else ''}"
    return f"{count}, {pinned} with a pinned deviation" if pinned else count


def _limit(result: CaseResult | None) -> str:
    """The share of the limit that memory sets, where a case declares what it must move."""
    share = share_of_limit(result) if result else None
    return NOTHING if share is None else f"{100 * share:.0f} %"


def _time(result: CaseResult | None) -> tuple[str, str]:
    """Median over launches of the launch medians, and half the spread of the middle half of all samples."""
    timings = (result.undisturbed or result.timings) if result else ()
    if not timings:
        return NOTHING, NOTHING
    samples = [sample for timing in timings for sample in timing.samples_s]
    middle = median(median(timing.samples_s) for timing in timings)
    if len(samples) < 2:
        return units.seconds(middle), NOTHING
    lower, _, upper = quantiles(samples, n=4)
    return units.seconds(middle), units.spread((upper - lower) / 2 / middle)


def memory(result: CaseResult | None) -> str:
    peaks = [one.memory.allocated_peak_bytes for one in result.timings] if result else []
    known = [peak for peak in peaks if peak is not None]
    return units.nbytes(max(known)) if known else NOTHING


def reasons(findings: list[Finding]) -> list[str]:
    """A line for each finding that needs explaining; equal reasons are told once."""
    cases_by_reason: dict[tuple[Verdict, str, str], list[str]] = {}
    for finding in findings:
        if finding.verdict not in SELF_EXPLANATORY:
            cases_by_reason.setdefault((finding.verdict, finding.gate, finding.summary), []).append(finding.case)
    lines = []
    for (verdict, gate, reason), cases in sorted(cases_by_reason.items(), key=lambda one: WORST_FIRST.index(one[0][0])):
        who = cases[0] if len(cases) == 1 else f"{len(cases)} cases"
        lines.append(f"  {verdict.value} {gate}, {who}: {reason}")
    return ["", *lines] if lines else []
