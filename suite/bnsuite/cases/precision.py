"""TF32 and cuDNN's flags: exact products where numbers are compared, torch's defaults where time is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def exact_products() -> None:
    """Has this process compute float32 products and convolutions in float32, and not in TF32's 10 bits."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def cudnn(
    *, enabled: bool | None = None, deterministic: bool | None = None, allow_tf32: bool | None = None
) -> Iterator[None]:
    """Sets the flags of cuDNN that are given; all others stay.

    ``torch.backends.cudnn.flags`` sets those that it is not given as well: TF32 on, benchmark and deterministic off.
    """
    import torch

    flags = torch.backends.cudnn
    asked = {"enabled": enabled, "deterministic": deterministic, "allow_tf32": allow_tf32}
    before = {name: getattr(flags, name) for name, value in asked.items() if value is not None}
    for name in before:
        setattr(flags, name, asked[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(flags, name, value)
