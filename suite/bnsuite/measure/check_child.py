"""A check in a child process, which may crash, hang or lose its GPU: how it ended is an observation like any other.

The child is ``python -m bnsuite.measure.check_child CASE DEVICE SECONDS``, and answers with one JSON line on stdout.
The word for its end is the same in every run, so that a known one can be pinned.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.measure import cores

if TYPE_CHECKING:
    from bnsuite.cases import CheckCase, Observation

#: What is observed of every check in a child, and the word for one that came to its end.
ENDED, WELL = "outcome", "returned"
TIMED_OUT = "timed out"
#: What the start of Python, torch and the GPU may take, and the end, beside the time of the check itself.
START_UP_S = 60.0
#: How long a killed child is waited for: one that hangs in its GPU's driver may stay.
KILLED_S = 10.0
#: A message such as "CUDA error: an illegal memory access was encountered".
CUDA_ERROR = re.compile(r"CUDA error: (?:an? )?(.+?)(?: was encountered| triggered)?$")

Answer = dict[str, Any]


def look(case: CheckCase, device: str, limit_s: float) -> tuple[list[Observation], str | None]:
    """Returns the observations of `case` and how its child ended, or why the check is skipped."""
    from bnsuite.cases import Observation
    from bnsuite.measure import devices

    devices.get(device).empty_caches()  # what this process has cached is no room for the child
    answer = _ask(case.id, device, limit_s)
    if answer.get("skipped") is not None:
        return [], str(answer["skipped"])
    seen = [Observation(**one) for one in answer.get("observations", ())]
    return [Observation(ENDED, answer["word"], expected=WELL), *seen], None


def _ask(case: str, device: str, limit_s: float) -> Answer:
    """Returns the answer of a child, or the word for its end if it gave none."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, case, device, str(limit_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        said, _ = process.communicate(timeout=START_UP_S + limit_s)
    except subprocess.TimeoutExpired:
        return {"word": TIMED_OUT}
    finally:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILLED_S)
        assert process.stdout is not None
        process.stdout.close()
    lines = said.splitlines()
    if process.returncode == 0 and lines:
        answer: Answer = json.loads(lines[-1])
        return answer
    status = process.returncode
    if status == -signal.SIGALRM:
        return {"word": TIMED_OUT}
    return {"word": f"died: {signal.Signals(-status).name}" if status < 0 else f"died: status {status}"}


def word_for(error: BaseException) -> str:
    """Returns the word for a check that raised: what CUDA says of itself, or the type of the error."""
    first = (str(error).strip().splitlines() or [""])[0]
    said = CUDA_ERROR.search(first)
    return f"died: {said[1]}" if said is not None else f"raised: {type(error).__name__}"


def _answer(case: str, device: str, limit_s: float) -> Answer:
    from bnsuite.cases import CheckCase, catalogue, gpu_errors
    from bnsuite.measure import check, devices

    found = catalogue.case(case)
    assert isinstance(found, CheckCase)
    try:
        devices.get(device).use(watched=False)
        devices.get(device).exact()
        signal.setitimer(signal.ITIMER_REAL, limit_s)  # nobody handles it: it ends this process, whatever it waits for
        observations, skipped = check.look(found, device)
        devices.get(device).wait()  # an error of a kernel that is still running is one of this check
    except Exception as error:  # noqa: BLE001  # whatever it is: it is an observation
        traceback.print_exc()
        text = (str(error).strip().splitlines() or [""])[0]
        kind = gpu_errors.kind_of(error)  # of these two, nothing was seen of the check
        if kind is gpu_errors.BUSY:
            return {"skipped": f"a second process can't use the GPU ({text}); nvidia-smi -c DEFAULT lets it"}
        if kind is gpu_errors.NO_MEMORY:
            return {"skipped": f"the GPU has too little free memory: {text}"}
        return {"word": word_for(error)}
    return {"word": WELL, "observations": [asdict(one) for one in observations], "skipped": skipped}


def main() -> None:
    """Looks at one check and answers."""
    cores.take()  # it also ends with the process that started it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.dup(1)
    os.dup2(2, 1)  # a print in the measured code must not look like an answer
    line = json.dumps(_answer(sys.argv[1], sys.argv[2], float(sys.argv[3])), allow_nan=False).encode() + b"\n"
    while line:
        line = line[os.write(answers, line) :]
    sys.stderr.flush()
    os._exit(0)  # with a GPU that is lost, an orderly end may never come


if __name__ == "__main__":
    main()
