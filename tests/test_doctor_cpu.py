"""The checks of the processor, on hosts made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.doctor import cpu
from bnsuite.doctor.host import DoctorRequest
from fake_host import fake_host, look, shown

CPU = "sys/devices/system/cpu"


def stat(*lines: str) -> dict[str, str]:
    return {"proc/stat": "\n".join([*lines, "intr 1 2 3", ""])}


#: Two idle cores: 100 ticks of each.
IDLE = stat("cpu 10 0 10 180 0 0 0 0 0 0", "cpu0 5 0 5 90 0 0 0 0 0 0", "cpu1 5 0 5 90 0 0 0 0 0 0")
LATER = stat("cpu 12 0 10 378 0 0 0 0 0 0", "cpu0 7 0 5 188 0 0 0 0 0 0", "cpu1 5 0 5 190 0 0 0 0 0 0")


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("cores", {f"{CPU}/online": "0-3\n"}, "ok: 2 cores given of 4, 2 needed"),
        ("load", {"proc/loadavg": "0.20 0.1 0.1 1/100 42\n"}, "ok: load 0.2 on 2 cores"),
        ("load", {"proc/loadavg": "3.20 0.1 0.1 1/100 42\n"}, "disturbs: load 3.2 on 2 cores"),
        ("load", {"proc/loadavg": "3.20 0.1 0.1 1/100 42\n", f"{CPU}/online": "0-7"}, "ok: load 3.2 on 8 cores"),
        ("load", {"proc/loadavg": "nan 1 1"}, "unknown: could not look: 'nan' is no finite number"),
        ("load", {}, "unknown: could not look: there is no /proc/loadavg"),
        (
            "cpu-pressure",
            {"proc/pressure/cpu": "some avg10=0.12 avg60=1.00 avg300=2.00 total=1\n"},
            "ok: tasks waited for a core 0.1 % of the last 10 s",
        ),
        (
            "cpu-pressure",
            {"proc/pressure/cpu": "some avg10=20.50 avg60=1.00 avg300=2.00 total=1\nfull avg10=0.00\n"},
            "disturbs: tasks waited for a core 20.5 % of the last 10 s",
        ),
        ("cpu-pressure", {}, "not-applicable: this kernel has none"),
        ("cpu-pressure", {"proc/pressure/cpu": "x"}, "unknown: could not look: /proc/pressure/cpu has no avg10"),
        ("core-free", {}, "ok: core 1 was busy 0.0 % of the time"),
        ("steal", {}, "ok: 0.0 % of CPU time stolen, 0.0 % since the boot"),
        ("governor", {}, "not-applicable: not set by this kernel"),
        (
            "governor",
            {f"{CPU}/cpu{core}/cpufreq/scaling_governor": "performance\n" for core in (0, 1)},
            "ok: frequency governor performance",
        ),
        (
            "governor",
            {
                f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
                f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave\n",
            },
            "disturbs: frequency governor performance, powersave",
        ),
        ("turbo", {}, "not-applicable: not set by this kernel"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": "0\n"}, "disturbs: turbo is on"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": "1\n"}, "ok: turbo is off"),
        ("turbo", {f"{CPU}/cpufreq/boost": "1\n"}, "disturbs: turbo is on"),
        ("turbo", {f"{CPU}/cpufreq/boost": "0\n"}, "ok: turbo is off"),
        ("turbo", {f"{CPU}/cpu1/cpufreq/boost": "1\n"}, "disturbs: turbo is on"),
        ("smt", {}, "not-applicable: the kernel names no siblings"),
        ("smt", {f"{CPU}/cpu1/topology/thread_siblings_list": "1\n"}, "ok: no core shares its units"),
        ("smt", {f"{CPU}/cpu1/topology/thread_siblings_list": "1,5\n"}, "ok: cores 1 share their units with 5"),
        ("smt", {f"{CPU}/cpu1/topology/thread_siblings_list": "0-1\n"}, "disturbs: cores 1 share their units with 0"),
        ("numa", {"sys/devices/system/node/node0/cpulist": "0-1\n"}, "not-applicable: one NUMA node"),
        (
            "numa",
            {f"sys/devices/system/node/node{node}/cpulist": cores for node, cores in ((0, "0-1"), (1, "2-3"))},
            "ok: the given cores lie on 1 of 2 NUMA nodes",
        ),
        (
            "numa",
            {f"sys/devices/system/node/node{node}/cpulist": cores for node, cores in ((0, "0,2"), (1, "1,3"))},
            "disturbs: the given cores lie on 2 of 2 NUMA nodes",
        ),
        ("virtual-machine", {"proc/cpuinfo": "flags : fpu vme\n"}, "not-applicable: no sign of a hypervisor"),
        (
            "virtual-machine",
            {
                "proc/cpuinfo": "processor : 0\nflags : fpu hypervisor\n",
                "sys/class/dmi/id/sys_vendor": "QEMU\n",
                "sys/class/dmi/id/product_name": "Standard PC\n",
            },
            "ok: virtual machine (QEMU Standard PC)",
        ),
        ("virtual-machine", {"sys/hypervisor/type": "xen\n"}, "ok: virtual machine (xen)"),
        ("huge-pages", {}, "not-applicable: this kernel has none"),
        (
            "huge-pages",
            {"sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n"},
            "ok: transparent huge pages: madvise",
        ),
        (
            "huge-pages",
            {"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n"},
            "disturbs: transparent huge pages: never",
        ),
        (
            "huge-pages",
            {"sys/kernel/mm/transparent_hugepage/enabled": ""},
            "unknown: could not look: /sys/kernel/mm/transparent_hugepage/enabled names no choice",
        ),
    ],
)
def test_a_file_of_the_kernel_is_judged(tmp_path: Path, name: str, files: dict[str, str], said: str) -> None:
    """Each check, in each state that a file can put it in."""
    found = look(cpu.SUBJECT, fake_host(tmp_path, {**IDLE, **files}, LATER))
    assert shown(found[name]) == said


def test_a_core_that_works_is_not_free(tmp_path: Path) -> None:
    """Only the core that would be timed on counts, which is the last one."""
    busy = "cpu{0} 65 0 5 130 0 0 0 0 0 0"
    for core, state in ((0, "ok"), (1, "disturbs")):
        other = f"cpu{1 - core} 5 0 5 190 0 0 0 0 0 0"
        later = stat("cpu 70 0 10 320 0 0 0 0 0 0", busy.format(core), other)
        found = look(cpu.SUBJECT, fake_host(tmp_path, IDLE, later))
        assert found["core-free"].state.value == state
        if state == "disturbs":
            assert shown(found["core-free"]) == "disturbs: core 1 was busy 60.0 % of the time"


def test_stolen_time_now_and_before(tmp_path: Path) -> None:
    """A share of the last moment disturbs, and so does one since the boot; a single tick does not."""
    cores = ["cpu0 7 0 5 188 0 0 0 0 0 0", "cpu1 5 0 5 190 0 0 0 0 0 0"]
    now = stat("cpu 12 0 10 368 0 0 0 10 0 0", *cores)
    assert shown(look(cpu.SUBJECT, fake_host(tmp_path, IDLE, now))["steal"]).startswith("disturbs: 5.0 % of CPU time")
    before = stat("cpu 100 0 100 9000 0 0 0 800 0 0", *cores)
    after = stat("cpu 102 0 100 9198 0 0 0 800 0 0", *cores)
    found = look(cpu.SUBJECT, fake_host(tmp_path, before, after))["steal"]
    assert shown(found) == "disturbs: 0.0 % of CPU time stolen, 7.8 % since the boot"
    tick = stat("cpu 1000 0 1000 900030 0 0 0 1 0 0", *cores)
    assert (
        look(cpu.SUBJECT, fake_host(tmp_path, stat("cpu 1000 0 1000 900000 0 0 0 0 0 0", *cores), tick))[
            "steal"
        ].state.value
        == "ok"
    )


def test_one_core_is_too_few(tmp_path: Path) -> None:
    """The coordinating process would share it with the timed one; more threads need more cores."""
    one = fake_host(tmp_path, {**IDLE, f"{CPU}/online": "0-3"}, LATER)
    assert shown(look(cpu.SUBJECT, one, cores=(0,))["cores"]) == "disturbs: 1 core given of 4, 2 needed"
    two = look(cpu.SUBJECT, one, DoctorRequest(threads=2))
    assert shown(two["cores"]) == "disturbs: 2 cores given of 4, 3 needed"


def test_counters_that_stand_still_are_unknown(tmp_path: Path) -> None:
    """A kernel that counts no ticks is not taken for an idle one."""
    found = look(cpu.SUBJECT, fake_host(tmp_path, IDLE))
    assert shown(found["core-free"]) == "unknown: could not look: the line cpu1 of /proc/stat does not count"
    assert shown(look(cpu.SUBJECT, fake_host(tmp_path / "none"))["steal"]).startswith(
        "unknown: could not look: /proc/stat"
    )


@pytest.mark.parametrize("text", ["\x1b[31m\n\n[x](y)", "🂡" * 10_000, "\0", "1 2 3", "-5-9", "nan inf"])
def test_hostile_files_are_one_line_each(tmp_path: Path, text: str) -> None:
    """Whatever stands in the kernel's files, a check is a state with words."""
    paths = ["proc/loadavg", "proc/stat", "proc/pressure/cpu", "proc/cpuinfo", f"{CPU}/online", "sys/hypervisor/type"]
    paths += [f"{CPU}/cpu1/topology/thread_siblings_list", f"{CPU}/cpu1/cpufreq/scaling_governor"]
    paths += [f"sys/devices/system/node/node{node}/cpulist" for node in (0, 1)]
    found = look(cpu.SUBJECT, fake_host(tmp_path, dict.fromkeys(paths, text)))
    assert len(found) == len(cpu.SUBJECT.checks)
    for check in found.values():
        assert shown(check).isprintable()
        assert len(shown(check)) < 1100
