"""The list of cases (bytes moved, gates, needs), and the list of changes by accepting runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from bnsuite.record.schema import PlannedCase
from bnsuite.report import tabular, units
from bnsuite.report.screen import Screen
from bnsuite.report.tabular import NOTHING

if TYPE_CHECKING:
    from bnsuite.record.accept import Change

HEADERS = ("case", "family", "gates", "profiles", "bytes moved", "data", "here")
#: Columns that a narrow screen does without, the first one first.
OPTIONAL = ("family", "bytes moved", "data", "profiles")


def cases(planned: Collection[PlannedCase], screen: Screen, *, each_check: bool) -> str:
    """Returns the catalogue as a table; checks are a row per family, or a row each."""
    checks = [] if each_check else [case for case in planned if case.kind == "check"]
    families = Counter((case.labels.get("gate", case.family), case.labels.get("family", "")) for case in checks)
    rows = [
        [f"{gate}/{family}/...", gate, units.count(count, "check"), *[NOTHING] * 4]
        for (gate, family), count in families.items()
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
        if each_check or case.kind != "check"
    ]
    more = f", of which {len(checks)} are checks; -k lists them" if checks else ""
    table = tabular.terminal(rows, HEADERS, screen=screen, optional=OPTIONAL)
    return "\n".join([table, *screen.wrap(f"{units.count(len(planned), 'case')}{more}")])


def _here(case: PlannedCase) -> str:
    """Returns what keeps a case from being measured here, as far as that is known before a device is chosen."""
    if case.lacks:
        return f"skipped: {', '.join(case.lacks)} {'is' if len(case.lacks) == 1 else 'are'} not installed"
    if case.gpu_only:
        return "on a GPU only"
    return "data downloaded first" if case.to_download else NOTHING


def changes(accepted: Iterable[Change], screen: Screen) -> str:
    """Returns the changes by accepting runs, a row per case and kind of reference."""
    rows = [[one.case, one.gate, one.what] for one in accepted]
    return tabular.terminal(rows, ("case", "gate", "baseline"), screen=screen)
