"""The checks of control groups of both versions, on hosts made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.doctor import cgroup
from fake_host import fake_host, look, shown

V2 = {
    "proc/self/cgroup": "0::/user.slice/job\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
}
JOB, SLICE = "sys/fs/cgroup/user.slice/job", "sys/fs/cgroup/user.slice"
#: A container of version 1 without a namespace of its own: the mount shows what the path says.
V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc\n3:cpuset:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n",
    "proc/self/mountinfo": "".join(
        f"3{n} 31 0:2{n} /docker/abc /sys/fs/cgroup/{name} ro,relatime - cgroup cgroup rw,{name}\n"
        for n, name in enumerate(("cpu,cpuacct", "memory", "cpuset"))
    )
    + "41 23 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
}
CPU, MEMORY = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"
NO_LIMIT = "not-applicable: no limit is set"
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("cpu-quota", {}, NO_LIMIT),
        ("cpu-quota", {**V2, f"{JOB}/cpu.max": "max 100000\n"}, NO_LIMIT),
        ("cpu-quota", {**V2, f"{JOB}/cpu.max": "150000 100000\n"}, "disturbs: CPU quota 1.5 cores, 2 needed"),
        ("cpu-quota", {**V2, f"{JOB}/cpu.max": "400000 100000\n"}, "ok: CPU quota 4 cores, 2 needed"),
        (
            "cpu-quota",
            {**V2, f"{JOB}/cpu.max": "400000 100000\n", f"{SLICE}/cpu.max": "50000 100000\n"},
            "disturbs: CPU quota 0.5 cores, 2 needed",
        ),
        ("cpu-quota", {**V2, f"{JOB}/cpu.max": "lots 0\n"}, "unknown: could not look: ValueError: invalid"),
        ("cpu-quota", {**V1, f"{CPU}/cpu.cfs_quota_us": "-1\n", f"{CPU}/cpu.cfs_period_us": "100000\n"}, NO_LIMIT),
        (
            "cpu-quota",
            {**V1, f"{CPU}/cpu.cfs_quota_us": "150000\n", f"{CPU}/cpu.cfs_period_us": "100000\n"},
            "disturbs: CPU quota 1.5 cores, 2 needed",
        ),
        ("cpuset", {**V2, f"{SLICE}/cpuset.cpus.effective": "0-1,8\n"}, "ok: cores 0-1,8 allowed, 2 there"),
        ("cpuset", {**V1, "sys/fs/cgroup/cpuset/cpuset.cpus": "4\n"}, "ok: cores 4 allowed, 2 there"),
        ("cpuset", {}, NO_LIMIT),
        ("memory-limit", {}, NO_LIMIT),
        ("memory-limit", {**V2, f"{JOB}/memory.max": "max\n"}, NO_LIMIT),
        (
            "memory-limit",
            {
                **V2,
                f"{JOB}/memory.max": f"{3 * GIB}\n",
                f"{JOB}/memory.current": f"{2 * GIB}\n",
                f"{JOB}/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            },
            "ok: memory limit 3.00 GiB, 1.00 GiB in use",
        ),
        (
            "memory-limit",
            {**V2, f"{JOB}/memory.max": f"{3 * GIB}\n", f"{JOB}/memory.current": f"{2 * GIB}\n"},
            "disturbs: memory limit 3.00 GiB, 2.00 GiB in use",
        ),
        (
            "memory-limit",
            {**V2, f"{SLICE}/memory.max": f"{GIB}\n", f"{SLICE}/memory.current": "0\n", f"{JOB}/memory.max": "max"},
            "disturbs: memory limit 1.00 GiB, 0 B in use",
        ),
        ("memory-limit", {**V1, f"{MEMORY}/memory.limit_in_bytes": "9223372036854771712\n"}, NO_LIMIT),
        (
            "memory-limit",
            {
                **V1,
                f"{MEMORY}/memory.limit_in_bytes": f"{GIB}\n",
                f"{MEMORY}/memory.usage_in_bytes": f"{GIB}\n",
                f"{MEMORY}/memory.stat": f"total_inactive_file {GIB}\n",
            },
            "disturbs: memory limit 1.00 GiB, 0 B in use",
        ),
        ("memory-limit", {**V2, f"{JOB}/memory.max": "1\n"}, "unknown: could not look: there is no /sys/fs/cgroup/"),
    ],
)
def test_limits_are_found_wherever_they_are_set(tmp_path: Path, name: str, files: dict[str, str], said: str) -> None:
    """In the process's own group or in one above it; the smallest counts."""
    assert shown(look(cgroup.SUBJECT, fake_host(tmp_path, files))[name]).startswith(said)


def test_throttling_now_and_before(tmp_path: Path) -> None:
    """A rare throttled period of long ago is fine; one in a hundred, or one just now, is not."""
    quota = {**V2, f"{JOB}/cpu.max": "400000 100000\n"}
    stat = "usage_usec 5\nnr_periods 1000\nnr_throttled {}\nthrottled_usec 2500000\n"
    for before, after, said in (
        (5, 5, "ok: throttled in 5 of 1000 periods (2.5 s)"),
        (50, 50, "disturbs: throttled in 50 of 1000 periods (2.5 s)"),
        (5, 7, "disturbs: throttled in 7 of 1000 periods (2.5 s), 2 just now"),
    ):
        files = {**quota, f"{JOB}/cpu.stat": stat.format(before)}
        host = fake_host(tmp_path, files, {f"{JOB}/cpu.stat": stat.format(after)})
        assert shown(look(cgroup.SUBJECT, host)["cpu-throttling"]) == said


def test_version_1_counts_nanoseconds(tmp_path: Path) -> None:
    """The counters of both versions mean the same."""
    files = {
        **V1,
        f"{CPU}/cpu.cfs_quota_us": "300000",
        f"{CPU}/cpu.cfs_period_us": "100000",
        f"{CPU}/cpu.stat": "nr_periods 10\nnr_throttled 5\nthrottled_time 1500000000\n",
    }
    found = look(cgroup.SUBJECT, fake_host(tmp_path, files))
    assert shown(found["cpu-throttling"]) == "disturbs: throttled in 5 of 10 periods (1.5 s)"


@pytest.mark.parametrize("text", ["", "::::\n\n", "0::/../../../etc\n", "\x1b]0;x\x07 - cgroup2 x y", "a " * 50_000])
def test_hostile_files_are_one_line_each(tmp_path: Path, text: str) -> None:
    """Whatever stands in the kernel's files, a check is a state with words."""
    host = fake_host(tmp_path, {"proc/self/cgroup": text, "proc/self/mountinfo": text})
    assert len(look(cgroup.SUBJECT, host)) == 4
    mixed = fake_host(tmp_path, {**V2, "proc/self/cgroup": text, f"{JOB}/cpu.max": text, f"{JOB}/memory.max": text})
    assert len(look(cgroup.SUBJECT, mixed)) == 4
