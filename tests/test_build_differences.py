"""The builds of two environments in words."""

from __future__ import annotations

from typing import Any

from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.key import machine_key
from bnsuite.record.schema import EnvironmentInfo, Run
from bnsuite.report import builds, comparison
from bnsuite.report.html import environments
from conftest import make_run

FLAGS = " ".join(f"-Wflag-{number}" for number in range(100))
A: dict[str, Any] = {
    "builds": {"oneDNN": "3.11.0 (1234567)", "MKL": "2024.2 (20240605)"},
    "build_settings": {"TORCH_VERSION": "2.13.0", "USE_CUDA": "1", "CXX_FLAGS": f"{FLAGS} -O2 -DUSE_MSLK"},
    "cpu_features": ("amx_tile", "avx2"),
    "cpu_used": {"amx_tile": True, "avx2": True},
}
B: dict[str, Any] = {
    "builds": {"oneDNN": "3.12.0 (7654321)", "MKL": "2024.2 (20240605)", "other": "a new line"},
    "build_settings": {"TORCH_VERSION": "2.14.1", "USE_CUDA": "0", "CXX_FLAGS": f"{FLAGS} -O3"},
    "cpu_features": ("avx2", "avx512f"),
    "cpu_used": {"amx_tile": False, "vnni": True},
}


def environment(**fields: Any) -> EnvironmentInfo:
    return make_run().environment.model_copy(update=fields)


def run(**fields: Any) -> Run:
    return make_run().model_copy(update={"environment": environment(**fields)})


def test_each_kind_of_difference_is_one_line() -> None:
    """Versions by name, flags as numbers, features by side; a release that is said elsewhere is not said again."""
    assert list(builds.differences(environment(**A), environment(**B))) == [
        "oneDNN 3.11.0 (1234567) → 3.12.0 (7654321)",
        "other none → a new line",
        "torch's build: USE_CUDA 1 → 0, CXX_FLAGS (2 flags gone, 1 flag new)",
        "CPU features that only A has: amx_tile",
        "CPU features that only B has: avx512f",
        "torch's use of amx_tile: yes → no",
    ]


def test_nothing_differs_from_what_was_not_recorded() -> None:
    """A run of an earlier bnsuite has none of it: that is no difference."""
    assert list(builds.differences(environment(), environment(**B))) == []
    assert list(builds.differences(environment(**A), environment(**A))) == []


def test_a_comparison_has_a_line_per_fact() -> None:
    """The heading names each difference on a line of its own, packages of one side together."""
    a = run(**A, packages={"torch": "2.13.0", "numpy": "2.2.6", "pytest": "9"})
    b = run(**B, packages={"torch": "2.14.1"}, cuda="13.0")
    times = InterleavedTimes(
        schema=InterleavedTimes.SCHEMA, a="a", b="b", seed=0, most_launches=2, budget_s=None, variables={}, cases=()
    )
    lines = [line for line in comparison.heading(a, b, times) if line.startswith("differs")]
    assert lines[:3] == [
        "differs: torch 2.13.0 → 2.14.1",
        "differs: packages that only A has: numpy 2.2.6, pytest 9",
        "differs: CUDA none → 13.0",
    ]
    assert len(lines) == 3 + 6


def test_a_page_shows_the_flags_that_differ() -> None:
    """Of a list that is longer than a cell, the flags of either side that the other has not."""
    times = InterleavedTimes(
        schema=InterleavedTimes.SCHEMA, a="a", b="b", seed=0, most_launches=2, budget_s=None, variables={}, cases=()
    )
    facts = {one.name: one for one in environments.of_comparison(run(**A), run(**B), times)}
    flags = facts["built with CXX_FLAGS"]
    assert (flags.a, flags.b) == ("only here: -O2 -DUSE_MSLK", "only here: -O3")
    assert facts["oneDNN"].differs
    assert facts["CPU features"].a == "amx_tile, avx2"


def test_the_machine_stays_the_same() -> None:
    """Baselines are found as before: builds and features are no part of a machine's key."""
    assert machine_key(run(**A)) == machine_key(run(**B)) == machine_key(make_run())
