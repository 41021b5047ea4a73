"""The launches of a comparison: every round is kept, lost launches are counted, and the budget is kept to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import pytest

from bnsuite.launch.interleaved.launches import InterleavedLaunches, LostLaunchError
from bnsuite.launch.interleaved.sides import PreparedPair
from bnsuite.launch.process import isolation
from bnsuite.record import interleaved
from bnsuite.record.errors import InputError
from bnsuite.record.gpu import GpuFacts
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Status
from bnsuite.record.store import parse
from conftest import result, watched
from fake_environment import DeathError, FakeEnvironment, begun, paired, replies


def launches_of(pair: PreparedPair, folder: Path, **more: Any) -> InterleavedLaunches:
    options = {"seed": 1, "most_launches": 18, "budget_s": None, "injected": {}, **more}
    return InterleavedLaunches(pair, folder, **options)


def rising() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a reply to "time_block" whose rounds all differ."""
    number = iter(range(1, 1_000_000))
    return lambda request: {"samples_s": [next(number) * 1e-6 for _ in range(request["rounds"])], "cpu_share": 1.0}


def test_every_round_is_kept(tmp_path: Path) -> None:
    """In the times by block, in both runs one sample per round, and the value of a block is its median."""
    quick = {"build": lambda _: {"step_s": 1e-2, "cold": False, "examples": None, "skipped": None}}
    a, b = FakeEnvironment("A", time_block=rising(), **quick), FakeEnvironment("B", time_block=rising(), **quick)
    with paired(a, b, tmp_path) as both:
        pair = begun(both)
        launches_of(pair, tmp_path).launch(["op/a"])
    times = interleaved.load(tmp_path)
    (launch,) = next(one for one in times.cases if one.id == "op/a").launches
    assert {len(block) for block in launch.a_rounds_s} == {launch.rounds}
    assert launch.a_s == tuple(median(block) for block in launch.a_rounds_s)
    (timing,) = next(case for case in pair.a.run.cases if case.id == "op/a").timings
    assert timing.samples_s == tuple(sample for block in launch.a_rounds_s for sample in block)
    assert times.variables == {key: {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} for key in "ab"}


def test_older_times_are_read(tmp_path: Path) -> None:
    """Of schema 1, which kept the medians: each is a block of one round."""
    old = {
        "schema": 1, "a": "A", "b": "B", "seed": 1, "most_launches": 4, "budget_s": None,
        "variables": {"GLIBC_TUNABLES": "x"}, "plant": {"slower": 0.1},
        "cases": [{"id": "op/a", "launches": [{
            "a_s": [1.0, 2.0], "b_s": [3.0, 4.0], "a_first": [True, False], "layouts": [0, 0], "a_shares": [1.0, 1.0],
            "b_shares": [1.0, 1.0], "iterations": 1, "rounds": 10, "confirms": False, "disturbed": None,
        }]}],
    }  # fmt: skip
    times = parse(InterleavedTimes, json.dumps(old), tmp_path)
    (launch,) = times.cases[0].launches
    assert (launch.a_s, launch.b_rounds_s) == ((1.0, 2.0), ((3.0,), (4.0,)))
    assert (times.injected, times.variables["b"]) == ({"slower": 0.1}, {"GLIBC_TUNABLES": "x"})


def catalogue(**ranks: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a reply to "catalogue" with layers by their letters, each with so many ranks."""
    cases = [result(f"op/{letter}").case.model_copy(update={"ranks": number}) for letter, number in ranks.items()]
    return lambda _: {"refused": None, "cases": [case.model_dump(mode="json") for case in cases]}


def test_steps_of_several_ranks_are_timed_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In every launch; the others come in the order that they have without them being several, confirmed ones first."""
    monkeypatch.setattr(isolation, "cores", lambda: [0, 1])

    def orders(confirming: set[str], **ranks: int) -> list[list[str]]:
        a, b = (FakeEnvironment(name, catalogue=catalogue(**ranks)) for name in "AB")
        found = []
        with paired(a, b, tmp_path) as both:
            launches = launches_of(begun(both), tmp_path)
            for launches.begun in range(8):
                found.append(launches._in_order([f"op/{letter}" for letter in ranks], confirming))
        return found

    plain, several = orders(set(), a=1, b=1, c=1, d=1), orders(set(), a=1, b=2, c=1, d=1)
    assert len(set(map(tuple, plain))) > 1
    for one, other in zip(plain, several, strict=True):
        assert other == [*(name for name in one if name != "op/b"), "op/b"]
    for order in orders({"op/b", "op/c"}, a=1, b=2, c=1, d=2):
        assert order == ["op/c", "op/b", "op/a", "op/d"]


def test_ranks_that_one_side_has_no_gpus_for_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other side says why; what both can time is timed."""
    monkeypatch.setattr(isolation, "cores", lambda: [0, 1, 2, 3])
    a, b = (
        FakeEnvironment(name, environment=gpu_side(count=count), catalogue=catalogue(a=1, b=2))
        for name, count in (("A", 1), ("B", 2))
    )
    with paired(a, b, tmp_path) as both:
        pair = both.prepare()
    outcomes = {case.id: case.outcomes["timing"] for case in pair.b.run.cases}
    assert outcomes["op/a"].status is Status.PENDING
    assert outcomes["op/b"].status is Status.SKIPPED
    assert outcomes["op/b"].reason == "A is shown too few GPUs for its ranks"


@pytest.mark.parametrize("request_name", ["prepare", "time_block"])
def test_a_lost_launch_names_its_side_and_is_counted(tmp_path: Path, request_name: str) -> None:
    """If a side dies before the first case, whether as it warms up or in a control."""

    def dies(_: dict[str, Any]) -> dict[str, Any]:
        raise DeathError("the process ended with status 5")

    with paired(FakeEnvironment("A"), FakeEnvironment("B", **{request_name: dies}), tmp_path) as both:
        launches = launches_of(begun(both), tmp_path)
        with pytest.raises(LostLaunchError, match=r"^B: the process ended with status 5") as caught:
            launches.launch(["op/a"])
    assert caught.value.side == "B"
    assert (launches.begun, launches.lost, launches.counted) == (1, 1, 0)


def test_a_case_that_fails_costs_only_itself(tmp_path: Path) -> None:
    """Both sides get fresh processes for the other cases, and the launch counts."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        if request["case"] == "op/a":
            raise DeathError("the process was ended by SIGSEGV")
        return {"step_s": 0.2, "cold": False, "examples": None, "skipped": None}

    a, b = FakeEnvironment("A"), FakeEnvironment("B", build=reply)
    with paired(a, b, tmp_path) as both:
        pair = begun(both)
        launches = launches_of(pair, tmp_path)
        launches.launch(["op/a", "op/b"])
    for side in pair.sides:
        outcomes = {case.id: case.outcomes["timing"] for case in side.run.cases if "timing" in case.outcomes}
        assert outcomes["op/a"].reason == "B: the process was ended by SIGSEGV"
        assert outcomes["op/b"].status is Status.MEASURED
    assert (launches.lost, launches.counted) == (0, 1)
    assert (a.started["a-launch"], b.started["b-launch"]) == (2, 2)


def test_rounds_that_are_missing_are_refused(tmp_path: Path) -> None:
    """A side that sends fewer than it was asked for is named, with both numbers."""
    fewer = {"build": lambda _: {"step_s": 1e-3, "cold": False, "examples": None, "skipped": None}}
    short = FakeEnvironment("B", time_block=lambda _: {"samples_s": [1e-3], "cpu_share": 1.0}, **fewer)
    with paired(FakeEnvironment("A", **fewer), short, tmp_path) as both:
        launches = launches_of(begun(both), tmp_path)
        with pytest.raises(LostLaunchError, match=r"^B: sent 1 rounds of a block, was asked for 3 \(control/copy\)"):
            launches.launch(["op/a"])


def test_a_step_longer_than_was_said_keeps_to_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is looked at within a case; a case that was not timed to its end is recorded nowhere."""
    clock = [monotonic()]
    for module in ("blocks", "launches"):
        monkeypatch.setattr(f"bnsuite.launch.interleaved.{module}.monotonic", lambda: clock[0])
    blocks = []

    def slow(request: dict[str, Any]) -> dict[str, Any]:
        blocks.append(request)
        clock[0] += 1.0
        return {"samples_s": [1e-5] * request["rounds"], "cpu_share": 1.0}

    def move(_: dict[str, Any]) -> dict[str, Any]:
        clock[0] += 0.01
        return {}

    said = {"build": lambda _: {"step_s": 1e-3, "cold": False, "examples": None, "skipped": None}, "rebuild": move}
    a, b = FakeEnvironment("A", time_block=slow, **said), FakeEnvironment("B", **said)
    with paired(a, b, tmp_path) as both:
        pair = begun(both)
        launches = launches_of(pair, tmp_path, budget_s=200.0)
        launches.launch(["op/a"], deadline=clock[0] + 200.0)
    assert [one.id for one in launches.times.cases if not one.id.startswith("control/")] == []
    assert launches.counted == 0
    assert len(blocks) < 250


def test_both_sides_share_one_copy_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set that both need is made once."""
    from bnsuite.launch import datasets
    from conftest import result
    from fake_environment import PLANNED

    made: list[list[str]] = []
    monkeypatch.setattr(datasets, "ask_stage", lambda names, *_: made.append(list(names)) or {})
    case = result("op/e").case.model_copy(update={"dataset": "synthetic"})
    cases = [*(one.case for one in PLANNED), case]
    catalogue = {"catalogue": lambda _: {"refused": None, "cases": [one.model_dump(mode="json") for one in cases]}}
    with paired(FakeEnvironment("A", **catalogue), FakeEnvironment("B", **catalogue), tmp_path) as both:
        both.prepare()
    assert made == [["synthetic"]]


def gpu_side(
    uuid: str | None = "GPU-1", device: str = "cuda:0", cores: tuple[int, ...] = (), count: int = 1, **more: Any
) -> Any:
    """Returns a reply to "environment" of a GPU, one of `count`."""
    facts = {**dict.fromkeys(GpuFacts.model_fields), "uuid": uuid, "mig_slice": False, "cores": list(cores), **more}
    gpu = {
        "name": "G", "count": count, "capability": "9.0", "memory_total_bytes": 1, "driver": None,
        "nvml": facts if uuid else None,
    }  # fmt: skip
    usual = replies()["environment"]({})
    answer = {**usual, "device": device, "environment": {**usual["environment"], "gpu": gpu}}
    return lambda _: answer


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (gpu_side(), gpu_side(), None),
        (gpu_side(device="cuda:1"), gpu_side(), None),  # one GPU by two numbers
        (gpu_side(), gpu_side("GPU-2"), r"A has cuda:0 \(GPU-1\), B has cuda:0 \(GPU-2\)\); show both the same"),
        (gpu_side(None), gpu_side(None), None),
        (gpu_side(None), gpu_side(None, "cuda:1"), "A has cuda:0, B has cuda:1"),
        (gpu_side(compute_mode=3), gpu_side(compute_mode=3), "exclusive-process mode.*nvidia-smi -i GPU-1 -c DEFAULT"),
    ],
)
def test_two_sides_measure_one_gpu_by_its_uuid(tmp_path: Path, a: Any, b: Any, said: str | None) -> None:
    """The number of a GPU depends on what a side is shown; one that takes a single process can't be compared on."""
    sides = FakeEnvironment("A", environment=a), FakeEnvironment("B", environment=b)
    with paired(*sides, tmp_path) as both:
        if said is None:
            both.prepare()
        else:
            with pytest.raises(InputError, match=said):
                both.prepare()


def watch(own: int | None, ids: tuple[int, ...], active: int, foreign: int = 2) -> dict[str, Any]:
    """Returns what one side's GPU went through, as JSON."""
    more = {"foreign_active": active, "foreign_ids": ids, "own_id": own, "busy_before_percent": 90}
    return watched(foreign, **more, blind=("own-hidden",) if own is None else ()).model_dump(mode="json")


@pytest.mark.parametrize(
    ("a", "b", "disturbed"),
    [
        (watch(1, (2,), 1, 1), watch(2, (1,), 1, 1), False),  # each sees the other
        (watch(1, (2, 3), 2), watch(2, (1, 3), 2), True),  # and a third one
        (watch(1, (3,), 1), watch(2, (3,), 1), True),  # the partner was idle whenever it was looked at
        (watch(1, (2,), 1, 1), watch(None, (1,), 1, 1), False),  # B can't find itself
        (watch(None, (), 1, 1), watch(None, (), 1, 1), False),
        (watch(None, (), 2), watch(None, (), 2), True),
    ],
)
def test_the_partner_is_no_stranger(tmp_path: Path, a: Any, b: Any, *, disturbed: bool) -> None:
    """The other side's process works on the same GPU; whoever else works there disturbs the launch."""
    sides = [
        FakeEnvironment(name, environment=gpu_side(), release=lambda _, gpu=gpu: {"gpu": gpu})
        for name, gpu in (("A", a), ("B", b))
    ]
    with paired(sides[0], sides[1], tmp_path) as both:
        launches_of(begun(both), tmp_path).launch(["op/a"])
    (launch,) = next(one for one in interleaved.load(tmp_path).cases if one.id == "op/a").launches
    assert (launch.disturbed == "another process was on the GPU") is disturbed
    assert disturbed or launch.disturbed is None
