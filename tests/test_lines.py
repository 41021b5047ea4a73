"""References that are a line a case: memory, and what checks saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.record import accept as accepting
from bnsuite.record import baselines
from bnsuite.record.errors import InputError
from bnsuite.record.lines import CHECKS, MEMORY, CheckLine, MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Memory, Observation, Run
from conftest import make_run, result, timing

MIB = 1 << 20


def run(*, peaks: tuple[int, ...] = (MIB,) * 3, dx: float = 1.23456789) -> Run:
    timings = tuple(timing(1e-3).model_copy(update={"memory": Memory(allocated_peak_bytes=peak)}) for peak in peaks)
    seen = (
        Observation(what="dx", value=dx, limit=30.0),
        Observation(what="counter", value="1", expected="1"),
        Observation(what="outcome", value="refused"),
    )
    return make_run(result("memory/x", timings=timings), result("numerics/reference/x", observations=seen))


def memory(reference: Reference, case: str) -> MemoryLine:
    return MEMORY.lines_of(reference.lines)[case]


def checks(reference: Reference, case: str) -> CheckLine:
    return CHECKS.lines_of(reference.lines)[case]


def accept(folder: Path, *runs: Run, keep: tuple[tuple[int, str, str], ...] = ()) -> dict[str, str]:
    changes, files = accepting.accept(list(runs), folder, what=("memory", "checks"), keep=keep)
    accepting.write(files)
    return {change.case: change.what for change in changes}


def test_what_is_accepted_is_what_helps_to_judge(tmp_path: Path) -> None:
    """A peak to the byte; numbers to six digits, words that nothing else tells, and no word that is expected anyway."""
    assert accept(tmp_path, run()) == {"memory/x": "new", "numerics/reference/x": "new"}
    reference = baselines.load(tmp_path, run())
    assert memory(reference, "memory/x").allocated_peak_bytes == MIB
    assert checks(reference, "numerics/reference/x").observed == {"dx": 1.23457, "outcome": "refused"}
    assert {path.name for path in tmp_path.rglob("*.jsonl")} == {"cpu-1-threads.jsonl", "cpu.jsonl"}
    assert accept(tmp_path, run()) == {"memory/x": "unchanged", "numerics/reference/x": "unchanged"}


def test_what_passes_stays_as_it_was(tmp_path: Path) -> None:
    """No reference drifts by being accepted again and again; what does not pass is replaced."""
    accept(tmp_path, run())
    later = run(dx=2.0, peaks=(3 * MIB,) * 3)
    said = accept(tmp_path, later, keep=((0, "numerics/reference/x", "numerics"),))
    assert said == {"memory/x": "replaced", "numerics/reference/x": "kept: the run passes against it"}
    reference = baselines.load(tmp_path, run())
    assert checks(reference, "numerics/reference/x").observed["dx"] == 1.23457
    assert memory(reference, "memory/x").allocated_peak_bytes == 3 * MIB


def test_what_passes_gets_what_it_lacked(tmp_path: Path) -> None:
    """A new observation is held from now on; an older version of the case is no reference and starts anew."""
    accept(tmp_path, run())
    kept = (0, "numerics/reference/x", "numerics")
    more = result(
        "numerics/reference/x",
        observations=(
            Observation(what="dx", value=2.0, limit=30.0),
            Observation(what="dweight", value=1.0, limit=30.0),
        ),
    )
    assert accept(tmp_path, make_run(more), keep=(kept,)) == {
        "numerics/reference/x": "kept but for what it lacked: the run passes against it"
    }
    observed = checks(baselines.load(tmp_path, run()), "numerics/reference/x").observed
    assert (observed["dx"], observed["dweight"]) == (1.23457, 1.0)
    anew = more.model_copy(update={"case": more.case.model_copy(update={"version": 2})})
    assert accept(tmp_path, make_run(anew), keep=(kept,)) == {"numerics/reference/x": "version 2 instead of 1"}
    assert checks(baselines.load(tmp_path, run()), "numerics/reference/x").observed == {"dx": 2.0, "dweight": 1.0}


def test_a_bad_night_is_not_taken_for_a_good_one_after_it(tmp_path: Path) -> None:
    """The last run counts, also where it is what was accepted before."""
    accept(tmp_path, run())
    bad = run(peaks=(50 * MIB,) * 3, dx=25.0)
    assert accept(tmp_path, bad, run()) == {"memory/x": "unchanged", "numerics/reference/x": "unchanged"}
    assert memory(baselines.load(tmp_path, run()), "memory/x").allocated_peak_bytes == MIB


def test_several_runs_add_up(tmp_path: Path) -> None:
    """What a run has not measured is taken from another, and of two that have the later one counts."""
    whole, part = run(), make_run(run(peaks=(3 * MIB,) * 3).cases[0])
    assert accept(tmp_path, whole, part) == {"memory/x": "new", "numerics/reference/x": "new"}
    reference = baselines.load(tmp_path, run())
    assert checks(reference, "numerics/reference/x").observed["dx"] == 1.23457
    assert memory(reference, "memory/x").allocated_peak_bytes == 3 * MIB
    accept(tmp_path, make_run(run(dx=2.0).cases[1]), part)
    assert checks(baselines.load(tmp_path, run()), "numerics/reference/x").observed["dx"] == 2.0


def test_launches_that_disagree_are_no_reference(tmp_path: Path) -> None:
    assert "memory/x" not in accept(tmp_path, run(peaks=(MIB, MIB, MIB + 4)))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """The file, the line and what is wrong with it."""
    accept(tmp_path, run())
    path = tmp_path / "checks" / "cpu.jsonl"
    path.write_text(path.read_text() + "torch went here\n")
    with pytest.raises(InputError, match=r"cpu\.jsonl, line 2: not JSON, or cut off"):
        baselines.load(tmp_path, run())


def test_a_name_may_hold_any_letter(tmp_path: Path) -> None:
    """A line separator of Unicode ends no line of the file."""
    seen = Observation(what="a\u2028b\x85c", value=1.0, limit=2.0)
    odd = make_run(result("numerics/reference/x", observations=(seen,)))
    accept(tmp_path, odd)
    assert checks(baselines.load(tmp_path, odd), "numerics/reference/x").observed == {seen.what: 1.0}
