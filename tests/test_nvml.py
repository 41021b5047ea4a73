"""NVML through the real binding, against a small C library that plays the driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nvml_stub
from bnsuite.launch.environments.bundle import inner_half
from bnsuite.measure.nvml import counters
from bnsuite.measure.nvml.state import REASONS, words

#: Before each script: what it needs, and `play`, which changes what the driver plays.
PRELUDE = """
import ctypes, json, os, threading, time
from dataclasses import asdict
from bnsuite.measure import nvml

def play(words):
    os.environ["NVML_STUB"] = words

def look(words, uuid="1234", then=None):
    play(words)
    gpu, _ = nvml.find(uuid)
    if then is not None:
        play(then)
    return nvml.health(gpu)

def watch(*scenes, **how):
    '''The summary of a watch: presence is noted in the first scene, it starts in the second and stops in the last.'''
    play(scenes[0])
    presence = nvml.Presence()
    play(scenes[1])
    watched = presence.watch("1234", **how)
    for scene in scenes[2:-1]:
        play(scene)
        watched.sample()
    play(scenes[-1])
    return watched.stop()
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Run a script that ends in an expression under the stub; returns what it amounts to."""
    folders = {build: nvml_stub.compiled(tmp_path_factory.mktemp("nvml"), build) for build in ("", "OLD", "NEXT")}

    def run(script: str, plays: str = "", *, build: str = "", flags: tuple[str, ...] = (), **variables: str) -> Any:
        return _run(script, *flags, LD_LIBRARY_PATH=str(folders[build]), NVML_STUB=plays, **variables)

    return run


def _run(script: str, *flags: str, **variables: str) -> Any:
    *lines, last = script.strip().splitlines()
    code = "\n".join([PRELUDE, *lines, f"print(json.dumps(({last}), default=asdict))"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")} | variables
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


#: The fixes that follow on an error.
LOAD = "; load it (`modprobe nvidia`), or install one"
LOST = (
    "NVML: GPU is lost; it has fallen off the bus (Xid 79 in `dmesg`): check power, heat and seating, then reset it "
    "with `nvidia-smi -r` or reboot"
)
#: Reasons for lower clocks whose time is counted.
HELD = (*counters.HELD, *counters.HELD_LATELY)
DESCRIBE = 'nvml.driver_version(), nvml.describe("1234"), nvml.used_bytes("GPU-1234")'


GPU = {
    "name": "NVIDIA Stub 1",
    "uuid": "GPU-1234",
    "driver": "580.65.06",
    "cuda": "12.4",
    "mig": False,
    "mig_slice": False,
    "ecc": True,
    "pcie_generation": 4,
    "pcie_generation_max": 5,
    "pcie_width": 8,
    "pcie_width_max": 16,
    "power_limit_w": 700.0,
    "sm_clock_mhz_max": 1980,
    "memory_clock_mhz_max": 2619,
    "memory_total_bytes": 1000,
    "pci_address": "0000:3b:00.0",
    "cores": [0, 1],
    "persistence": True,
    "compute_mode": 0,
    "sm_clock_mhz_set": 1980,
    "vgpu": False,
}


# What a GPU is


def test_a_gpu_is_described(ask: Ask) -> None:
    """By torch's UUID, with or without its prefix."""
    driver, gpu, used = ask(DESCRIBE)
    assert driver == ["580.65.06", ""]
    assert gpu == GPU
    assert used == 300


def test_an_environment_without_the_binding_is_given_a_copy(ask: Ask, tmp_path: Path) -> None:
    """A release of torch, or an image, that has no nvidia-ml-py is watched all the same."""
    bare = {"flags": ("-S",), "PYTHONPATH": str(inner_half(tmp_path))}  # no site-packages
    assert ask("nvml.driver_version()", **bare) == ["580.65.06", ""]
    (tmp_path / "inner" / "bnsuite" / "measure" / "nvml" / "pynvml.py").unlink()
    assert ask("nvml.driver_version()", **bare) == [None, "nvidia-ml-py is not installed"]


def test_a_gpu_is_described_alike_whatever_torch_tells(ask: Ask) -> None:
    """torch 2.4 tells no UUID: the same facts by the index, so that one GPU has one machine key."""
    assert ask('nvml.describe(None, 0), nvml.describe("1234", 0)') == [GPU, GPU]


@pytest.mark.parametrize(
    ("plays", "build", "unknown"),
    [
        ("unsupported", "", {"mig", "ecc", "power_limit_w", "persistence"}),
        ("no-permission", "", {"mig", "ecc", "persistence"}),
        ("baffled", "", {"mig", "ecc", "persistence"}),
        ("", "OLD", {"mig", "pci_address", "cores", "sm_clock_mhz_set", "vgpu"}),
    ],
)
def test_what_the_driver_cannot_say_is_none(ask: Ask, plays: str, build: str, unknown: set[str]) -> None:
    """Not supported, not allowed or not in the library: those fields are gaps, and the rest is there."""
    found = ask('nvml.describe("1234")', plays, build=build)
    assert {name for name, value in found.items() if value is None} == unknown


def test_a_slice_has_its_own_memory_and_the_clocks_of_its_gpu(ask: Ask) -> None:
    """A slice answers no question about clocks or power: the whole GPU is asked."""
    gpu, found, now = ask('nvml.describe("7700"), nvml.describe("MIG-7700"), look("mig", "7700")', "mig")
    assert gpu == found
    assert found["uuid"] == "MIG-7700"
    assert found["memory_total_bytes"] == 125
    assert found["mig"] is found["mig_slice"] is True
    assert found["power_limit_w"] == 700.0
    assert found["sm_clock_mhz_max"] == 1980
    assert (now["used_bytes"], now["sm_clock_mhz"], now["power_w"], now["trouble"]) == (50, 1980, 650.5, None)


@pytest.mark.parametrize(
    ("plays", "driver"), [("no-gpu", ["580.65.06", ""]), ("no-driver", [None, f"NVML: Driver Not Loaded{LOAD}"])]
)
def test_a_gpu_that_is_not_there_is_none(ask: Ask, plays: str, driver: list[str | None]) -> None:
    """Nothing raises where there is no GPU or no driver, and the watch says why."""
    script = f"{DESCRIBE}, nvml.describe(None), nvml.find('1234')[1], watch('{plays}', '{plays}')"
    *found, why, watched = ask(script, plays)
    assert found == [driver, None, None, None]
    assert why == ("NVML: Not Found" if plays == "no-gpu" else driver[1])
    assert watched.pop("trouble") == why
    assert (watched.pop("samples"), watched.pop("sampling_s"), watched.pop("clock_samples")) == (0, 0.0, 0)
    assert [watched.pop(name) for name in ("sampled_reasons", "foreign_ids", "blind")] == [[], [], []]
    assert set(watched.values()) == {None}


def test_no_library_is_a_reason() -> None:
    """Without a driver's library the binding says so, and nothing raises."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    (version, trouble), gpu, used, watched = _run(f"{DESCRIBE}, nvml.Presence().watch(None, period_s=0.01).stop()")
    assert version is gpu is used is None
    assert watched["trouble"] == trouble == "NVML: NVML Shared Library Not Found"


def test_the_driver_is_initialised_once(ask: Ask) -> None:
    """However much is asked; a driver that was missing is tried again."""
    script = """
play("no-driver")
before = nvml.driver_version()[0]
watch("", "", "", "")
nvml.describe("1234"), nvml.used_bytes("1234")
before, ctypes.CDLL("libnvidia-ml.so.1").stub_inits()
"""
    assert ask(script) == [None, 2]


# How it is


def test_a_healthy_gpu(ask: Ask) -> None:
    """Megahertz, degrees, watts and joules, and the process that holds memory is ours by its id."""
    now, number = ask('look("own foreign"), os.getpid()')
    assert now == {
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619,
        "reasons": [],
        "temperature_c": 45,
        "power_w": 650.5,
        "energy_j": 5001.5,
        "ecc_corrected": 2,
        "ecc_uncorrected": 0,
        "used_bytes": 300,
        "own_bytes": 200,
        "processes": sorted(
            [
                {"id": number, "used_bytes": 200, "computes": True},
                {"id": 900002, "used_bytes": 100, "computes": True},
            ],
            key=lambda one: one["id"],
        ),
        "trouble": None,
        "averaged": False,
        "counters": {
            "held_ns": dict.fromkeys(HELD, 0),
            "ecc_corrected": 2,
            "ecc_uncorrected": 0,
            "pages_corrected": 0,
            "pages_uncorrected": 0,
            "pages_pending": 0,
            "rows_corrected": 1,
            "rows_uncorrected": 0,
            "remap_pending": 0,
            "remap_failed": 0,
            "energy_mj": 5001500,
            "power_mw": 650500,
        },
    }


def test_a_process_that_computes_and_draws_is_one(ask: Ask) -> None:
    """It is on both lists, each time with all its memory."""
    now = ask('look("own graphics")')
    assert [process["used_bytes"] for process in now["processes"]] == [210] == [now["own_bytes"]]


def test_memory_that_is_not_told_is_none(ask: Ask) -> None:
    """The driver's word for "unknown" is the largest number there is; it is not taken for bytes."""
    assert ask('look("more")')["processes"][1] == {"id": 900003, "used_bytes": None, "computes": True}


@pytest.mark.parametrize(
    ("plays", "build", "unknown"),
    [
        (
            "unsupported",
            "",
            {"power_w", "averaged", "energy_j", "ecc_corrected", "ecc_uncorrected", "processes", "own_bytes"},
        ),
        ("no-permission", "", {"energy_j", "ecc_corrected", "ecc_uncorrected", "processes", "own_bytes"}),
        ("own baffled", "", {"energy_j", "ecc_corrected", "ecc_uncorrected"}),
        ("own", "OLD", {"energy_j"}),
        ("own", "NEXT", set()),
    ],
)
def test_gaps_are_no_trouble(ask: Ask, plays: str, build: str, unknown: set[str]) -> None:
    """An older driver's names are asked for as well (throttle reasons, version 2 of the lists), a later one's too."""
    pynvml = pytest.importorskip("pynvml")
    if build and not (
        hasattr(pynvml, "nvmlDeviceGetComputeRunningProcesses_v2") and hasattr(pynvml, "nvmlDeviceGetTemperatureV")
    ):
        pytest.skip("this nvidia-ml-py doesn't know the names that such a driver has")
    now = ask(f'look("{plays}")', build=build)
    assert {name for name, value in now.items() if value is None} == unknown | {"trouble"}


def test_a_lost_gpu_is_trouble_and_nothing_else(ask: Ask) -> None:
    """Every field is None but the reason."""
    now = ask('look("own", then="own lost")')
    assert now.pop("trouble") == LOST
    counters = now.pop("counters")
    assert counters.pop("held_ns") == {}
    assert set(counters.values()) == {None}
    assert set(now.values()) == {None}


def test_reasons_are_words() -> None:
    """The bits mean what the binding says they mean; one that is new keeps its number."""
    pynvml = pytest.importorskip("pynvml")
    for bit, word in REASONS.items():
        name = word.title().replace("_", "")
        known = [getattr(pynvml, f"nvmlClocks{kind}Reason{name}", bit) for kind in ("Event", "Throttle")]
        assert known == [bit, bit]
    assert words(0) == ()
    assert words(0x8084) == ("sw_power_cap", "hw_power_brake_slowdown", "0x8000")


# What it went through


def test_a_quiet_watch(ask: Ask) -> None:
    """The GPU was ours alone at full clocks: three looks, 1.5 J from one to the next."""
    watched, number = ask('watch("", "own", "own", "own"), os.getpid()')
    assert watched.pop("sampling_s") > 0
    assert watched.pop("window_s") > 0
    assert watched.pop("own_id") == number
    assert watched == {
        "throttled": [],
        "reasons": [],
        "foreign": 0,
        "sm_clock_mhz_min": 1980,
        "sm_clock_mhz_max": 1980,
        "temperature_c_max": 45,
        "power_w_max": 650.5,
        "energy_j": 3.0,
        "ecc_errors": 0,
        "used_bytes": 300,
        "own_bytes": 200,
        "samples": 3,
        "trouble": None,
        "throttle_s": dict.fromkeys(HELD, 0.0),
        "sampled_reasons": [],
        "sm_clock_mhz_median": 1980,
        "clock_samples": 1,
        "power_averaged": False,
        "idle_w": 650.5,
        "foreign_active": 0,
        "foreign_ids": [],
        "blind": [],
        "busy_before_percent": 0,
        "used_before_bytes": 300,
        "ecc_uncorrected": 0,
        "rows_remapped": 0,
        "remap_pending": False,
        "remap_failed": False,
        "pages_retired": 0,
        "xids": [],
    }


@pytest.mark.parametrize(
    ("scene", "throttled", "reasons"),
    [
        ("throttled", ["hw_power_brake_slowdown"], ["hw_power_brake_slowdown", "sw_power_cap"]),
        (
            "thermal",
            ["thermal", "sw_thermal_slowdown", "hw_thermal_slowdown"],
            ["hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown"],
        ),
        ("idle", [], ["gpu_idle"]),
        ("odd-reason", [], ["0x8000"]),
    ],
)
def test_throttling_is_what_was_not_expected(ask: Ask, scene: str, throttled: list[str], reasons: list[str]) -> None:
    """A power cap, an idle GPU or a reason from the future is on record, but it is no throttling."""
    watched = ask(f'watch("", "own", "own {scene}", "own")')
    assert (watched["throttled"], watched["reasons"]) == (throttled, reasons)


@pytest.mark.parametrize(
    ("words", "scene", "throttled", "sampled"),
    [
        ("", "own", [], []),
        ("", "thermal", ["thermal", "sw_thermal_slowdown", "hw_thermal_slowdown"], []),
        # only the older call counts: any heat, but no power brake
        ("policies", "thermal", ["hw_slowdown", "thermal"], ["hw_slowdown", "hw_power_brake_slowdown"]),
        # the numbers of the fields mean something else to this driver, which nothing but their size tells
        ("renumbered", "thermal", ["hw_slowdown", "thermal"], ["hw_slowdown", "hw_power_brake_slowdown"]),
        (
            "uncounted",
            "thermal",
            ["hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown"],
            ["hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"],
        ),
    ],
)
def test_throttling_is_what_counters_say_grew(
    ask: Ask, words: str, scene: str, throttled: list[str], sampled: list[str]
) -> None:
    """Samples decide only where the driver counts nothing, and the watch says for which reasons that is so."""
    watched = ask(f'watch("{words}", "own {words}", "own {words} {scene}", "own {words}")')
    assert (watched["throttled"], watched["sampled_reasons"]) == (throttled, sampled)


def test_heat_of_before_is_no_matter(ask: Ask) -> None:
    """A counter that had grown before the start, and a reason that is seen on an idle GPU, spoil nothing."""
    grown = 'watch("thermal", "own thermal", "own", "own")'
    idle = 'watch("uncounted idle thermal", "own uncounted idle", "own uncounted idle")'
    first, second = ask(f"{grown}, {idle}")
    assert "hw_thermal_slowdown" in first["reasons"]
    assert first["throttled"] == second["throttled"] == []


def test_a_power_cap_is_timed_and_spoils_nothing(ask: Ask) -> None:
    """A GPU at its power limit works as it should: the seconds are on record, and the clock tells what they cost."""
    watched = ask('watch("", "own", "own throttled", "own")')
    assert watched["throttle_s"]["sw_power_cap"] == 0.5
    assert "sw_power_cap" not in watched["throttled"]


def test_the_median_clock_is_that_under_load(ask: Ask) -> None:
    """Neither the start nor the stop counts, when the GPU waits, nor a moment at which it idles."""
    watched = ask('watch("", "own", "own thermal", "own idle", "own thermal", "own")')
    assert (watched["sm_clock_mhz_median"], watched["clock_samples"]) == (1200, 2)
    assert ask('watch("", "own", "own")')["sm_clock_mhz_median"] is None


def test_power_is_that_of_the_instant(ask: Ask) -> None:
    """A driver that only tells the average of a second is asked for that, and the watch says so."""
    instant, average = ask('watch("", "own", "own"), watch("averaged", "own averaged", "own averaged")')
    assert (instant["power_w_max"], instant["power_averaged"]) == (650.5, False)
    assert (average["power_w_max"], average["power_averaged"]) == (650.5, True)


def test_idle_power_is_that_of_before(ask: Ask) -> None:
    """Watts of the board before this process came, unless it was at work then."""
    idle, busy = ask('watch("idle", "own", "own"), watch("idle busy", "own", "own")')
    assert (idle["idle_w"], busy["idle_w"]) == (80.5, None)


def test_a_slice_has_no_energy(ask: Ask) -> None:
    """Nobody counts it by slice, and the whole GPU's is not its own; that others share the board is said."""
    script = """
presence = nvml.Presence()
presence.watch("7700").stop()
"""
    watched = ask(script, "mig")
    assert watched["energy_j"] is None
    assert "mig" in watched["blind"]


@pytest.mark.parametrize(
    ("scene", "field", "value"),
    [
        ("ecc", "ecc_uncorrected", 1),
        ("remapped", "rows_remapped", 2),
        ("broken", "remap_failed", True),
        ("pending", "remap_pending", True),
        ("retired", "pages_retired", 1),
        ("xid", "xids", [63]),
    ],
)
def test_memory_that_fails_meanwhile_is_on_record(ask: Ask, scene: str, field: str, value: Any) -> None:
    """Errors, rows and pages that came between start and stop, and the driver's own events."""
    watched = ask(f'watch("", "own", "own {scene}")')
    assert watched[field] == value


def test_events_that_nobody_may_hear_are_not_known(ask: Ask) -> None:
    """No permission is not the same as no event; an event of before the start is none of this watch."""
    assert ask('watch("deaf", "own deaf", "own deaf xid")')["xids"] is None
    script = """
play("")
presence = nvml.Presence()
play("own")
presence.watch("1234").stop()
play("own xid")
second = presence.watch("1234").stop()
third = presence.watch("1234").stop()
second.xids, third.xids
"""
    assert ask(script) == [[], []]


@pytest.mark.parametrize(
    ("scenes", "foreign", "active"),
    [
        (["xorg util", "own xorg util", "own xorg util"], 1, 0),  # a window system at rest
        (["foreign util", "own foreign util", "own foreign util"], 1, 0),  # a notebook that waits
        (["foreign util", "own foreign util working", "own foreign util working"], 1, 1),
        (["util", "own util", "own foreign util"], 1, 1),  # it came meanwhile
        (["foreign util", "own foreign util", "own foreign grown util"], 1, 1),
        (["xorg", "own xorg", "own xorg"], 1, 0),  # what uses the GPU isn't told: drawing is no work
        (["foreign", "own foreign", "own foreign"], 1, 1),  # nor can computing be told from waiting
    ],
)
def test_others_count_by_what_they_use(ask: Ask, scenes: list[str], foreign: int, active: int) -> None:
    """Being there disturbs nothing: using the GPU's time, coming or growing does."""
    watched = ask(f"watch(*{scenes})")
    assert (watched["foreign"], watched["foreign_active"]) == (foreign, active)
    assert watched["foreign_ids"] == ([900002] if active else [])


@pytest.mark.parametrize(
    ("scenes", "blind"),
    [
        (["", "own", "own"], []),
        (["", "", ""], ["own-hidden"]),
        (["foreign", "foreign", "foreign"], ["own-hidden"]),
        (["", "host", "host"], []),  # a container that lists the host's ids: the one that came is ours
        (["", "unsupported", "unsupported"], ["no-list"]),
        (["", "own mps", "own mps"], ["mps"]),
        (["", "own vgpu", "own vgpu"], ["vgpu"]),
    ],
)
def test_blind_spots_are_named(ask: Ask, scenes: list[str], blind: list[str]) -> None:
    """Nothing seen is not the same as nothing there."""
    assert ask(f"watch(*{scenes})")["blind"] == blind


def test_a_gpu_that_was_busy_before_is_on_record(ask: Ask) -> None:
    """Where processes are hidden, that is all there is to tell of them."""
    watched = ask('watch("busy", "", "")')
    assert (watched["busy_before_percent"], watched["used_before_bytes"]) == (80, 300)


def test_the_first_to_come_is_known_before_its_partner(ask: Ask) -> None:
    """Two containers on one GPU: the id that was new right after the context was made is ours, whoever comes later."""
    script = """
play("")
presence = nvml.Presence()
play("host")
presence.arrived()
play("host foreign")
presence.watch("1234").stop()
"""
    watched = ask(script)
    assert (watched["own_id"], watched["foreign"], watched["foreign_ids"]) == (900001, 1, [900002])


def test_the_sampler_leaves_the_timed_core(ask: Ask) -> None:
    """Its thread goes to the cores that the process began with and is not timed on; the others stay."""
    script = """
from bnsuite.measure import cores
began = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(began)})
play("own")
watched = nvml.Presence().watch("1234", period_s=0.01)
end = time.monotonic() + 60
while watched._tally.samples < 2 and time.monotonic() < end:
    time.sleep(0.001)
thread = next(one for one in threading.enumerate() if one.name == "bnsuite-nvml")
found = os.sched_getaffinity(thread.native_id)
watched.stop()
sorted(began), sorted(found), sorted(os.sched_getaffinity(0))
"""
    began, found, main = ask(script)
    assert main == began[:1]
    assert found == (began[1:] or began)


def test_nothing_is_sampled_while_the_other_side_works(ask: Ask) -> None:
    """A watch that is told to wait takes no samples in between."""
    script = """
class Stop:
    def __init__(self):
        self.left = 5
    def wait(self, _):
        self.left -= 1
        return self.left < 0

play("own")
counts = []
for working in (False, True):
    watched = nvml.Presence().watch("1234")
    watched.working, watched._stop = working, Stop()
    watched._keep_sampling(watched._gpu, 0.0)
    counts.append(watched._tally.samples)
counts
"""
    assert ask(script) == [1, 6]


@pytest.mark.parametrize(
    ("plays", "said"),
    [
        ("lost", "GPU is lost; it has fallen off the bus"),
        ("unknown", "Unknown Error; in a container: its host has reloaded systemd"),
    ],
)
def test_a_sick_gpu_is_told_with_its_fix(ask: Ask, plays: str, said: str) -> None:
    """Every later call fails: the cause and the fix stand in one line, and what was seen before stays."""
    watched = ask(f'watch("", "own", "own", "own {plays}")')
    assert watched["trouble"].startswith(f"NVML: {said}")
    assert "\n" not in watched["trouble"]
    assert (watched["sm_clock_mhz_max"], watched["foreign"]) == (1980, 0)


def test_a_driver_of_another_version_than_its_module_is_told_with_its_fix(ask: Ask) -> None:
    """It was updated under a running kernel."""
    version, trouble = ask("nvml.driver_version()", "mismatch")
    assert version is None
    assert "version mismatch" in trouble
    assert "rmmod" in trouble


def test_the_extremes_are_of_all_samples(ask: Ask) -> None:
    """Of those between start and stop too."""
    watched = ask('watch("", "own", "own thermal", "own")')
    assert (watched["sm_clock_mhz_min"], watched["sm_clock_mhz_max"], watched["temperature_c_max"]) == (1200, 1980, 92)


def test_an_idle_clock_counts_only_if_there_is_no_other(ask: Ask) -> None:
    """Before the first kernel a GPU sleeps; that clock says nothing of the measurement."""
    busy, idle = ask('watch("", "idle", "own"), watch("", "idle", "idle")')
    assert (busy["sm_clock_mhz_min"], busy["sm_clock_mhz_max"]) == (1980, 1980)
    assert (idle["sm_clock_mhz_min"], idle["sm_clock_mhz_max"]) == (345, 345)
    assert idle["power_w_max"] == 80.5


def test_memory_errors_are_those_that_came(ask: Ask) -> None:
    """Errors from before the start do not count."""
    assert ask('watch("", "own", "own ecc")')["ecc_errors"] == 4
    assert ask('watch("ecc", "own ecc", "own ecc")')["ecc_errors"] == 0


def test_a_counter_that_began_anew_is_none(ask: Ask) -> None:
    """The driver was loaded again: no energy is negative."""
    assert ask('watch("", "own", "own reloaded")')["energy_j"] is None


@pytest.mark.parametrize(
    ("scenes", "foreign", "own"),
    [
        (["", "own foreign", "own foreign"], 1, 200),  # there all the time
        (["foreign", "own foreign", "own foreign"], 1, 200),
        (["", "own", "own foreign", "own"], 1, 200),  # came and went
        (["", "own", "own more"], 2, 200),
        (["", "", "host"], 0, 150),  # a container, where our id is another
        (["foreign", "foreign", "host foreign"], 1, 150),
        (["", "foreign", "host"], 1, 150),
        (["", "", "host foreign"], 1, None),  # one of the two is ours
        (["foreign", "foreign", "foreign"], 1, None),  # ours is hidden, or there is none
        (["", "", ""], None, None),  # all are hidden
        (["own", "own", "own"], 0, 200),  # made too late
        (["", "unsupported", "unsupported"], None, None),
    ],
)
def test_whose_the_processes_are(ask: Ask, scenes: list[str], foreign: int | None, own: int | None) -> None:
    """Ours goes by our id, or is the one that came since the watch was made; each other one is foreign."""
    watched = ask(f"watch(*{scenes})")
    assert (watched["foreign"], watched["own_bytes"], watched["trouble"]) == (foreign, own, None)


def test_a_process_once_known_for_ours_stays_ours(ask: Ask) -> None:
    """In a container: another that comes later, during a second measurement, is foreign."""
    script = """
play("")
presence = nvml.Presence()
play("host")
first = presence.watch("1234").stop()
play("host foreign")
second = presence.watch("1234").stop()
play("foreign")
third = presence.watch("1234").stop()
[[one.foreign, one.own_bytes] for one in (first, second, third)]
"""
    assert ask(script) == [[0, 150], [1, 150], [1, None]]


def test_the_uuid_may_come_late(ask: Ask) -> None:
    """torch tells it when it has touched the GPU; all GPUs' processes were remembered before that."""
    script = """
presence = nvml.Presence()
play("two host foreign")
presence.watch("1234").stop(), presence.watch("1299").stop()
"""
    first, second = ask(script, "two foreign")
    assert (first["foreign"], first["own_bytes"], first["used_bytes"]) == (1, 150, 300)
    assert (second["foreign"], second["used_bytes"]) == (None, 10)


def test_without_a_uuid_the_index_says_which(ask: Ask) -> None:
    """torch 2.4 tells none: of two GPUs the measured one is watched, and not the first."""
    script = """
presence = nvml.Presence()
play("two foreign")
presence.watch(None, 0).stop(), presence.watch(None, 1).stop(), presence.watch("1299", 1).stop()
"""
    first, second, named = ask(script, "two")
    assert first["used_bytes"] != second["used_bytes"]
    assert named["used_bytes"] == second["used_bytes"]


def test_a_device_asks_for_its_own_gpu(ask: Ask) -> None:
    """Watch, memory and facts are those of cuda:1 where torch 2.4 tells no UUID, on the path of every measurement."""
    script = """
import torch
from bnsuite.measure.devices import get
torch.cuda.get_device_properties = lambda _: type("Properties", (), vars_of)()
torch.cuda.device_count = lambda: 2
facts = get("cuda:1").describe()["gpu"]
facts, get("cuda:1").watch().stop()
""".replace("vars_of", "{'name': 'Stub', 'major': 9, 'minor': 0, 'total_memory': 1000}")
    facts, watched = ask(script, "two foreign")
    assert facts["nvml"]["uuid"] == "GPU-1299"
    assert watched["used_bytes"] == 10


def test_a_thread_samples_between_and_ends(ask: Ask) -> None:
    """It sees what both ends miss, counts what it cost, and is gone after the stop."""
    script = """
from bnsuite.measure.nvml import watch as module
module.FULL_LOOK_S = 0.0
presence = nvml.Presence()
play("own")
watched = presence.watch("1234", period_s=0.002)
seen = sum(thread.name == "bnsuite-nvml" and thread.daemon for thread in threading.enumerate())
seen_so_far = watched._tally.samples
play("own thermal foreign")
end = time.monotonic() + 60
while watched._tally.samples < seen_so_far + 4 and time.monotonic() < end:
    time.sleep(0.001)
play("own")
summary = watched.stop()
seen, threading.active_count(), summary
"""
    seen, left, watched = ask(script)
    assert (seen, left) == (1, 1)
    assert watched["samples"] > 4
    assert watched["sampling_s"] > 0
    assert "hw_thermal_slowdown" in watched["throttled"]
    assert (watched["temperature_c_max"], watched["foreign"], watched["trouble"]) == (92, 1, None)


@pytest.mark.parametrize("period_s", [None, 0.001])
def test_a_gpu_lost_in_between(ask: Ask, period_s: float | None) -> None:
    """What was seen before stays, counters that can't be read any more are None, and the trouble is told."""
    script = f"""
presence = nvml.Presence()
play("own")
watched = presence.watch("1234", period_s={period_s})
play("own lost")
time.sleep(0.05)
watched.stop()
"""
    watched = ask(script)
    assert watched["trouble"] == LOST
    assert watched["sm_clock_mhz_max"] == 1980
    assert watched["energy_j"] is watched["ecc_errors"] is None


def test_a_thread_leaves_a_lost_gpu_alone(ask: Ask) -> None:
    """One look at the start and one at the stop, and none between: no call brings it back."""
    script = """
presence = nvml.Presence()
presence.watch("1234").stop()
play("lost")
watched = presence.watch("1234", period_s=0.001)
time.sleep(0.05)
watched.stop().samples
"""
    assert ask(script) == 2


def test_a_gpu_may_be_lost_at_any_call(ask: Ask) -> None:
    """Whichever call is the first to fail, nothing raises; if any fails, the trouble says so."""
    script = """
troubles, stub = [], ctypes.CDLL("libnvidia-ml.so.1")
for calls in range(120):
    os.environ["NVML_STUB_LOST_AFTER"] = str(calls)
    stub.stub_reset()
    troubles.append(watch("own", "own", "own").trouble)
    stub.stub_reset()
    nvml.describe("1234"), nvml.used_bytes("1234"), nvml.describe(None)
troubles
"""
    troubles = ask(script)
    assert troubles[0] == LOST
    assert troubles[-1] is None
    assert troubles == sorted(troubles, key=lambda trouble: trouble is None)


def test_a_driver_that_hangs_is_left_behind(ask: Ask) -> None:
    """The stop waits for a sample that doesn't come back only for so long, and later ones not at all."""
    script = """
from bnsuite.measure.nvml import watch as module
module.ANSWER_S = 0.1
inside, look = threading.Event(), module.glance
module.glance = lambda gpu: (inside.set(), look(gpu))[1]
presence = nvml.Presence()
watched = presence.watch("1234", period_s=0.001)
play("hang")
inside.clear()
assert inside.wait(60), "no sample in a minute"
summaries = [watched.stop(), presence.watch("1234").stop()]
play("")
while threading.active_count() > 1:
    time.sleep(0.01)
[one.trouble for one in summaries], presence.watch("1234").stop().trouble
"""
    assert ask(script) == [
        ["NVML: no answer for 0.1 s; the driver hangs: see `dmesg`, and reboot if it goes on"] * 2,
        None,
    ]


# Which one it is

FIND = "[(found := nvml.find(None, index))[0] and found[0].uuid or found[1] for index in (0, 1)]"
NUMBERED = "these GPUs differ, and CUDA numbers the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID"


@pytest.mark.parametrize(
    ("plays", "shown", "expected"),
    [
        ("", None, ["GPU-1234", "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("two", None, ["GPU-1234", "GPU-1299"]),
        ("two", "1,0", ["GPU-1299", "GPU-1234"]),
        ("two", " 1", ["GPU-1299", "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("two", "GPU-1299,GPU-1234", ["GPU-1299", "GPU-1234"]),
        ("two", "GPU-129,GPU-123", ["GPU-1299", "GPU-1234"]),
        ("two", "GPU-12,GPU-1234", ["CUDA_VISIBLE_DEVICES: 2 GPUs here are called GPU-12..."] * 2),
        ("two", "1,5", ["GPU-1299", "CUDA_VISIBLE_DEVICES: no GPU '5' here"]),
        ("two", "-1,1", ["CUDA_VISIBLE_DEVICES: no GPU '-1' here"] * 2),
        ("two", "1,1", ["GPU-1299", "CUDA_VISIBLE_DEVICES=1,1 names a GPU twice, so CUDA sees none"]),
        ("unequal", None, [NUMBERED] * 2),
        ("unequal", "1", [NUMBERED, "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("unequal", "GPU-1299", ["GPU-1299", "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("mig", None, ["MIG-7700", "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("mig", "MIG-7700", ["MIG-7700", "there is no GPU 1 among the 1 that CUDA is shown"]),
        ("mig two", "1,0", ["GPU-1299", "MIG-7700"]),
        ("slices", "MIG-775,MIG-7700", ["MIG-7755", "MIG-7700"]),
        ("slices", "MIG-77", ["CUDA_VISIBLE_DEVICES: 2 GPUs here are called MIG-77...", "there is no GPU 1"]),
        ("slices", "0", ["GPU-1234 has 2 MIG slices: name one in CUDA_VISIBLE_DEVICES", "there is no GPU 1"]),
        ("no-gpu", None, ["there is no GPU 0 among the 0 that CUDA is shown", "there is no GPU 1"]),
        ("no-driver", None, [f"NVML: Driver Not Loaded{LOAD}"] * 2),
    ],
)
def test_without_a_uuid_what_cuda_is_shown_decides(
    ask: Ask, plays: str, shown: str | None, expected: list[str]
) -> None:
    """As CUDA counts: numbers, UUIDs or their beginnings; where it can't be told, the reason is given, no guess."""
    variables = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    found = ask(FIND, plays, **variables)
    assert all(seen.startswith(right) for seen, right in zip(found, expected, strict=True)), found


def test_an_order_by_address_tells_unequal_gpus_apart(ask: Ask) -> None:
    """CUDA_DEVICE_ORDER makes CUDA's numbers those of the driver."""
    assert ask(FIND, "unequal", CUDA_DEVICE_ORDER="PCI_BUS_ID") == ["GPU-1234", "GPU-1299"]


def test_an_order_does_not_matter_to_a_library_without_slices(ask: Ask) -> None:
    """A driver from before MIG has whole GPUs only."""
    assert ask(FIND, "two", build="OLD", CUDA_VISIBLE_DEVICES="1,0") == ["GPU-1299", "GPU-1234"]


@pytest.mark.parametrize(
    ("plays", "shown", "expected"),
    [("mig", "0", "MIG-7700"), ("slices", "MIG-7755", "MIG-7755"), ("slices", "0", "GPU-1234")],
)
def test_a_slice_that_goes_by_its_gpu(ask: Ask, plays: str, shown: str, expected: str) -> None:
    """CUDA may give the whole GPU's UUID: the slice it was shown is meant, if that can be told."""
    assert ask('nvml.find("1234")[0].uuid', plays, CUDA_VISIBLE_DEVICES=shown) == expected


@pytest.mark.parametrize(
    ("plays", "built_for", "said"),
    [
        ("", "12.8", None),
        ("foreign", "12.8", None),
        ("exclusive", "12.8", None),  # nobody is there: this process may
        ("exclusive foreign", "12.8", "exclusive-process mode, and process 900002 is on it: end that one, or `sudo"),
        ("prohibited", "12.8", "its compute mode lets no process use it: `sudo nvidia-smi -i GPU-1234 -c DEFAULT`"),
        ("", "13.0", "580.65.06 offers CUDA 12.4, and torch is built for 13.0: update the driver, or install a torch"),
        ("unknown", "12.8", "Unknown Error; in a container: its host has reloaded systemd"),
        ("mismatch", "12.8", "rmmod"),
        ("no-driver", "12.8", "Driver Not Loaded; load it"),
    ],
)
def test_what_keeps_a_process_out_is_told_with_its_fix(ask: Ask, plays: str, built_for: str, said: str | None) -> None:
    """In one line; where the driver sees no reason there is none."""
    found = ask(f"nvml.hindrance(0, {built_for!r})", plays)
    assert (found is None) is (said is None)
    assert said is None or said in found
