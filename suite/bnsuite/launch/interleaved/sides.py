"""The two sides of a comparison: A is trusted, B is judged. Each is a session of its own; times are taken by turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bnsuite.launch.datasets import DataStage
from bnsuite.launch.environments import Environment, Notify
from bnsuite.launch.prepared import PreparedSession
from bnsuite.launch.process import isolation
from bnsuite.launch.process.scratch import scratch_folder
from bnsuite.launch.progress import Progress, ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record.errors import InputError
from bnsuite.record.folder import SIDES
from bnsuite.record.schema import PlannedCase, RunOptions

if TYPE_CHECKING:
    from typing_extensions import Self


#: NVML's number of the compute mode in which a GPU takes one process at a time.
EXCLUSIVE_PROCESS = 3


@dataclass(frozen=True)
class PreparedPair:
    """Both sides, ready to be measured."""

    a: PreparedSession
    b: PreparedSession
    progress: ProgressCounter

    @property
    def sides(self) -> tuple[PreparedSession, PreparedSession]:
        return self.a, self.b

    def begin(self) -> None:
        """Writes both runs, still empty, into the folder."""
        for side in self.sides:
            side.begin()

    def end(self, ended_by: str | None = None) -> None:
        """Records on both sides that the run is finished, or what ended it before."""
        for side in self.sides:
            side.end(ended_by)


class PairedSession:
    """The sessions of both sides. A context manager: leaving it ends every process of both."""

    def __init__(
        self,
        environments: tuple[Environment, Environment],
        options: tuple[RunOptions, RunOptions],
        folder: Path,
        listen: Callable[[Progress], None],
        *,
        data: Path | None = None,
        injected: dict[str, float] | None = None,
        notify: Notify = lambda _: None,
    ) -> None:
        self._environments, self._notify, self._injected = environments, notify, injected or {}
        self._progress = ProgressCounter(listen)
        self._scratch = scratch_folder()
        stage = DataStage(Path(self._scratch.name) / "data", data)  # both sides read the same bytes
        self._a, self._b = (
            Session(
                one,
                folder / side,
                self._progress,
                data,
                environment,
                stage=stage,
                notify=notify,
                place=f" in {environment.name}",
            )
            for one, side, environment in zip(options, SIDES, environments, strict=True)
        )
        self._open = ExitStack()
        self._warnings: list[str] = []

    def __enter__(self) -> Self:
        self._open.callback(self._scratch.cleanup)
        for session in (self._a, self._b):
            self._open.enter_context(session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def warnings(self) -> list[str]:
        """Problems of either side, or of both, that spoil no measurement."""
        return [*self._warnings, *self._a.warnings, *self._b.warnings]

    def warn(self, text: str) -> None:
        """Adds a problem of both sides that spoils no measurement."""
        self._warnings.append(text)

    def prepare(self) -> PreparedPair:
        """Makes sure of both environments and chooses the cases; nothing is written yet.

        Raises InputError if an environment can't be had, or if the two can't be compared.
        """
        for environment in self._environments:
            environment.prepare(self._notify)
        b = self._b.prepare(_is_comparable)  # an implementation has a part in some cases only
        ids = {result.id for result in b.run.cases}
        pair = PreparedPair(self._a.prepare(lambda case: case.id in ids), b, self._progress)
        _require_one_device(pair)
        in_a = {result.id for result in pair.a.run.cases}
        for name in sorted(ids - in_a):
            b.recorder.skip(name, f"{pair.a.environment.name} is shown too few GPUs for its ranks")
        for side, name, injected in zip(pair.sides, SIDES, ({}, self._injected), strict=True):
            side.recorder.is_side(name, injected)
        self._warn_of_differences(pair)
        return pair

    def _warn_of_differences(self, pair: PreparedPair) -> None:
        """Warns of what one side, or both, can't be given."""
        for side in pair.sides:
            gpu = side.run.environment.gpu
            if gpu is not None and gpu.nvml is None:
                name = side.environment.name
                self.warn(f"{name}: NVML can't be asked there: a GPU that is throttled, or used by others, goes unseen")
        libcs = [side.run.environment.libc for side in pair.sides]
        if isolation.keep_heap(libcs[0]) != isolation.keep_heap(libcs[1]):
            self.warn(
                f"{' and '.join(libcs)} keep their heaps differently: tensors above 32 MiB are timed with the page "
                "faults of the older one"
            )
        if isolation.kernel_refuses_huge_pages() and pair.b.device == "cpu":
            self.warn(f"this kernel gives no huge pages, so times vary more: echo madvise > {isolation.THP}")


def _require_one_device(pair: PreparedPair) -> None:
    """Raises InputError unless both sides measure the same device, and may do so together.

    A GPU is known by its UUID: the number of "cuda:1" depends on what each side is shown, and in which order.
    """
    a, b = pair.sides
    uuids = [_uuid(side) for side in pair.sides]
    same = uuids[0] == uuids[1] if None not in uuids else a.device == b.device
    if not same:
        shown = [
            f"{side.device} ({uuid})" if uuid else side.device for side, uuid in zip(pair.sides, uuids, strict=True)
        ]
        devices = f"{a.environment.name} has {shown[0]}, {b.environment.name} has {shown[1]}"
        on_gpus = None not in uuids
        fix = "show both the same, CUDA_VISIBLE_DEVICES=GPU-..." if on_gpus else "name one with --device"
        raise InputError(f"the environments chose different devices ({devices}); {fix}")
    gpu = b.run.environment.gpu
    if gpu is not None and gpu.nvml is not None and gpu.nvml.compute_mode == EXCLUSIVE_PROCESS:
        raise InputError(
            f"{b.device} is in exclusive-process mode, which lets one process on it, and a comparison needs two; "
            f"end that mode with `sudo nvidia-smi -i {gpu.nvml.uuid} -c DEFAULT`"
        )


def _uuid(side: PreparedSession) -> str | None:
    """Returns the UUID of the GPU that a side measures; None on a CPU, and where the driver does not say."""
    gpu = side.run.environment.gpu
    return gpu.nvml.uuid if gpu is not None and gpu.nvml is not None else None


def _is_comparable(case: PlannedCase) -> bool:
    """Returns False for a ratio, which compares two steps of one environment and needs no second one."""
    return case.kind != "ratio"
