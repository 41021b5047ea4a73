"""The recorded environment of a measured process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import torch

from bnsuite.measure import devices, environment
from bnsuite.record.schema import EnvironmentInfo

if TYPE_CHECKING:
    import pytest


def test_the_environment_says_what_was_measured() -> None:
    """Versions, processor, threads and flags; no host name and no path of this machine."""
    found = environment.describe(devices.get("cpu"))
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["threads"] == torch.get_num_threads()
    assert found["gpu"] is found["cudnn"] is None
    assert found["cuda"] == torch.version.cuda
    assert found["cpu"]
    text = repr(found)
    assert sys.prefix not in text
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout.strip()
    assert host not in text
    assert EnvironmentInfo.model_validate(found).gpu is None


def test_settings_of_the_heap_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the coordinator meant to set, the process's own variables are recorded, tunables of glibc included."""
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.setenv("HOME", "/root")
    found = environment.describe(devices.get("cpu"))["variables"]
    assert found == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "MALLOC_TOP_PAD_": "1"}
