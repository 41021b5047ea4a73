"""Runs on disk: what is saved is loaded, and what is broken is named in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bnsuite.record import details, store
from bnsuite.record.errors import InputError
from bnsuite.record.gpu import GpuFacts
from bnsuite.record.key import machine_key
from bnsuite.record.recorder import Recorder
from bnsuite.record.schema import Curve, Memory, Observation, Run, Status, Value
from conftest import curve, detail, make_run, result, timing

RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1.1e-3))),
    result("train/w/bn/x", timings=(timing(1e-2),), curves=(curve(0), curve(1))),
)


def broken(**change: object) -> str:
    plain = RUN.model_dump(mode="json", by_alias=True)
    return json.dumps({**plain, **change})


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every sample to the last bit, from the folder as from the file."""
    store.save(RUN, tmp_path)
    assert store.load(tmp_path) == RUN
    assert store.load(tmp_path / "run.json") == RUN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("torch went here", "not JSON, or cut off"),
        (broken()[:400], "not JSON, or cut off"),
        ("[1, 2]", 'it has no whole number under "schema"'),
        ("{}", 'it has no whole number under "schema"'),
        (broken(schema="1"), 'it has no whole number under "schema"'),
        (broken(schema=99), "has schema 99, this bnsuite reads up to 6; use a newer bnsuite"),
        (broken(schema=0), "has schema 0, which no bnsuite has written"),
        (broken(wall_s="42"), "wrong field wall_s"),
        (broken(cases=None), "wrong field cases"),
        (broken(surprise=1), "wrong field surprise"),
        (broken(wall_s=float("nan")), "wrong field wall_s"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, text: str, said: str) -> None:
    """One line with the file, the cause and the mend; never a traceback, never a guess."""
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        store.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_case_stands_there_once(tmp_path: Path) -> None:
    plain = RUN.model_dump(mode="json", by_alias=True)
    plain["cases"].append(plain["cases"][0])
    (tmp_path / "run.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="a case stands there twice"):
        store.load(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("samples_s", [1e308]), ("samples_s", [5e-324]), ("iterations", 0)])
def test_numbers_that_are_no_measurement_are_refused(tmp_path: Path, field: str, value: object) -> None:
    plain = RUN.model_dump(mode="json", by_alias=True)
    plain["cases"][0]["timings"][0][field] = value
    (tmp_path / "run.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match=rf"wrong field cases\.0\.timings\.0\.{field}"):
        store.load(tmp_path)


def test_a_pipe_is_no_run(tmp_path: Path) -> None:
    """It might never end."""
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(InputError, match="it is not a regular file"):
        store.load(tmp_path)


def test_a_negative_time_is_refused(tmp_path: Path) -> None:
    """A time under zero is a broken measurement, wherever it comes from; the line says which sample."""
    plain = RUN.model_dump(mode="json", by_alias=True)
    plain["cases"][0]["timings"][1]["samples_s"][2] = -1e-3
    (tmp_path / "run.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"cases\.0\.timings\.1\.samples_s\.2"):
        store.load(tmp_path)


def test_binary_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is not text"):
        store.load(tmp_path)
    with pytest.raises(InputError, match="there is no run there"):
        store.load(tmp_path / "nowhere")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between two saves loses the newer, never both."""
    store.save(RUN, tmp_path)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bnsuite.record.files.os.fsync", fail)
    with pytest.raises(InputError, match="No space left on device; free some space"):
        store.save(make_run(), tmp_path)
    assert store.load(tmp_path) == RUN
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_every_result_is_on_disk_at_once(tmp_path: Path) -> None:
    """The recorder saves after each change, once it has begun; a failure keeps what was measured before it."""
    planned = make_run(result("op/a"), result("train/w/bn/x"), finished=False)
    recorder = Recorder(planned, tmp_path, began=0.0)
    recorder.skip("op/none", "nothing is written before it begins")
    assert not list(tmp_path.iterdir())
    recorder.begin()

    def on_disk() -> Run:
        return store.load(tmp_path)

    recorder.add_timing("op/a", timing(1e-3))
    assert len(on_disk().cases[0].timings) == 1
    recorder.add_curve("train/w/bn/x", curve(1), detail(1))
    recorder.add_curve("train/w/bn/x", curve(0), detail(0))
    assert [one.seed for one in on_disk().cases[1].curves] == [0, 1]
    assert [one.seed for one in details.load(tmp_path)["train/w/bn/x"]] == [0, 1]
    recorder.fail("op/a", "timing", "it broke")
    assert on_disk().cases[0].outcomes["timing"].status is Status.FAILED
    assert len(on_disk().cases[0].timings) == 1
    assert recorder.ids("timing") == ["train/w/bn/x"]
    recorder.skip("train/w/bn/x", "no GPU")
    recorder.end()
    assert {gate: one.status for gate, one in on_disk().cases[1].outcomes.items()} == {
        "timing": Status.SKIPPED,
        "convergence": Status.MEASURED,
    }
    assert recorder.ids("timing") == []
    recorder.end()
    assert on_disk().finished


@pytest.mark.parametrize(("gate", "other"), [("timing", "convergence"), ("convergence", "timing")])
def test_what_is_skipped_after_it_was_measured_has_failed(tmp_path: Path, gate: str, other: str) -> None:
    """A layer that refuses one seed, or one launch, of several passes for nothing; what another gate saw stays."""
    recorder = Recorder(make_run(result("train/w/bn/x"), finished=False), tmp_path, began=0.0)
    add = {
        "timing": lambda: recorder.add_timing("train/w/bn/x", timing(1e-3)),
        "convergence": lambda: recorder.add_curve("train/w/bn/x", curve(0), detail(0)),
    }
    add[gate]()
    recorder.skip("train/w/bn/x", "not for this seed", gate)
    outcomes = recorder.run.cases[0].outcomes
    assert outcomes[gate].status is Status.FAILED
    assert outcomes[gate].reason == "not for this seed, though it was measured before"
    assert outcomes[other].status is Status.SKIPPED
    assert "train/w/bn/x" not in recorder.ids(gate)


@pytest.mark.parametrize("launches", [0, 1])
def test_what_a_launch_told_of_memory_outlives_a_later_crash(tmp_path: Path, launches: int) -> None:
    """A regression found is never hidden by a later crash; without a launch there is nothing to judge."""
    recorder = Recorder(make_run(result("memory/a"), finished=False), tmp_path, began=0.0)
    for _ in range(launches):
        recorder.add_timing("memory/a", timing(1e-3))
    recorder.fail("memory/a", "timing", "it died")
    outcomes = {gate: one.status for gate, one in recorder.run.cases[0].outcomes.items()}
    assert outcomes == {"timing": Status.FAILED, "memory": Status.MEASURED if launches else Status.FAILED}


def test_a_comparison_is_no_run(tmp_path: Path) -> None:
    """It is told which of its folders are."""
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        store.save(RUN, tmp_path / side)
    with pytest.raises(
        InputError, match=r"is a comparison, which `bnsuite show` prints; name a run .* its sides, .*/a and .*/b\)$"
    ):
        store.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Memory, '{"allocated_peak_bytes": 1' + 400 * "0" + "}"),
        (Observation, '{"what": "error", "value": 1e308}'),
        (Curve, '{"seed": 0, "train_loss": [1e200], "val_loss": [1, 1], "val_accuracy": [], "early_loss": 1}'),
    ],
)
def test_what_could_not_be_reckoned_with_is_refused(kind: type[Value], text: str) -> None:
    """A number that overflows in a verdict costs the message it came in, not every verdict."""
    with pytest.raises(ValidationError, match="Input should be less than"):
        kind.model_validate_json(text)


def as_schema_3() -> dict[str, Any]:
    """RUN as 0.3.0 wrote it: with other names for options, isolation and what only a GPU has, and without labels."""
    old: dict[str, Any] = json.loads(RUN.model_dump_json(by_alias=True))
    old["schema"] = 3
    old["asked"], old["quiet"] = old.pop("options"), old.pop("isolation")
    del old["quiet"]["not_applied"], old["kind"], old["side"], old["injected"]
    for one in old["cases"]:
        del one["case"]["kind"], one["case"]["labels"]
        one["case"]["cuda_only"] = one["case"].pop("gpu_only")
    return old


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_a_run_of_an_older_schema_is_read(tmp_path: Path, schema: int) -> None:
    """As 0.1.0 to 0.3.0 wrote it: without labels; before, no checks, ratios or implementation; at first, no needs."""
    old = as_schema_3()
    old["schema"] = schema
    for one in old["cases"] if schema < 3 else ():
        del one["observations"]
        later = ("rule", "threads", "bounds", "limit_s")
        for field in (*later, *(("cuda_only", "lacks", "to_download") if schema == 1 else ())):
            del one["case"][field]
        for launch in one["timings"]:
            del launch["gpu"], launch["examples"]
    if schema < 3:
        del old["asked"]["implementation"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert store.load(tmp_path) == RUN


#: A GPU as schema 3 has it, with NVML's facts twice: in short where torch told its UUID, and in full.
FULL = {
    **dict.fromkeys(("cuda", "ecc", "pcie_generation", "pcie_generation_max", "pcie_width", "pcie_width_max")),
    **dict.fromkeys(("sm_clock_mhz_max", "memory_clock_mhz_max")),
    "name": "NVIDIA X",
    "uuid": "MIG-1",
    "driver": "580.1",
    "mig": True,
    "mig_slice": True,
    "power_limit_w": 700.0,
    "memory_total_bytes": 10,
}
SHORT = {name: FULL[name] for name in ("name", "uuid", "mig", "power_limit_w", "memory_total_bytes")}


@pytest.mark.parametrize("details", [FULL, None])
@pytest.mark.parametrize("short", [SHORT, None])
def test_the_two_records_of_a_gpu_become_one(
    tmp_path: Path, short: dict[str, object] | None, details: dict[str, object] | None
) -> None:
    """Schema 3 knew less of a GPU where torch told no UUID, so that it had two machine keys: now it has one."""
    old = as_schema_3()
    known = {"name": "NVIDIA X", "count": 1, "capability": "9.0", "memory_total_bytes": 10, "driver": "580.1"}
    old["environment"]["gpu"] = {**known, "nvml": short, "details": details}
    (tmp_path / "run.json").write_text(json.dumps(old))
    run = store.load(tmp_path)
    assert run.environment.gpu is not None
    told = short is not None or details is not None
    assert run.environment.gpu.nvml == (GpuFacts.model_validate(FULL) if told else None)
    key = machine_key(run)
    assert (key.mig, key.power_limit_w) == ((True, 700.0) if told else (None, None))
