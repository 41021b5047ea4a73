"""The layers that differ between a run and its reference, or between two sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bnsuite.judge.layers import between, since
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import Finding, LayerChange, Verdict
from bnsuite.record.reference import LaunchValue, Reference, TimingReference
from bnsuite.record.schema import Run
from conftest import make_run, result

if TYPE_CHECKING:
    from pydantic import JsonValue

BASE = make_run(result("op/x"))


def run(**fields: Any) -> Run:
    return BASE.model_copy(update={"environment": BASE.environment.model_copy(update=fields)})


def names(*changes: LayerChange) -> list[str]:
    return [one.layer for one in changes]


def test_nothing_differs_from_itself() -> None:
    """Two runs in one environment, and a run held against its own record, differ in no layer."""
    assert between(BASE, run()) == ()
    recorded = BASE.environment.model_dump(mode="json")
    assert since(Reference(name="b", recorded=recorded), BASE) == ()


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"packages": {"torch": "2.15.0"}}, ("torch", "2.14.1", "2.15.0")),
        ({"python": "3.13.0"}, ("Python", "3.12.1", "3.13.0")),
        ({"cpu": "Other"}, ("CPU", "Some CPU (1/2/3)", "Other")),
        ({"cpu_capability": "AVX512"}, ("CPU", "AVX2", "AVX512")),
        ({"libc": "glibc 2.39"}, ("C library", "glibc 2.36", "glibc 2.39")),
        ({"variables": {"OMP_WAIT_POLICY": "active"}}, ("settings", "OMP_WAIT_POLICY none", "OMP_WAIT_POLICY active")),
        ({"flags": {"cudnn_enabled": False}}, ("settings", "cudnn_enabled True", "cudnn_enabled False")),
        ({"threads": 2}, ("threads", "1", "2")),
    ],
)
def test_each_layer_is_named_with_both_values(fields: dict[str, Any], change: tuple[str, str, str]) -> None:
    """One fact that differs is one layer."""
    found = between(BASE, run(**fields))
    assert [(one.layer, one.before, one.now) for one in found] == [change]


def test_builds_differ_by_themselves_or_with_torch() -> None:
    """oneDNN and Triton come with a release; of one release another build of them is a layer, as is a runtime."""
    old = {"oneDNN": "3.11", "OpenMP runtime": "libgomp.so.1"}
    new = {"oneDNN": "3.12", "OpenMP runtime": "libiomp5.so"}
    a = run(builds=old, packages={"torch": "2.14.1", "triton": "3.8.0", "numpy": "2.2"})
    of_one_release = run(builds=new, packages={"torch": "2.14.1", "triton": "3.8.0", "numpy": "2.2"})
    of_another = run(builds=new, packages={"torch": "2.15.0", "triton": "3.9.0", "numpy": "2.2"})
    assert names(*between(a, of_one_release)) == ["torch's build", "OpenMP runtime"]
    assert names(*between(a, of_another)) == ["torch", "OpenMP runtime"]


def test_what_is_missing_or_a_tool_is_no_layer() -> None:
    """Packages of one side, tools, and flags that only a newer release has say nothing of a cause."""
    a = run(packages={"torch": "2.14.1", "pytest": "8", "numpy": "2.2"}, flags={"old": True})
    b = run(packages={"torch": "2.14.1", "pytest": "9"}, flags={"new": True}, builds={"oneDNN": "3.12"})
    assert between(a, b) == ()


def test_cuda_is_no_layer_of_a_cpu() -> None:
    """A build for GPUs differs from one for CPUs in its CUDA; on a CPU that is no other layer."""
    assert between(run(cuda="12.8", cudnn=1), run(cuda="13.0", cudnn=2)) == ()
    a, b = (one.model_copy(update={"device": "cuda:0"}) for one in (run(cuda="12.8"), run(cuda="13.0")))
    assert names(*between(a, b)) == ["CUDA"]


def test_an_image_is_a_layer_where_nothing_else_is_known() -> None:
    """Its base stands for all that is in it."""
    a, b = ({"base": f"trainer:{name}"} for name in ("old", "new"))
    one, other = (
        Run.model_validate_json(
            BASE.model_copy(
                update={
                    "environment": BASE.environment.model_validate({**BASE.environment.model_dump(), "image": image})
                }
            ).model_dump_json(by_alias=True)
        )
        for image in (a, b)
    )
    assert names(*between(one, other)) == ["base image"]


def test_an_injected_fault_is_a_layer() -> None:
    """A trial of the method knows its cause."""
    assert names(*between(BASE, BASE.model_copy(update={"injected": {"slower": 0.03}}))) == ["injected fault"]


def test_the_release_is_that_of_the_cases_that_changed() -> None:
    """A file of baselines may have cases of several releases, accepted one by one."""
    recorded: dict[str, JsonValue] = {"python": "3.11.7", "packages": {"torch": "2.14.1", "numpy": "2.2"}}
    launches = ((LaunchValue(median_s=1.0, controls_s={"copy": 1.0}),),)
    stored = {
        name: TimingReference(id=name, version=1, profiles=("quick",), torch=torch, runs=launches)
        for name, torch in (("op/x", "2.13.0"), ("op/y", "2.12.0"))
    }
    reference = Reference(name="b", recorded=recorded, timing=stored)
    worse = Finding(case="op/x", gate="timing", verdict=Verdict.REGRESSED, reason=because("slow"))
    found = since(reference, BASE, [worse, worse.model_copy(update={"case": "op/y", "verdict": Verdict.PASS})])
    assert [(one.layer, one.before) for one in found] == [("torch", "2.13.0"), ("Python", "3.11.7")]


def test_another_batch_norm_is_a_layer() -> None:
    """Accepted times are of torch's own layers."""
    options = BASE.options.model_copy(update={"implementation": "mine.py:Norm"})
    reference = Reference(name="b", recorded=BASE.environment.model_dump(mode="json"))
    found = since(reference, BASE.model_copy(update={"options": options}))
    assert [(one.layer, one.before, one.now) for one in found] == [("batch norm", "torch's own", "mine.py:Norm")]
