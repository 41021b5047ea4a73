"""The command: ``python tests/gpu_check [--device cuda] [--seconds 600] [--out FOLDER]``."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check.check import check
from gpu_check.step import Request
from gpu_check.steps import BY_NAME, ROOT, STEPS

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the check was told to end."""

    told = False

    def __call__(self, *_: object) -> None:
        """Note it; the step that runs is ended, and the results are packed."""
        self.told = True


def main() -> int:
    """Does the check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="gpu-check", description="Check a GPU within a few minutes.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a rehearsal (default: cuda)")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of it (default: 600)")
    parser.add_argument("--out", type=Path, help="folder of results (default: results/gpu-check-<time>)")
    parser.add_argument(
        "--only", action="append", choices=[one.name for one in (*STEPS, *BY_NAME)], help="a step; repeatable"
    )
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error("--seconds: must be more than 0")
    folder = options.out or Path("results") / f"gpu-check-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--out {folder}: is not empty; name another folder")
    stop = Stop()
    for one in SIGNALS:
        signal.signal(one, stop)
    request = Request(options.device, folder.resolve(), options.seconds)
    steps = [one for one in (*STEPS, *BY_NAME) if one.name in options.only] if options.only else STEPS
    results = check(request, steps, root=ROOT, show=_show, stopped=lambda: stop.told)
    _show((folder / "summary.md").read_text(encoding="utf-8"))
    _show(f"packed into {results.pack()}")
    return results.status


def _show(line: str) -> None:
    try:
        print(line, flush=True)
    except (BrokenPipeError, OSError):  # whoever looked on is gone; the logs are in the folder
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123


if __name__ == "__main__":
    sys.exit(main())
