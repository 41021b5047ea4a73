"""The first step: what ``bnsuite doctor`` sees, one kernel, and what is installed; all of it within ten seconds.

Exit status 0 if nothing disturbs, 1 if something does, 3 if there is no GPU that could be measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check.results import replace

#: Checks without which nothing can be measured on a GPU.
NEEDED = ("gpu-driver", "gpu-cuda", "gpu-kernel")
ENVIRONMENT_S, SMI_S = 9.0, 5.0


def main(device: str, folder: Path) -> int:
    """Looks at the host; writes preflight.json, environment.json, packages.txt and nvidia-smi.txt."""
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(one, device, folder) for one in (_environment, _smi, _packages)]
        disturbed, fatal = _doctor(device, folder)
        for one in asked:
            if line := one.result():
                print(line, flush=True)
    if fatal:
        print(f"no GPU can be measured: {', '.join(fatal)}")
        return 3
    print("nothing disturbs" if not disturbed else f"{len(disturbed)} of its checks disturb: {', '.join(disturbed)}")
    return 1 if disturbed else 0


def _doctor(device: str, folder: Path) -> tuple[list[str], list[str]]:
    """Prints the checks of the host; returns the names of those that disturb, and of those among them that decide."""
    from bnsuite import doctor
    from bnsuite.cases.data.images import default_folder
    from bnsuite.record.host import CheckState
    from bnsuite.report import doctor as words

    data = Path(os.environ.get("BNSUITE_DATA") or default_folder())
    request = doctor.DoctorRequest(device=device, results=folder, data=data, baselines=Path("baselines"))
    host = doctor.Host()
    report = doctor.report(doctor.examine(host, request), host)
    replace(folder / "preflight.json", words.as_json(report))
    for one in report.checks:
        print(words.line(one), flush=True)
    states = {one.name: one.state for one in report.checks}
    disturbed = [name for name, state in states.items() if state is CheckState.DISTURBS]
    on_gpu = device != "cpu"
    return disturbed, [name for name in NEEDED if on_gpu and states.get(name) is CheckState.DISTURBS]


def _environment(device: str, folder: Path) -> str | None:
    """Writes the environment of the processes that will be measured; returns why it can't."""
    from bnsuite.launch.environments import Here
    from bnsuite.launch.process.options import WorkerOptions
    from bnsuite.launch.process.scratch import scratch_folder
    from bnsuite.launch.process.worker import Worker
    from bnsuite.launch.queries import ask_environment
    from bnsuite.record.errors import InputError, NotMeasuredError

    with scratch_folder() as name:
        worker = Worker(WorkerOptions("preflight", Path(name), Path(name), device=device), Here())
        try:
            _, info = ask_environment(device, worker, ENVIRONMENT_S)
        except (InputError, NotMeasuredError) as error:
            return f"environment: {error}"
        finally:
            worker.end()
    replace(folder / "environment.json", info.model_dump_json(indent=1))
    return None


def _smi(_: str, folder: Path) -> str | None:
    """Keeps what nvidia-smi says, where it is installed."""
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not installed"
    with suppress(subprocess.SubprocessError, OSError):
        done = subprocess.run(["nvidia-smi", "-q"], capture_output=True, timeout=SMI_S, check=False)
        (folder / "nvidia-smi.txt").write_bytes(done.stdout + done.stderr)
    return None


def _packages(_: str, folder: Path) -> str | None:
    """Keeps what is installed."""
    found = {f"{one.name}=={one.version}" for one in distributions()}
    replace(folder / "packages.txt", "".join(f"{one}\n" for one in sorted(found, key=str.lower)))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
