"""Files that 0.3.0 wrote are read as they are: by their old names, with their old ids, keys and schemas."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from bnsuite.cli import main
from bnsuite.judge.gates import judge
from bnsuite.judge.interleaved import METHOD
from bnsuite.judge.verdict import Verdict
from bnsuite.record import baselines, interleaved, pins, selftest, store
from bnsuite.record.folder import TIMES, ResultsFolder
from bnsuite.record.schema import Observation

#: A run, a comparison with an injected fault, the baselines that were accepted of the run, and two trials.
ARCHIVE = Path(__file__).parent / "data" / "written-by-0.3.0.tar.gz"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what 0.3.0 left in it, which is where commands are started."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_has_todays_ids_and_labels() -> None:
    """Kind and labels say what an old id said."""
    run = store.load_run(Path("run"))
    cases = {one.id: one.case for one in run.cases}
    assert {one.id.rpartition("/")[0] for one in run.cases if one.case.kind == "check"} == {
        "behaviour/memory-leaks/batch_norm2d/train/backward",
        "behaviour/memory-leaks/batch_norm2d/train/double-backward",
        "numerics/large-batch/n=65536/2x1x1",
        "numerics/large-batch/n=65537/3",
        "numerics/strides/batch_norm2d/train",
    }
    assert cases["op/batch_norm1d/fwd-eval/f32/nc/64x128"].labels["shape"] == "64x128"
    assert cases["ratio/layouts/batch_norm2d/fwd-train/f32/nhwc/32x256x14x14"].labels["comparison"] == "layouts"
    training = cases["train/synthetic-mlp/none/lr=0.1"]
    assert (training.kind, training.labels["workload"], training.labels["norm"], training.labels["lr"]) == (
        *("training", "synthetic-mlp", "none", "0.1"),
    )
    assert (run.options.profile, run.isolation.timed_cores, run.kind.value) == ("quick", (1,), "run")


def test_a_run_passes_against_the_baselines_that_were_accepted_of_it() -> None:
    """Every kind of baseline is found by today's ids."""
    run = store.load_run(Path("run"))
    verdicts = {(one.case, one.gate): one.verdict for one in judge(run, baselines.load(Path("baselines"), run))}
    assert set(verdicts.values()) == {Verdict.PASS}
    assert {gate for _, gate in verdicts} == {"numerics", "behaviour", "timing", "memory", "convergence"}


@pytest.mark.parametrize("where", ["run", "ab"])
def test_verdicts_are_shown_as_they_were_given(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the words that they were given with, whatever is worded otherwise today."""
    old = json.loads(Path(where, "findings.json").read_text())
    assert main(["show", where]) == 0
    said = capsys.readouterr().out
    assert all(one["summary"] in said for one in old["findings"] if one["verdict"] == "NO_BASELINE")
    assert f"(exit status {old['status']})" in said


def test_a_comparison_is_judged_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Without its verdicts it is judged again from its times: same verdicts, same estimates to the last bit."""
    old = json.loads(Path("ab", "findings.json").read_text())
    Path("ab", "findings.json").unlink()
    assert main(["show", "ab", "--json"]) == 0
    new = json.loads(capsys.readouterr().out)
    keys = ("case", "gate", "verdict", "change", "low", "high")
    renamed = {"behaviour/m-leak": "behaviour/memory-leaks"}
    assert [[one[key] for key in keys] for one in new["findings"]] == [
        [next((one[key].replace(a, b) for a, b in renamed.items() if a in str(one[key])), one[key]) for key in keys]
        for one in old["findings"]
    ]
    assert new["status"] == old["status"] == 1


def test_a_comparisons_times_have_their_old_name(folder: Path) -> None:
    """The injected fault is told; the next comparison into the folder removes them."""
    times = interleaved.load(Path("ab"))
    assert times.injected == {"slower": 0.2}
    assert ResultsFolder(Path("ab")).is_comparison
    ResultsFolder(Path("ab")).clean()
    assert not list(Path("ab").iterdir())
    interleaved.save(times, Path("ab"))
    assert Path("ab", TIMES).exists()
    assert interleaved.load(Path("ab")) == times


def test_trials_belong_to_todays_method() -> None:
    trials = selftest.load(Path("selftest"))
    assert {one.where.method for one in trials} == {METHOD}
    assert [one.injected for one in trials] == [{"slower": 0.1}, {"bytes_held": 2097152}]


def test_a_run_is_accepted_beside_what_was_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is new, nothing is lost, and nothing changes by being accepted again."""
    before = {path: path.read_bytes() for path in Path("baselines").rglob("*") if path.is_file()}
    assert main(["accept", "run", "--baselines", "baselines"]) == 0
    assert "new" not in capsys.readouterr().out
    after = {path: path.read_bytes() for path in Path("baselines").rglob("*") if path.is_file()}
    assert set(after) == set(before)
    assert [path for path in before if after[path] != before[path] and "timing" not in path.parts] == []


@pytest.mark.parametrize("arguments", [("accept", "ab/b", "--dry-run"), ("check", "run", "--against", "ab/a")])
def test_a_side_of_an_old_comparison_is_no_run(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It did not say so itself: where it lies does."""
    assert main([*arguments, *(("--baselines", "baselines") if arguments[0] == "accept" else ())]) == 2
    assert "of a comparison, whose times are no run's" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["numerics/s*/step/*", "numerics/stride/*", "numerics/strides/*"])
def test_a_pin_covers_ids_of_either_spelling(pattern: str) -> None:
    """A pattern with a wildcard in a family's old name can't be renamed; it goes on to match the old id."""
    run = store.load_run(Path("run"))
    text = json.dumps(
        {
            "schema": 1,
            "pins": [
                {"case": pattern, "what": "*", "device": "any", "torch": "", "value": 1e9, "reason": "known for long"}
            ],
        }
    )
    (pin,) = store.parse(pins.Pins, text, Path("pins.json")).pins
    assert pin.covers(run, "numerics/strides/step/x", Observation(what="dx", value=1.0, limit=0.5))


@pytest.mark.parametrize(
    ("expression", "count"),
    [("numerics/stride", 162), ("numerics/strides", 162), ("relation/layouts", 4), ("m-leak and backward", 30)],
)
def test_an_old_spelling_chooses_the_same_cases(
    expression: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As nightly commands have it."""
    assert main(["list", "-k", expression]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{count} cases")
