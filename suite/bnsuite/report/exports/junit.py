"""JUnit XML, for GitLab, Jenkins and everything else that shows tests.

There is no standard. The dialect here is that of Jenkins' ``junit-10.xsd``, with everything that windyroad's
``JUnit.xsd`` requires. windyroad's schema does not know one element that is used: the ``system-out`` of a case, where
GitLab finds the numbers. A case has no properties, which neither schema allows. A suite is a gate; a test is a case
judged by it.

JUnit has four states. INCONCLUSIVE is a skipped test whose message says so, or with ``--strict`` a failure.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.report import text, units
from bnsuite.report.exports import numbers
from bnsuite.report.exports.numbers import Measured
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report
from bnsuite.report.reasons import words

States = dict[Verdict, tuple[str, str | None]]

#: GitLab reads no file of 30 MB.
MOST_BYTES = 25_000_000
#: The element of each verdict, and its type; PASS and IMPROVED have none. A skipped test has no type in windyroad's
#: schema: its message begins with the verdict, as all do.
_STATES: States = {
    Verdict.REGRESSED: ("failure", "Regression"),
    Verdict.FAILED: ("error", "FAILED"),
    Verdict.INVALID: ("error", "INVALID"),
    Verdict.MISSING: ("error", "MISSING"),
    Verdict.INCONCLUSIVE: ("skipped", None),
    Verdict.NO_BASELINE: ("skipped", None),
    Verdict.SKIPPED: ("skipped", None),
}
_STRICT: States = {**_STATES, Verdict.INCONCLUSIVE: ("failure", "INCONCLUSIVE")}
#: The name of the test that fails for the run as a whole.
_FINISHED = "finished"
#: Bytes of white space that the layout adds to a case, at most.
_INDENT = 32
#: Begins a link to a file in GitLab.
_ATTACHMENT = "[[ATTACHMENT|"


def render(report: Report) -> str:
    """Returns the file; an INCONCLUSIVE case is skipped."""
    return _render(Subject.of(report), _STATES)


def render_strict(report: Report) -> str:
    """Returns the file; an INCONCLUSIVE case is a failure."""
    return _render(Subject.of(report), _STRICT)


def _render(subject: Subject, states: States) -> str:
    shown, left_out = _cases(subject, states)
    suites = list(shown.items())
    if not (subject.run.finished and subject.findings):
        suites.insert(0, ("run", [_unfinished(subject)]))
    root = ET.Element("testsuites")
    for number, (gate, cases) in enumerate(suites):
        root.append(_suite(subject, gate, number, cases, left_out if number == 0 else 0))
    ET.indent(root, space=" ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _cases(subject: Subject, states: States) -> tuple[dict[str, list[ET.Element]], int]:
    """Returns the cases by gate, the worst first, as many as fit; and how many do not."""
    measured = {one.case: one for one in numbers.measured(subject)}
    elapsed = numbers.elapsed_s(subject)
    shown: dict[str, list[ET.Element]] = {gate: [] for gate in subject.gates}
    names = {_FINISHED}
    room = MOST_BYTES
    for done, finding in enumerate(subject.findings):
        element = ET.Element("testcase", _identity(finding, names))
        element.set("time", f"{elapsed.get(finding.case, 0.0) if finding.gate == 'timing' else 0.0:.3f}")
        if finding.verdict in states:
            kind, type_name = states[finding.verdict]
            message = _plain(f"{finding.verdict.value}: {words(finding)}")
            kind_of = {"type": type_name} if type_name is not None else {}
            state = ET.SubElement(element, kind, {**kind_of, "message": message})
            state.text = f"{message}\n{_plain(subject.command(finding))}"
        if lines := list(_numbers(finding, measured.get(finding.case))):
            ET.SubElement(element, "system-out").text = "\n".join(lines)
        room -= len(ET.tostring(element, encoding="utf-8")) + _INDENT
        if room < 0:
            return shown, len(subject.findings) - done
        shown[finding.gate].append(element)
    return shown, 0


def _unfinished(subject: Subject) -> ET.Element:
    """Returns the test that fails where a run ended early or judged nothing: its other tests may all have passed."""
    element = ET.Element("testcase", {"name": _FINISHED, "classname": "bnsuite.run", "time": "0.000"})
    message = _plain(subject.sentence)
    ET.SubElement(element, "error", {"type": "NotMeasured", "message": message}).text = message
    return element


def _identity(finding: Finding, names: set[str]) -> dict[str, str]:
    """Returns class and name; GitLab drops a second test of a name, so that memory and curves say their gate."""
    gate, case = (_plain(text.clipped(one, text.MAX_CELL)) or "?" for one in (finding.gate, finding.case))
    known = GATES.get(finding.gate)
    name = case if finding.gate == "timing" or (known is not None and known.counted) else f"{case} [{gate}]"
    unique, number = name, 2
    while unique in names:
        unique, number = f"{name} ({number})", number + 1
    names.add(unique)
    return {"name": unique, "classname": f"bnsuite.{gate}"}


def _numbers(finding: Finding, measured: Measured | None) -> Iterator[str]:
    """Yields the numbers of a finding, one per line, each for people and for machines; first what is better."""
    if finding.verdict is Verdict.IMPROVED:
        yield _plain(f"{finding.verdict.value}: {words(finding)}")
    for name, value in numbers.of_finding(finding).items():
        yield f"{name}: {units.change(value)} ({value!r})"
    if measured is not None and finding.gate == "timing" and measured.step_s is not None:
        yield f"step: {units.seconds(measured.step_s)} ({measured.step_s!r} s, {len(measured.launches_s)} launches)"
    if measured is not None and finding.gate == "memory" and measured.peak_bytes is not None:
        yield f"peak: {units.nbytes(measured.peak_bytes)} ({measured.peak_bytes} bytes)"


def _suite(subject: Subject, gate: str, number: int, cases: list[ET.Element], left_out: int) -> ET.Element:
    def count(kind: str) -> str:
        return str(sum(one.find(kind) is not None for one in cases))

    name = _plain(text.clipped(gate, text.MAX_CELL)) or "?"
    suite = ET.Element(
        "testsuite",
        {
            "name": f"bnsuite.{name}",
            "package": "bnsuite",
            "id": str(number),
            "hostname": "localhost",  # a run does not say where it was measured
            "timestamp": f"{subject.started:%Y-%m-%dT%H:%M:%S}" if subject.started else "1970-01-01T00:00:00",
            "tests": str(len(cases)),
            "failures": count("failure"),
            "errors": count("error"),
            "skipped": count("skipped"),
            "time": f"{sum(float(one.get('time', '0')) for one in cases):.3f}",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(subject).items():
        ET.SubElement(properties, "property", {"name": key, "value": _plain(value)})
    suite.extend(cases)
    more = f"\n{left_out:,} more tests, the least important ones, do not fit in here" if left_out else ""
    ET.SubElement(suite, "system-out").text = _plain(subject.measured) + more
    ET.SubElement(suite, "system-err")
    return suite


def _properties(subject: Subject) -> dict[str, str]:
    run, environment = subject.run, subject.run.environment
    gpu = {"gpu": environment.gpu.name, "driver": environment.gpu.driver or ""} if environment.gpu else {}
    return {
        "kind": subject.kind,
        "profile": run.options.profile,
        "device": run.device,
        "torch": environment.packages.get("torch", ""),
        "python": environment.python,
        "cpu": environment.cpu,
        **gpu,
        "reference": subject.judgement.reference,
        "wall_s": f"{run.wall_s:.1f}",
        "exit_status": str(subject.judgement.status.value),
    }


def _plain(words: str) -> str:
    """Returns one line that XML can hold, and that links no file in GitLab."""
    return text.xml(text.one_line(words)).replace(_ATTACHMENT, "[ [ATTACHMENT|")
