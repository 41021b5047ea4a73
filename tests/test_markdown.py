"""``report.md``: the same as on a terminal, as Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.record.schema import Run
from bnsuite.report import markdown
from bnsuite.report.judged import RunReport
from bnsuite.report.section import Section
from conftest import make_run, result, timing, watched

RUN = make_run(result("op/a", timings=(timing(1e-3), timing(1e-3))), result("op/b", timings=(timing(4e-2),)))


def rendered(run: Run, *findings: Finding, sections: tuple[Section, ...] = ()) -> str:
    """The file of a judged run."""
    judgement = Judgement(
        schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.REGRESSED, findings=findings
    )
    return markdown.render(RunReport(run, judgement, sections))


def test_it_has_the_news_the_totals_the_table_and_the_last_line() -> None:
    """In this order, with the command that settles what is not PASS as code."""
    text = rendered(
        RUN,
        Finding(case="op/a", gate="timing", verdict=Verdict.REGRESSED, reason=because("slower by 25%"), change=0.25),
        Finding(case="op/b", gate="timing", verdict=Verdict.PASS, reason=because("within")),
        sections=(Section("More"),),
    )
    parts = [
        "# bnsuite\n",
        "- bnsuite 0.1.0 · quick · cpu",
        "- **REGRESSED** timing, op/a: +25.0 %: slower by 25%",
        "  - `bnsuite --device cpu --timeout 60 -k op/a`",
        "- layers: times of 1 of 2 within the margin",
        "| op/a ",
        "(exit status 1)**",
        "## More",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_equal_reasons_are_one_entry() -> None:
    """Twenty cases with the same reason are listed below it, and counted where there are too many."""
    many = [
        Finding(case=f"op/{n}", gate="timing", verdict=Verdict.SKIPPED, reason=because("not there")) for n in range(20)
    ]
    text = rendered(make_run(*(result(one.case) for one in many)), *many)
    assert "- **SKIPPED** timing, 20 cases: not there\n  - op/0\n" in text
    assert "  - and 8 more\n" in text


def test_a_gpu_is_told_of_in_one_line() -> None:
    """What it went through over all launches, and what an epoch and a thousand examples cost in energy."""
    launches = tuple(
        timing(
            1e-3, gpu=watched(0, ("hw_slowdown",) if n else (), energy_j=60.0, window_s=2.0, idle_w=20.0)
        ).model_copy(update={"examples": 500})
        for n in range(3)
    )
    run = make_run(result("train/w/bn/x", timings=launches))
    text = rendered(run)
    assert "GPU: SM clock 1700 to 1980 MHz, up to 50 °C, up to 300 W, clocks held by hw_slowdown" in text
    row = next(line for line in text.splitlines() if line.startswith("| train/w/bn/x"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["train/w/bn/x", "6.67", "13.3"]
    assert "GPU:" not in rendered(RUN)


@pytest.mark.parametrize(
    "seen",
    [
        {"window_s": 0.3, "idle_w": 20.0},  # the counter moves in steps of up to a tenth of a second
        {"window_s": 2.0, "idle_w": None},  # the GPU was at work before
        {"window_s": 2.0, "idle_w": 80.0},  # more than the board drew in all
        {},  # an older run
    ],
)
def test_no_joules_are_told_that_mean_nothing(seen: dict[str, Any]) -> None:
    """A short window, or an idle power that nobody knows: there is no row, and no table."""
    launches = tuple(timing(1e-3, gpu=watched(energy_j=60.0, **seen)) for _ in range(3))
    assert "joules" not in rendered(make_run(result("train/w/bn/x", timings=launches)))


def test_what_a_gpu_went_through_is_told_with_its_gaps() -> None:
    """Seconds that counters saw, memory that fails, events, idle processes, and where nobody could look."""
    seen = watched(
        2,
        foreign_active=0,
        throttle_s={"sw_power_cap": 0.5, "thermal": 0.0},
        window_s=1.0,
        sampled_reasons=("hw_power_brake_slowdown",),
        ecc_errors=3,
        ecc_uncorrected=1,
        rows_remapped=2,
        remap_pending=True,
        pages_retired=1,
        xids=(63,),
        blind=("mig",),
        sm_clock_mhz_median=1755.0,
        power_averaged=True,
    )
    text = rendered(make_run(result("op/a", timings=(timing(1e-3, gpu=seen),))))
    for words in (
        "median SM clock under load 1755 MHz",
        "up to 300 W as an average",
        "by the driver's counters sw_power_cap 50 % of the time",
        "seen by samples alone: hw_power_brake_slowdown",
        "3 ECC errors, 1 of them not corrected",
        "2 memory rows remapped",
        "a row remap is pending: reset the GPU",
        "1 memory page retired",
        "Xid 63",
        "2 idle processes of others on it",
        "could not look for other processes: other MIG slices share the board's power and clocks",
    ):
        assert words in text
    deaf = watched(xids=None, window_s=1.0)
    assert "Xid events not available" in rendered(make_run(result("op/a", timings=(timing(1e-3, gpu=deaf),))))
