"""Calls that may crash, hang, or leave a device with an error, made in forks of this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

#: Seconds after which a call counts as hanging.
LIMIT_S = 20
#: The outcome of a call after which the device refuses all others of its process.
DEVICE_FAULT = "device-fault"

Try = Callable[[], Any]


def print_outcomes(tries: list[tuple[str, Try]], device: str, *, together: bool) -> None:
    """Prints the outcome of each try, from forks that make one of them, or as many `together` as they survive."""
    at = 0
    while at < len(tries):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            for name, call in tries[at:] if together else tries[at : at + 1]:
                signal.alarm(LIMIT_S)
                outcome = _tried(call, device)
                print(f"\n{name} {outcome}", flush=True)
                os.write(writer, b".")
                if outcome == DEVICE_FAULT:  # it outlives the call that caused it
                    break
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            at += len(pipe.read())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            print(f"\n{tries[at][0]} {'hangs' if status == -signal.SIGALRM else f'ended with {status}'}", flush=True)
            at += 1


def _tried(call: Try, device: str) -> str:
    import torch

    try:
        call()
        if device != "cpu":
            torch.cuda.synchronize(device)
    except Exception as error:  # noqa: BLE001  # which one differs by version
        return DEVICE_FAULT if "CUDA error" in str(error) else "refused"
    return "returned"
