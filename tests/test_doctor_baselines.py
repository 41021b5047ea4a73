"""The checks of accepted times: none for this machine, made with another torch, or old."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bnsuite.doctor import baselines
from bnsuite.doctor.host import DoctorRequest, Host, TorchPackage
from bnsuite.launch.process.messages import GpuAnswer, GpuCondition
from bnsuite.measure import environment
from bnsuite.record.baselines import Origin, TimingFile
from bnsuite.record.key import MachineKey
from fake_host import fake_host, look, put, shown

CPUINFO = (
    "processor : 0\ncpu family : 6\nmodel : 7\nmodel name : Some CPU\nstepping : 1\nflags : fpu\n\nprocessor : 1\n"
)
MACHINE = MachineKey(
    device="cpu",
    cpu="Some CPU (6/7/1)",
    cores_given=2,
    threads=1,
    gpu=None,
    gpu_count=None,
    mig=None,
    power_limit_w=None,
    driver_major=None,
    flags={},
)


def accepted(folder: Path, machine: MachineKey = MACHINE, torch: str = "2.14.1", day: str = "2026-11-20") -> None:
    """Write a timing baseline."""
    file = TimingFile(
        schema=TimingFile.SCHEMA,
        machine=machine,
        origin=Origin(
            bnsuite="0.4.0",
            revision=None,
            started=f"{day}T00:00:00+00:00",
            python="3.12",
            packages={"torch": torch},
            cuda=None,
            cudnn=None,
        ),
        cases=(),
    )
    put(folder, {f"timing/{machine.name}.json": file.model_dump_json(by_alias=True)})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine with one kind of processor."""
    return fake_host(tmp_path / "root", {"proc/cpuinfo": CPUINFO})


def test_a_machine_with_fresh_times_is_fine(tmp_path: Path, host: Host) -> None:
    """Of the same processor, cores and threads; a build's suffix does not make another release of torch."""
    accepted(tmp_path / "b")
    request = DoctorRequest(baselines=tmp_path / "b")
    found = look(baselines.SUBJECT, host, request, torch=lambda: TorchPackage("2.14.1+cu130", "13.0"))
    assert [shown(one) for one in found.values()] == [
        f"ok: {tmp_path}/b has times of this machine",
        "ok: accepted with torch 2.14.1, torch 2.14.1 is installed",
        "ok: accepted 8 days ago",
    ]


def test_other_torch_and_age_are_told(tmp_path: Path, host: Host) -> None:
    """Which of the two is stale, each by itself."""
    accepted(tmp_path / "b", torch="2.13.0", day="2026-01-01")
    found = look(baselines.SUBJECT, host, DoctorRequest(baselines=tmp_path / "b"))
    assert shown(found["baseline-torch"]) == "disturbs: accepted with torch 2.13.0, torch 2.14.1 is installed"
    assert shown(found["baseline-age"]) == "disturbs: accepted 331 days ago"


@pytest.mark.parametrize(
    "change", [{"cpu": "Other CPU"}, {"cores_given": 8}, {"threads": 2}, {"device": "cuda", "gpu": "G"}]
)
def test_times_of_another_machine_are_none(tmp_path: Path, host: Host, change: dict[str, object]) -> None:
    """As a run would not be judged by them."""
    accepted(tmp_path / "b", MACHINE.model_copy(update=change))
    found = look(baselines.SUBJECT, host, DoctorRequest(baselines=tmp_path / "b"))
    assert shown(found["baseline"]) == f"disturbs: {tmp_path}/b has no times of this machine, and of 1 other"
    assert shown(found["baseline-age"]) == "not-applicable: no times of this machine"


def test_a_gpu_has_times_of_its_own(tmp_path: Path, host: Host) -> None:
    """They go by its name, and those of the CPU do not stand in for them."""
    request = DoctorRequest(device="cuda", baselines=tmp_path / "b")
    accepted(tmp_path / "b")
    assert look(baselines.SUBJECT, host, request)["baseline"].state.value == "ok"  # none answers: gpu-driver says so
    assert look(baselines.SUBJECT, host, request, gpu=lambda _: GPU)["baseline"].state.value == "disturbs"
    accepted(tmp_path / "b", MACHINE.model_copy(update={"device": "cuda", "gpu": "Stub"}))
    assert look(baselines.SUBJECT, host, request, gpu=lambda _: GPU)["baseline"].state.value == "ok"


#: A GPU of which the driver says nothing but its name.
GPU = GpuAnswer(
    driver="580",
    cuda="13.0",
    count=1,
    trouble=None,
    gpu=GpuCondition(**{**dict.fromkeys(GpuCondition.model_fields), "name": "Stub", "uuid": "G", "mig_slice": False}),
)


def test_no_folder_and_a_damaged_file_are_one_line(tmp_path: Path, host: Host) -> None:
    """The first has nothing, the second may hold what is needed."""
    missing = look(baselines.SUBJECT, host, DoctorRequest(baselines=tmp_path / "none"))["baseline"]
    assert shown(missing) == f"disturbs: there is no folder {tmp_path}/none"
    put(tmp_path / "b", {"timing/a.json": '{"schema": 99, "x": "\\u001b[31m"}'})
    damaged = look(baselines.SUBJECT, host, DoctorRequest(baselines=tmp_path / "b"))["baseline"]
    assert shown(damaged).startswith(f"disturbs: {tmp_path}/b/timing/a.json: has schema 99, this bnsuite reads up to")


def test_the_processor_has_the_name_that_a_measured_process_gives_it() -> None:
    """Both halves read the same file in the same way."""
    assert baselines.processor(Host()) == environment._processor()


def test_a_processor_without_a_name_is_no_machine(tmp_path: Path) -> None:
    """Nothing is compared with a guess."""
    accepted(tmp_path / "b")
    nameless = replace(fake_host(tmp_path / "root", {"proc/cpuinfo": "x"}))
    assert (
        look(baselines.SUBJECT, nameless, DoctorRequest(baselines=tmp_path / "b"))["baseline"].state.value == "disturbs"
    )
