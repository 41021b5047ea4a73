"""The compilers that are checked, and what they count."""

from __future__ import annotations

import shutil
from functools import cache
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import CheckNotApplicableError

if TYPE_CHECKING:
    import torch

#: Graphs as they are traced, as they are taken apart, and as they are compiled.
AOT, PARTS, INDUCTOR = ("aot_eager", "aot_eager_decomp_partition", "inductor")


@cache
def need(backend: str, device: str) -> None:
    """Nothing to look at where the compiler lacks something: a trivial function tells."""
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
    """Torch's own counts of what it did since it was reset."""
    from torch._dynamo.utils import counters

    return counters


def reset() -> None:
    import torch

    torch.compiler.reset()
    counted().clear()
