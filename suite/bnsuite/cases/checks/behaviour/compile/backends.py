"""The compilers that are checked, and what they count."""

from __future__ import annotations

import shutil
from functools import cache
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import CheckNotApplicableError

if TYPE_CHECKING:
    import torch

#: Graphs as traced, as decomposed and partitioned, and as compiled.
AOT, PARTS, INDUCTOR = ("aot_eager", "aot_eager_decomp_partition", "inductor")


@cache
def need(backend: str, device: str) -> None:
    """Raises CheckNotApplicableError where the compiler can't compile a trivial function."""
    import torch

    if backend == INDUCTOR and device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise CheckNotApplicableError("no C++ compiler is on the PATH")

    def trivial(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    try:
        torch.compile(trivial, backend=backend)(torch.ones(3, device=device))
    except Exception as error:
        raise CheckNotApplicableError(f"torch.compile has no working {backend} here: {type(error).__name__}") from error


def counted() -> Any:
    """Returns torch's own counters since the last reset."""
    from torch._dynamo.utils import counters

    return counters


def reset() -> None:
    import torch

    torch.compiler.reset()
    counted().clear()
