"""What is recorded of the builds underneath torch, and of the CPU's features."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from bnsuite.measure import builds

WHEEL = """PyTorch built with:
  - GCC 13.3
  - C++ Version: 202002
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64 architecture applications
  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa71049cd69a3df32adcccb623b12cd7baa22)
  - OpenMP 201511 (a.k.a. OpenMP 4.5)
  - LAPACK is enabled (usually provided by MKL)
  - NNPACK is enabled
  - CPU capability usage: AVX512
  - CUDA Runtime 12.8
  - NVCC architecture flags: -gencode;arch=compute_75,code=sm_75
  - CuDNN 91.0.2  (built against CUDA 12.9)
  - Magma 2.6.1
  - a line of a later release
  - Build settings: BLAS_INFO=mkl, CXX_COMPILER=/opt/rh/usr/bin/c++, CXX_FLAGS= -O2 -I/home/me/include, odd,\
 -isystem /home/me/x -Wall, LAPACK_INFO=mkl, PERF_WITH_AVX=1, USE_MKLDNN=ON,
"""


def test_a_wheel_is_parsed() -> None:
    """Libraries have a name and a version; the instruction set and the build's settings stand elsewhere."""
    found, _ = builds.parse(WHEEL)
    assert found == {
        "compiler": "GCC 13.3",
        "C++": "202002",
        "MKL": "2024.2 (20240605)",
        "oneDNN": "3.12.0 (80afa71)",
        "OpenMP": "4.5 (201511)",
        "LAPACK": "enabled (usually provided by MKL)",
        "NNPACK": "enabled",
        "CUDA Runtime": "12.8",
        "NVCC architecture flags": "-gencode;arch=compute_75,code=sm_75",
        "CuDNN": "91.0.2 (built against CUDA 12.9)",
        "Magma": "2.6.1",
        "other": "a line of a later release",
    }


def test_settings_of_the_build_have_no_folders() -> None:
    """A value may hold commas; the folders of whoever built torch are left out."""
    _, settings = builds.parse(WHEEL)
    assert settings == {
        "BLAS_INFO": "mkl",
        "CXX_COMPILER": "c++",
        "CXX_FLAGS": "-O2 -Iinclude, odd, -isystem x -Wall",
        "LAPACK_INFO": "mkl",
        "PERF_WITH_AVX": "1",
        "USE_MKLDNN": "ON",
    }


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Intel(R) MKL-DNN of some day", "Intel(R) MKL-DNN of some day"),
        ("Intel(R) MKL-DNN v9 (no hash)", "v9 (no hash)"),
        ("???", "???"),
        ("one\n  - two", "one; two"),
    ],
)
def test_what_can_not_be_parsed_is_kept_as_text(line: str, kept: str) -> None:
    """Another vendor's build prints other lines: none of them is lost."""
    found, settings = builds.parse(f"PyTorch built with:\n  - {line}\n  - Build settings: strange")
    assert kept in found.values()
    assert settings == {"other": "strange"}


def test_loaded_libraries_are_those_of_torch() -> None:
    """A runtime of threads is known by its file; those that numpy and others bring for themselves don't count."""
    found = builds.loaded(
        [
            "/env/torch/lib/libgomp-24e2ab19.so.1",
            "/env/torch/lib/libtorch_cpu.so",
            "/env/numpy.libs/libscipy_openblas64_-56d6093b.so",
            "/env/numpy.libs/libopenblas64_p-r0.so",
            "/env/nvidia/libcublas.so.13",
            "/opt/intel/libiomp5.so",
            "/usr/lib/libmkl_rt.so.2",
        ]
    )
    assert found == {"OpenMP runtime": "libgomp-24e2ab19.so.1, libiomp5.so", "BLAS library": "libmkl_rt.so.2"}


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse smep amx_tile avx2 fma\nbugs\t: avx9\n", ("amx_tile", "avx2", "fma")),
        ("processor\t: 0\nFeatures\t: fp asimd sve sme bf16 crc32\n", ("asimd", "bf16", "sme", "sve")),
        ("processor\t: 0\n", None),
        ("", None),
    ],
)
def test_features_are_those_that_libraries_choose_their_code_by(cpuinfo: str, found: tuple[str, ...] | None) -> None:
    """x86 and ARM name them on lines of their own; where no line does, nothing is known."""
    assert builds.features(cpuinfo) == found


def test_this_torch_is_described() -> None:
    """In a fresh process, the record agrees with what torch prints, and nothing of it is unknown."""
    code = "import json; from bnsuite.measure import builds; print(json.dumps(builds.describe()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    shown = torch.__config__.show()
    assert found["builds"]["oneDNN"].partition(" ")[0] in shown
    assert found["builds"]["BLAS"] == found["build_settings"]["BLAS_INFO"]
    assert "omp" in found["builds"]["OpenMP runtime"]
    assert found["build_settings"]["TORCH_VERSION"] == torch.__version__.partition("+")[0]
    assert builds.OTHER not in found["builds"]
    assert sys.prefix not in done.stdout
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        assert "avx2" in found["cpu_features"]
