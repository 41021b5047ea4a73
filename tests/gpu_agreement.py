"""Times of one step by this suite and by ``triton.testing``, under the same protocol; on a GPU only.

``python tests/gpu_agreement.py --out DIR`` prints one line per case and writes ``agreement.json`` into DIR. Two
comparisons, like with like:

- *cold*: rounds of one step after a flush, against ``do_bench``, which flushes before each call as well;
- *hot*: rounds of many steps on a full queue, against ``do_bench_cudagraph``, which replays many calls as one graph.

Kernels shorter than `MIN_S` are printed and not judged: the resolution of an event and the gap between two launches are
more than the limit of them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bnsuite.cases import LayerCase
from bnsuite.cases.execution import TimedBy
from bnsuite.measure import devices
from bnsuite.measure.devices import Device
from bnsuite.measure.timed_case import RUN, build, warmed_up

#: Times must agree within this; the goal is only printed.
LIMIT, GOAL = 0.05, 0.02
#: Steps of this many seconds or more are judged.
MIN_S = 100e-6
#: Rounds of ours, and milliseconds of theirs.
ROUNDS, REP_MS = 30, 300
#: The batch norm of the first layers of a ResNet, small and large enough for any GPU to take long over it.
SHAPES = ((32, 64, 112, 112), (256, 64, 112, 112))
CASES = tuple(
    LayerCase(layer="batch_norm2d", phase=phase, layout=layout, shape=shape)
    for shape in SHAPES
    for phase, layout in (("fwd-train", "nchw"), ("fwd+bwd", "nchw"), ("fwd+bwd", "nhwc"))
)


@dataclass(frozen=True)
class Agreement:
    """The time of one step by both, in seconds."""

    case: str
    #: "cold" or "hot".
    protocol: str
    ours_s: float
    theirs_s: float
    #: The host's time to launch a step, and if our rounds were held.
    host_s: float
    held: bool

    @property
    def difference(self) -> float:
        """How much longer ours is, relative to theirs."""
        return self.ours_s / self.theirs_s - 1

    @property
    def judged(self) -> bool:
        return min(self.ours_s, self.theirs_s) >= MIN_S

    @property
    def verdict(self) -> str:
        """One of "too short", "differs", "agrees" and "agrees, goal met"."""
        if not self.judged:
            return "too short"
        if not self.held or abs(self.difference) > LIMIT:
            return "differs"
        return "agrees, goal met" if abs(self.difference) <= GOAL else "agrees"

    def line(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.case} {self.protocol}: ours {self.ours_s * 1e6:.2f} µs, triton {self.theirs_s * 1e6:.2f} µs, "
            f"{self.difference:+.2%}, launch {self.host_s * 1e6:.2f} µs: {self.verdict}"
        )

    def json(self) -> dict[str, object]:
        """The same for a file."""
        return {**asdict(self), "difference": self.difference, "judged": self.judged, "verdict": self.verdict}


def compare(case: LayerCase, device: Device) -> Iterator[Agreement]:
    """Yields the comparisons of one case; ImportError without triton."""
    testing = importlib.import_module("triton.testing")
    step = build(case, device)
    pace = warmed_up(step, device, TimedBy.DEVICE, RUN.on(device).round_s)
    _, iterations = RUN.on(device).plan([pace])
    cold = device.time_rounds(step, ROUNDS, 1, device.flush())
    theirs_ms = testing.do_bench(step, warmup=100, rep=REP_MS, return_mode="median")
    yield _agreement(case, "cold", cold.device_s, theirs_ms / 1e3, cold.host_s, held=bool(cold.held))
    hot = device.time_rounds(step, ROUNDS, iterations)
    theirs_ms = testing.do_bench_cudagraph(step, rep=REP_MS // 10, return_mode="median")
    yield _agreement(case, "hot", hot.device_s, theirs_ms / 1e3, hot.host_s, held=bool(hot.held))


def _agreement(
    case: LayerCase, protocol: str, ours_s: list[float], theirs_s: float, host_s: list[float] | None, *, held: bool
) -> Agreement:
    return Agreement(case.id, protocol, median(ours_s), theirs_s, median(host_s or [0.0]), held)


def main(arguments: list[str] | None = None) -> int:
    """Compares all cases; returns 1 if one differs, or if none is long enough to be judged."""
    parser = argparse.ArgumentParser(description="compare times with triton.testing on a GPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="write agreement.json into this folder")
    options = parser.parse_args(arguments)
    try:
        device = devices.resolve(options.device)
    except devices.DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    if device.type == "cpu":
        print("a CPU has no other clock to agree with; choose a GPU", file=sys.stderr)
        return 2
    device.use()
    found: list[Agreement] = []
    for case in CASES:
        for one in compare(case, device):
            found.append(one)
            print(one.line(), flush=True)
            _write(found, options.out)  # at once: nothing is lost when it is cut off
    judged = [one for one in found if one.judged]
    return int(not judged or any(one.verdict == "differs" for one in judged))


def _write(found: list[Agreement], folder: Path | None) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"limit": LIMIT, "goal": GOAL, "min_s": MIN_S, "cases": [one.json() for one in found]}, indent=1)
    (folder / "agreement.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
