"""Baselines: portable curves, timings of one machine, and what accepting does to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bnsuite.cli.command import main
from bnsuite.record import accept as accepting
from bnsuite.record import baselines, store
from bnsuite.record.errors import InputError
from bnsuite.record.gpu import Gpu, GpuFacts
from bnsuite.record.key import machine_key
from bnsuite.record.reference import Absence, Cause
from bnsuite.record.schema import Outcome, Run, Status
from conftest import ROOT, curve, make_run, result, timing

CURVES = tuple(curve(seed) for seed in range(3))


def run(median_s: float = 1e-3, curves: tuple = CURVES, version: int = 1, threads: int = 1) -> Run:
    return make_run(
        result("op/a", timings=(timing(median_s),) * 3),
        result("train/w/bn/x", timings=(timing(1e-2),), curves=curves, version=version),
        threads=threads,
    )


BOTH = ("timing", "convergence")


def accept(
    folder: Path, *runs: Run, keep: tuple[tuple[int, str, str], ...] = (), what: tuple[str, ...] = BOTH
) -> list[str]:
    changes, files = accepting.accept(list(runs), folder, what=what, keep=keep)
    accepting.write(files)
    return [f"{change.case} {change.gate}: {change.what}" for change in changes]


def test_accepted_is_loaded(tmp_path: Path) -> None:
    """Timings of several runs stay run by run; curves come back to the last bit."""
    assert accept(tmp_path, run(1e-3), run(1.1e-3)) == [
        "op/a timing: new: 6 launches of 2 runs",
        "train/w/bn/x timing: new: 2 launches of 2 runs",
        "train/w/bn/x convergence: new: 3 seeds",
    ]
    reference = baselines.load(tmp_path, run())
    assert [[one.median_s for one in launches] for launches in reference.timing["op/a"].runs] == [
        [1e-3] * 3,
        [1.1e-3] * 3,
    ]
    assert reference.convergence["train/w/bn/x"].curves == CURVES
    assert reference.absence("timing", "op/none") is None


def test_files_are_made_for_review(tmp_path: Path) -> None:
    """A case a line, a seed a line, so that a change of one is a change of one line."""
    accept(tmp_path, run())
    (path,) = (tmp_path / "timing").iterdir()
    assert sum(line.startswith('  {"id"') for line in path.read_text().splitlines()) == 2
    assert len((tmp_path / "convergence" / "w.jsonl").read_text().splitlines()) == 3


def test_a_partial_run_replaces_only_its_cases(tmp_path: Path) -> None:
    accept(tmp_path, run())
    assert accept(tmp_path, make_run(result("op/a", timings=(timing(2e-3),)))) == [
        "op/a timing: replaced: 1 launch of 1 run (was 3 launches of 1 run), +100.0 % as measured"
    ]
    reference = baselines.load(tmp_path, run())
    assert reference.timing["op/a"].runs[0][0].median_s == 2e-3
    assert "train/w/bn/x" in reference.timing


def test_curves_are_kept_unless_they_changed(tmp_path: Path) -> None:
    """A quick run with equal curves leaves the ten seeds of a full one; different ones must be as many."""
    accept(tmp_path, run(curves=tuple(curve(seed) for seed in range(10))))
    assert "train/w/bn/x convergence: unchanged" in accept(tmp_path, run())
    assert len(baselines.load(tmp_path, run()).convergence["train/w/bn/x"].curves) == 10
    with pytest.raises(InputError, match="the run has 3 seeds, the baseline 10; accept a run of --profile full"):
        accept(tmp_path, run(curves=tuple(curve(seed, final=0.15) for seed in range(3))))


def test_curves_that_pass_are_kept(tmp_path: Path) -> None:
    """Another machine rounds differently: what passes against the accepted curves does not replace them."""
    accept(tmp_path, run())
    rounded = run(curves=tuple(curve(seed, final=0.1001) for seed in range(3)))
    said = accept(tmp_path, rounded, keep=((0, "train/w/bn/x", "convergence"),))
    assert "train/w/bn/x convergence: kept: the run passes against it" in said
    assert baselines.load(tmp_path, run()).convergence["train/w/bn/x"].curves == CURVES
    accept(tmp_path, rounded)
    assert baselines.load(tmp_path, run()).convergence["train/w/bn/x"].curves == rounded.cases[1].curves


def test_times_alone(tmp_path: Path) -> None:
    assert [line.split()[1] for line in accept(tmp_path, run(), what=("timing",))] == ["timing:", "timing:"]
    assert not (tmp_path / "convergence").exists()


def test_versions_are_not_mixed(tmp_path: Path) -> None:
    """Of runs of two versions the newest run's is accepted, and only its launches."""
    accept(tmp_path, run(1e-3), run(2e-3, version=2))
    stored = baselines.load(tmp_path, run())
    assert stored.convergence["train/w/bn/x"].version == 2
    assert (stored.timing["train/w/bn/x"].version, len(stored.timing["train/w/bn/x"].runs)) == (2, 1)


def test_a_run_counts_once(tmp_path: Path) -> None:
    """Named twice, as results/* and results/latest do, it is still one."""
    assert "op/a timing: new: 3 launches of 1 run" in accept(tmp_path, run(), run())


def test_unfinished_and_failed_is_not_accepted(tmp_path: Path) -> None:
    unfinished = make_run(*run().cases, finished=False)
    with pytest.raises(InputError, match="did not come to its end"):
        accept(tmp_path, unfinished)
    failed = {"timing": Outcome(status=Status.FAILED, reason="it died")}
    some = make_run(run().cases[1], result("op/a", timings=(timing(1e-3),), outcomes=failed))
    assert "op/a timing: left out: broken, or not measured undisturbed" in accept(tmp_path, some)
    assert "op/a" not in baselines.load(tmp_path, run()).timing


def test_an_id_is_no_path(tmp_path: Path) -> None:
    """A run from elsewhere can't choose where a baseline is written."""
    for workload in ("..", "", "a/b", "x" * 300):
        evil = result("train/w/bn/x", curves=CURVES)
        evil = evil.model_copy(update={"case": evil.case.model_copy(update={"labels": {"workload": workload}})})
        with pytest.raises(InputError, match="can't be the name of a workload's file"):
            accept(tmp_path, make_run(evil))


def test_a_new_version_starts_anew(tmp_path: Path) -> None:
    accept(tmp_path, run(curves=tuple(curve(seed) for seed in range(10))))
    accept(tmp_path, run(version=2))
    stored = baselines.load(tmp_path, run()).convergence["train/w/bn/x"]
    assert (stored.version, len(stored.curves)) == (2, 3)


def test_another_machine_has_no_timing_but_the_same_curves(tmp_path: Path) -> None:
    """Timings belong to one machine, and the reason says what differs; curves are portable."""
    accept(tmp_path, run())
    elsewhere = baselines.load(tmp_path, run(threads=2))
    assert elsewhere.timing == {}
    assert elsewhere.absence("timing", "op/a") == Absence(Cause.NO_TIMING_OF_MACHINE, ("threads 1, not 2",))
    assert "train/w/bn/x" in elsewhere.convergence


def test_runs_of_two_machines_are_not_accepted_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="threads 2, not 1"):
        accept(tmp_path, run(), run(threads=2))


def with_torch(one: Run, version: str) -> Run:
    packages = {**one.environment.packages, "torch": version}
    return one.model_copy(update={"environment": one.environment.model_copy(update={"packages": packages})})


def test_runs_of_two_releases_are_not_accepted_together(tmp_path: Path) -> None:
    """Nor would their drift be a machine's."""
    with pytest.raises(
        InputError, match=r"different releases \(torch 2\.14\.1 and 2\.13\.0\); accept one release's at"
    ):
        accept(tmp_path, run(), with_torch(run(1.1e-3), "2.13.0"))


def test_each_time_knows_its_release(tmp_path: Path) -> None:
    """What is accepted case by case need not be of one torch; what is asked of several then has no answer."""
    accept(tmp_path, with_torch(run(), "2.13.0"))
    accept(tmp_path, make_run(run().cases[0]))
    reference = baselines.load(tmp_path, run())
    assert reference.environment(["op/a"]) == "torch==2.14.1"
    assert reference.environment(["train/w/bn/x"]) == "torch==2.13.0"
    assert reference.environment(["op/a", "train/w/bn/x"]) is None
    assert reference.environment(["op/none"]) is None


def test_a_baseline_of_0_3_0_is_read(tmp_path: Path) -> None:
    """There all cases of a file were taken to be of one torch."""
    accept(tmp_path, run())
    (path,) = (tmp_path / "timing").iterdir()
    old = json.loads(path.read_text())
    old["schema"] = 1
    for case in old["cases"]:
        del case["torch"]
    path.write_text(json.dumps(old))
    assert baselines.load(tmp_path, run()).environment(["op/a", "train/w/bn/x"]) == "torch==2.14.1"


def test_times_that_were_spoilt_are_left_out(tmp_path: Path) -> None:
    """Those of the run they are of; a run that is named twice is still one."""
    runs = [run(1e-3), run(2e-3), run(1e-3)]
    _, files = accepting.accept(runs, tmp_path, what=BOTH, spoiled={(1, "op/a"), (1, "train/w/bn/x"), (0, "op/a")})
    accepting.write(files)
    stored = baselines.load(tmp_path, run()).timing
    assert "op/a" not in stored
    assert [len(one) for one in stored["train/w/bn/x"].runs] == [1]


def test_times_of_a_case_that_crashed_are_left_out(tmp_path: Path) -> None:
    """Also where another run has sound ones, and what is said is what is done."""
    crashed = result(
        "op/a", timings=(timing(2e-3),) * 2, outcomes={"timing": Outcome(status=Status.FAILED, reason="it died")}
    )
    assert (
        accept(tmp_path, make_run(crashed), run(1e-3), what=("timing",))[0] == "op/a timing: new: 3 launches of 1 run"
    )
    assert {one.median_s for launches in baselines.load(tmp_path, run()).timing["op/a"].runs for one in launches} == {
        1e-3
    }
    said = accept(tmp_path / "alone", make_run(crashed, *run().cases[1:]), what=("timing",))
    assert said[0] == "op/a timing: left out: broken, or not measured undisturbed"


def test_the_newest_version_counts_whatever_is_named_last(tmp_path: Path) -> None:
    accept(tmp_path, run(version=2), run(version=1), what=("timing",))
    assert baselines.load(tmp_path, run()).timing["train/w/bn/x"].version == 2


def test_curves_that_pass_in_the_run_they_are_of_are_kept(tmp_path: Path) -> None:
    """A full run that passes beside a quick one that can't tell leaves no mark."""
    accept(tmp_path, run())
    rounded = tuple(curve(seed, final=0.1001) for seed in range(3))
    few = run(curves=rounded[:2])
    said = accept(tmp_path, run(curves=rounded), few, keep=((0, "train/w/bn/x", "convergence"),), what=("convergence",))
    assert said == ["train/w/bn/x convergence: kept: the run passes against it"]
    assert baselines.load(tmp_path, run()).convergence["train/w/bn/x"].curves == CURVES


def test_a_baseline_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full at the second file the first is as it was, and nothing is left beside it."""
    accept(tmp_path, run())
    before = {path: path.read_text() for path in tmp_path.rglob("*.json*")}
    assert len(before) == 2
    written: list[int] = []

    def sync(handle: int) -> None:
        written.append(handle)
        if len(written) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("bnsuite.record.files.os.fsync", sync)
    with pytest.raises(InputError, match="No space left on device"):
        accept(tmp_path, run(2e-3, tuple(curve(seed, final=0.2) for seed in range(3))))
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_long_name_is_no_file_name(tmp_path: Path) -> None:
    """A processor of 100,000 letters has a name of its own all the same."""
    long = [run(), run()]
    for place, letter in enumerate("xy"):
        cpu = "x" * 100_000 + letter
        long[place] = long[place].model_copy(
            update={"environment": long[place].environment.model_copy(update={"cpu": cpu})}
        )
        accept(tmp_path, long[place])
    assert len(list((tmp_path / "timing").iterdir())) == 2


def test_runs_of_which_nothing_is_taken_are_not_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3 and a last line that says so where all was left out; 0 where the baseline is the same."""
    disturbed = make_run(result("op/a", timings=(timing(1e-3, cpu_share=0.5),) * 3))
    curves = make_run(result("train/w/bn/x", curves=CURVES))
    for name, one in (("disturbed", disturbed), ("curves", curves)):
        (tmp_path / name).mkdir()
        store.save(one, tmp_path / name)
    ours = ["--baselines", str(tmp_path / "baselines")]
    assert main(["accept", str(tmp_path / "disturbed"), *ours]) == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "nothing accepted: the baseline stays as it is; left out: 1 case, measure them again"
    assert not (tmp_path / "baselines").exists()
    again = ["accept", str(tmp_path / "curves"), *ours, "--only", "convergence"]
    assert [main(again), main(again)] == [0, 0]
    assert capsys.readouterr().out.splitlines()[-1] == "nothing accepted: the baseline stays as it is"


def test_what_measured_nothing_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no measurement"):
        accept(tmp_path, make_run(result("numerics/x/y")))
    changes, files = accepting.accept([make_run(result("op/a"))], tmp_path)
    assert ([change.measured for change in changes], files) == ([False], {})


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("timing", lambda _: "", "the file is empty"),
        ("timing", lambda text: text[:300], "not JSON, or cut off"),
        ("timing", lambda _: '{"schema": 1}', "lacks what schema 1 has ('origin'); restore it"),
        ("timing", lambda _: '{"schema": 1, "origin": {"packages": {}}, "cases": [1]}', "lacks what schema 1 has ("),
        ("timing", lambda text: text.replace('"schema": 2', '"schema": 7'), "has schema 7"),
        (
            "timing",
            lambda text: text.replace('"threads": 1', '"threads": 9'),
            "belongs to another machine (threads 9, not 1)",
        ),
        ("timing", lambda text: text.replace('"median_s": 0.001', '"median_s": "fast"'), "wrong field cases.0"),
        ("convergence", lambda _: "", "the line is empty"),
        ("convergence", lambda text: text[:-40], "line 3: not JSON, or cut off"),
        (
            "convergence",
            lambda text: text.replace('"early_loss":0.4', '"early_loss":"low"'),
            "wrong field curve.early_loss",
        ),
    ],
)
def test_a_broken_baseline_is_named(tmp_path: Path, name: str, spoil: Callable[[str], str], said: str) -> None:
    """One line with the file and the fix."""
    accept(tmp_path, run())
    (path,) = (tmp_path / name).iterdir()
    path.write_text(spoil(path.read_text()))
    with pytest.raises(InputError) as caught:
        baselines.load(tmp_path, run())
    assert said in str(caught.value)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_key_names_the_machine_and_not_the_subject() -> None:
    """torch may change under the same key, threads may not; the name can be read."""
    one = run()
    other_torch = one.model_copy(
        update={"environment": one.environment.model_copy(update={"packages": {"torch": "2.99"}, "python": "3.13.0"})}
    )
    assert machine_key(one) == machine_key(other_torch)
    assert machine_key(one) != machine_key(run(threads=2))
    assert machine_key(one).name.startswith("cpu-some-cpu-1-2-3-2-cores-1-threads-")


def on_gpu(*, torch_flags: dict[str, bool] | None = None, **facts: object) -> Run:
    """A run on a GPU of which the driver tells these facts."""
    known = {
        **dict.fromkeys(GpuFacts.model_fields),
        "uuid": "GPU-1",
        "mig_slice": False,
        "power_limit_w": 700.0,
        **facts,
    }
    gpu = Gpu(
        name="H", count=1, capability="9.0", memory_total_bytes=1, driver="580.1", nvml=GpuFacts.model_validate(known)
    )
    one = run()
    changed = {"gpu": gpu, "flags": torch_flags or one.environment.flags}
    return one.model_copy(update={"device": "cuda:0", "environment": one.environment.model_copy(update=changed)})


@pytest.mark.parametrize(
    "facts", [{"ecc": False}, {"persistence": True}, {"compute_mode": 3}, {"sm_clock_mhz_set": 1200}]
)
def test_what_changes_a_gpus_times_is_part_of_its_key(facts: dict[str, object]) -> None:
    """Modes and set clocks; neither the place of the GPU in its machine nor a flag that only newer releases have."""
    assert machine_key(on_gpu(**facts)) != machine_key(on_gpu())
    assert machine_key(on_gpu(pci_address="0000:3b:00.0", cores=(0, 1))) == machine_key(on_gpu())
    flags = {**run().environment.flags, "matmul_fp16_accumulation": False}
    assert machine_key(on_gpu(torch_flags=flags)) == machine_key(on_gpu())


@pytest.mark.parametrize(("limit_w", "same"), [(700.0, True), (699.996, True), (705.5, True), (650.0, False)])
def test_a_power_limit_that_hardly_differs_is_the_same(tmp_path: Path, *, limit_w: float, same: bool) -> None:
    """Boards tell 699.996 W for 700; the accepted times are found across a step of the file's name."""
    accept(tmp_path, on_gpu())
    found = baselines.load(tmp_path, on_gpu(power_limit_w=limit_w))
    assert bool(found.timing) is same


def test_the_committed_baselines_can_be_read() -> None:
    """Every file in baselines/ is valid; every training that a CPU can carry has ten accepted seeds."""
    from bnsuite.cases import all_cases

    reference = baselines.load(ROOT / "baselines", run())
    versions = {case.id: case.version for case in all_cases() if "convergence" in case.gates}
    accepted = {name: one.version for name, one in reference.convergence.items()}
    assert accepted.items() <= versions.items()
    on_request = {case.id for case in all_cases() if case.gpu_only or "keras" in case.packages}
    assert versions.keys() - accepted.keys() <= on_request
    assert {len(one.curves) for one in reference.convergence.values()} == {10}
    for path in (ROOT / "baselines" / "timing").glob("*.json"):
        file = baselines.parse(baselines.TimingFile, path.read_text(), path)
        assert path.stem == file.machine.name
        assert {one.id for one in file.cases} <= {case.id for case in all_cases()}
