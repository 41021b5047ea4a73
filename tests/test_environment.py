"""The recorded environment of a measured process."""

from __future__ import annotations

import json
import os
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
    for name in os.environ:
        if name in environment.VARIABLES or name.startswith(environment.VARIABLE_FAMILIES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.setenv("HOME", "/root")
    found = environment.describe(devices.get("cpu"))["variables"]
    assert found == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "MALLOC_TOP_PAD_": "1"}


def test_families_of_settings_are_recorded_without_secrets_and_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any variable of Inductor, Triton, NCCL and MPS may change a number; a path or an address says nothing."""
    settings = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50",
        "NCCL_ALGO": "Ring",
        "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
        "TRITON_DISABLE_LINE_INFO": "1",
    }
    for name in (*settings, "TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_REDIS_URL", "CUDA_MPS_PIPE_DIRECTORY"):
        monkeypatch.setenv(name, settings.get(name, "/nowhere"))
    found = environment.describe(devices.get("cpu"))["variables"]
    assert settings.items() <= found.items()
    assert "/nowhere" not in found.values()


def test_torchs_flags_are_recorded_whatever_was_set() -> None:
    """Newer releases refuse to say allow_tf32 where precisions by operation overrule it: that is a gap, no error."""
    code = """
import json, torch
from bnsuite.measure.devices import torch_facts
before = torch_facts()
torch.backends.cudnn.benchmark = True
if hasattr(torch.backends.cudnn, "conv"):
    torch.backends.cudnn.conv.fp32_precision = "ieee"
print(json.dumps([before, torch_facts()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert {"cudnn_tf32", "matmul_tf32", "deterministic_algorithms"} <= before["flags"].keys()
    assert (before["flags"]["cudnn_benchmark"], after["flags"]["cudnn_benchmark"]) == (False, True)
    if "cudnn_conv" in before["precisions"]:
        assert after["precisions"]["cudnn_conv"] == "ieee"
        assert "cudnn_tf32" not in after["flags"]
