"""A rank beside the timed process: ``python -m bnsuite.cases.distributed RANK RANKS FOLDER DEVICE PARENT CORE``.

It does what the lines on its stdin say, in their order, and ends with them, with the process that started it, or with
the first error, whose traceback goes to the log.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import warnings
from pathlib import Path

from bnsuite.cases.distributed import ranks

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves rank 0 until it is done."""
    rank, world, folder, device, parent, core = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it ended before that
        return
    os.sched_setaffinity(0, {int(core)})
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    Path(folder, f"ready-{rank}").touch()
    ranks.join(int(rank), int(world), Path(folder), device)
    here = ranks.rank_device(device, int(rank))
    built: dict[str, ranks.Local] = {}
    for line in sys.stdin.buffer:
        number, what, *asked = line.decode().rstrip("\n").split(" ", 2)
        if what == "build":
            built[number] = ranks.Local(json.loads(asked[0]), here, int(rank), int(world))
        elif what == "drop":
            built.pop(number, None)
        else:
            built[number].run(what)


if __name__ == "__main__":
    main()
