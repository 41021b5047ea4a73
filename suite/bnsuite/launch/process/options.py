"""The options of a measured process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class WorkerOptions:
    """The start of one process: its folders, threads, cores and device."""

    #: Names its log in `scratch`.
    label: str
    #: Holds logs, and what processes of this machine leave in their TMPDIR.
    scratch: Path
    #: The data sets, made by the coordinator: all environments read the same bytes.
    stage: Path
    threads: int = 1
    #: The cores to stay on; none: all that this process may use.
    cores: tuple[int, ...] = ()
    #: "cpu", "cuda", "cuda:N" or "auto": decides whether an image is given the GPUs.
    device: str = "cpu"
    #: The implementation under test, as ``module:factory`` or ``/a/file.py:factory``; None for torch's own layers.
    implementation: str | None = None
    #: The kinds that the implementation supports by --supports: lists of words by name.
    supports: Mapping[str, Sequence[str]] | None = None
    #: The user's functions under test by their roles, such as "fold", each named as an implementation is.
    functions: Mapping[str, str] = field(default_factory=dict)
    #: Files of the user's cases, as ``/a/file.py`` or ``/a/file.py:NAME``.
    cases: tuple[str, ...] = ()
    #: Workloads of the user's, likewise.
    workloads: tuple[str, ...] = ()
    #: Whether large tensors are backed by huge pages (see ``isolation.huge_pages``).
    huge_pages: bool = False
    #: Whether torch is imported as the process starts, outside the time limit of any request.
    torch_first: bool = False
    #: The cores of a distributed case's ranks (none: there is no such case), and whether several may share one.
    rank_cores: tuple[int, ...] = ()
    oversubscribe: bool = False
    #: The known fault of all timed cases (see ``measure/fault_injection.py``).
    injected: Mapping[str, float] = field(default_factory=dict)

    @property
    def imports_users_files(self) -> bool:
        """Whether the process imports files of the user's."""
        return self.implementation is not None or bool(self.cases or self.workloads or self.functions)

    @property
    def times(self) -> bool:
        """Whether the process times cases: it is a launch of a run, or of a side of a comparison."""
        return self.label.endswith("launch")
