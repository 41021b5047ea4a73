"""A CUDA that is a name: the rehearsal of the GPU paths on a machine that has no GPU.

Every tensor lies in the memory of the CPU, and every kernel is the CPU's. What is rehearsed is the code around the
kernels: which device a tensor is said to be on, the order of calls, captures, counters of memory, children, errors.

It proves NOTHING about kernels, numerics, asynchrony, races, times or memory of a GPU. A run that was measured so says
it in its ``run.json``, and `bnsuite accept` refuses it.

`install` puts it into this process; ``site/sitecustomize.py`` on PYTHONPATH puts it into children in which FAKE_CUDA is
the number of GPUs. It is tied to torch's internals: what it does not know raises NotRehearsedError.

    marks.py         which storages are "on a GPU", and how many bytes that is
    mode.py          what torch's functions and kernels are told and what they answer
    streams.py       events, streams, waits, the debug mode that forbids waits
    graphs.py        captures, replays
    random_state.py  the generator of a GPU apart from that of the CPU
    sync_norm.py     the kernels of SyncBatchNorm, which a CPU does not have
    runtime.py       torch.cuda and torch.accelerator: devices, their properties, what is left
    faults.py        a GPU that is busy, full or broken
    coverage.py      which statements ran
    zygote.py        a process that forks a child for each script, since importing torch takes long
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: The number of GPUs, for children.
VARIABLE = "FAKE_CUDA"
BANNER = (
    "REHEARSAL on a CUDA that is a name: no GPU is here, and nothing below says anything about kernels, numerics, "
    "memory or times of a GPU"
)

HERE = Path(__file__).parent


def variables(nvml: Path, *, gpus: int = 1, plays: str = "", **more: str) -> dict[str, str]:
    """Returns the variables of a child that rehearses, with `nvml`, a folder that has the stub of NVML."""
    path = [str(HERE / "site"), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        VARIABLE: str(gpus),
        "NVML_STUB": plays,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(nvml), os.environ.get("LD_LIBRARY_PATH")])),
        "PYTHONPATH": os.pathsep.join(path),
        **more,
    }


def install(gpus: int = 1) -> None:
    """Gives torch so many GPUs in this thread, for the rest of the process. Says so on stderr."""
    from fakecuda import runtime

    sys.stderr.write(f"{BANNER}\n")
    runtime.install(gpus)
