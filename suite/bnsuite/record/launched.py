"""What a step launches, as it stands in a run and in a baseline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bnsuite.record.value import Value


class LaunchedKernels(Value):
    """What one step of a case launched: names, and how often each, in the order in which each came first."""

    #: The operators of a CPU, or the kernels of a GPU.
    of: Literal["operators", "kernels"]
    launched: dict[str, Annotated[int, Field(ge=1, lt=1 << 63)]] = Field(min_length=1)
    #: The backend that ran batch norm, such as "native" or "cudnn"; None where none was seen.
    batch_norm: str | None = None

    @property
    def number(self) -> int:
        """How many were launched."""
        return sum(self.launched.values())
