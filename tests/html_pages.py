"""Reports made by hand, and a page of one as its reader has it."""

from __future__ import annotations

from html.parser import HTMLParser

from bnsuite.judge import comparison
from bnsuite.judge.interleaved import FLOOR
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.schema import Observation, Run, RunKind
from bnsuite.report.judged import ComparisonReport, RunReport
from conftest import curve, make_run, result, timing

VOID = {"meta", "link", "br", "img", "input", "col"}


class Page(HTMLParser):
    """A page as a reader of it has it: its elements with their attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag: str) -> list[str]:
        """The texts right inside elements of a kind."""
        return [text for name, text in self.texts if name == tag and text.strip()]

    @property
    def text(self) -> str:
        """All text that is shown."""
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag not in {"style", "script"})


def judgement(*findings: Finding, status: ExitStatus = ExitStatus.FINE, reference: str = "baselines/") -> Judgement:
    """These findings."""
    return Judgement(schema=Judgement.SCHEMA, reference=reference, status=status, findings=findings)


def found(case: str, gate: str, verdict: Verdict, why: str = "because", **more: float) -> Finding:
    """A finding for this reason."""
    return Finding(case=case, gate=gate, verdict=verdict, reason=because(why), **more)


CHECK = "numerics/strides/batch_norm2d"


SEEN = (
    Observation(what="y", value=40.0, limit=30.0),
    Observation(what="dx", value=15.0, limit=30.0),
    Observation(what="buffers", value="updated in place", expected="updated in place"),
)


RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1.1e-3, cpu_share=0.5))),
    result("train/w/bn/x", timings=(timing(4e-2),), curves=(curve(0), curve(1))),
    result(CHECK, observations=SEEN),
)


FINDINGS = (
    found("op/a", "timing", Verdict.REGRESSED, "slower by 25 %", change=0.25, low=0.2, high=0.3),
    found("op/a", "memory", Verdict.PASS, change=0.0),
    found("train/w/bn/x", "convergence", Verdict.INCONCLUSIVE, "more seeds are needed"),
    found(CHECK, "numerics", Verdict.PASS),
    found("op/gone", "timing", Verdict.MISSING, "in the baseline, but gone"),
)


REPORT = RunReport(RUN, judgement(*FINDINGS, status=ExitStatus.REGRESSED))


def launch(change: float, *, blocks: int = 8, confirms: bool = False) -> PairedLaunch:
    """A launch in which B takes this much longer."""
    return PairedLaunch(
        a_rounds_s=((1e-3,), (1.01e-3,)) * (blocks // 2),
        b_rounds_s=((1e-3 * (1 + change),), (1.01e-3 * (1 + change),)) * (blocks // 2),
        a_first=(True, False) * (blocks // 2),
        layouts=(0,) * blocks,
        a_shares=(1.0,) * blocks,
        b_shares=(1.0,) * blocks,
        iterations=1,
        rounds=1,
        confirms=confirms,
    )


def compared(a: Run, b: Run, changes: dict[str, float], **more: object) -> ComparisonReport:
    """A comparison of two runs in which each case takes this much longer in B, judged by the real gates."""
    cases = tuple(
        PairedCase(
            id=name,
            launches=tuple(launch(change + n % 3 / 1000) for n in range(6))
            + (tuple(launch(change, confirms=True) for _ in range(6)) if change > FLOOR else ()),
        )
        for name, change in changes.items()
    )
    fields = {"a": "docker:trainer:old", "b": "docker:trainer:new", "seed": 7, "budget_s": None, **more}
    times = InterleavedTimes(schema=InterleavedTimes.SCHEMA, most_launches=18, variables={}, cases=cases, **fields)
    findings = comparison.judge(a, b, times, ())
    return ComparisonReport(a, b, times, judgement(*findings, status=ExitStatus.REGRESSED, reference=times.a))


def side(run: Run, name: str, **environment: object) -> Run:
    """A run as a side of a comparison, in an environment that differs in these fields."""
    changed = run.environment.model_copy(update=environment)
    return run.model_copy(update={"kind": RunKind.SIDE, "side": name, "environment": changed})


COMPARISON = compared(
    side(RUN, "a", packages={"torch": "2.13.0"}, cuda="12.8"),
    side(RUN, "b", packages={"torch": "2.14.1"}, cuda="13.0"),
    {"op/a": 0.2, "train/w/bn/x": 0.0},
)
