"""The library that plays a driver (``nvml_stub.c``), compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def compiled(folder: Path, build: str = "") -> Path:
    """Returns `folder`, for LD_LIBRARY_PATH: it has the library, compiled as `build` ("", "OLD" or "NEXT") says.

    The test is skipped where there is no compiler.
    """
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compile the NVML stub with")
    define = [f"-D{build}"] if build else []
    library = str(folder / "libnvidia-ml.so.1")
    subprocess.run(["gcc", *define, "-shared", "-fPIC", "-o", library, str(SOURCE)], check=True)
    return folder
