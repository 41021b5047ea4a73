"""Layers and inputs of a diagnosis, and one step of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.refusals import laid_out
from bnsuite.cases.support import Kind

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Deviations of the channels: variances from a tenth of torch's eps to 100, out of order.
STDS = (1.0, 1e-3, 0.03, 10.0, 4e-3, 0.3)
CHANNELS = len(STDS)
#: Inputs with 24 values per channel, so that variances divided by n and by n - 1 differ by 4 %.
SHAPES: dict[int, tuple[int, ...]] = {
    2: (24, CHANNELS),
    3: (4, CHANNELS, 6),
    4: (4, CHANNELS, 2, 3),
    5: (2, CHANNELS, 2, 2, 3),
}
#: The relative error, in each channel, under which results are those of a formula.
TOLERANCE = {"float64": 1e-5, "float32": 3e-4, "float16": 0.03, "bfloat16": 0.06}
STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Subject:
    """An implementation, on a device, and the kind of input on which it is looked at."""

    make: Callable[..., nn.Module]
    device: str
    kind: Kind
    #: Arguments that can't be given: the implementation refuses or does not declare them.
    withheld: frozenset[str] = frozenset()

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.kind.dtype]

    def layer(self, **arguments: Any) -> nn.Module:
        """Returns a layer in training mode whose parameters and running statistics are not at their defaults."""
        import torch

        given = {**dict(self.kind.flags), **{k: v for k, v in arguments.items() if k not in self.withheld}}
        made = self.make(CHANNELS, **given).to(self.device).train()
        if self.kind.dtype == "float64":
            made = made.double()
        ramp = torch.linspace(0, 1, CHANNELS, dtype=torch.float64)
        stds = torch.tensor(STDS, dtype=torch.float64)
        values = {
            "weight": 0.6 + ramp,
            "bias": 0.9 - 1.4 * ramp,
            "running_mean": stds * (0.9 - ramp),
            "running_var": stds.square() * (1.5 + ramp),
        }
        with torch.no_grad():
            for name, value in values.items():
                found = getattr(made, name, None)
                if isinstance(found, torch.Tensor) and found.shape == value.shape:
                    found.copy_(value)
        return made

    def draw(self, seed: int = 0, *, offset: float = 0.0) -> torch.Tensor:
        """Returns an input of the kind with the variances of STDS, each mean `offset` and some deviations from 0."""
        import torch

        shape = SHAPES[self.kind.rank]
        generator = torch.Generator().manual_seed(seed)
        wide = [1, CHANNELS, *[1] * (len(shape) - 2)]
        stds = torch.tensor(STDS, dtype=torch.float64).view(wide)
        places = torch.linspace(-0.5, 0.5, CHANNELS, dtype=torch.float64).view(wide) + offset
        drawn = (torch.randn(shape, generator=generator, dtype=torch.float64) + places) * stds
        dtype: torch.dtype = getattr(torch, self.kind.dtype)
        return laid_out(drawn.to(self.device, dtype), self.kind.layout)

    def gradient(self) -> torch.Tensor:
        """Returns an incoming gradient; its mean is not 0, so that all terms of the backward pass count."""
        import torch

        shape = SHAPES[self.kind.rank]
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.3
        return drawn.to(self.device, getattr(torch, self.kind.dtype))


def tensor(layer: nn.Module, name: str) -> torch.Tensor | None:
    """Returns a parameter or buffer of a layer in float64 on the CPU, or None if it has none of this name."""
    import torch

    found = getattr(layer, name, None)
    return double(found) if isinstance(found, torch.Tensor) else None


def double(value: torch.Tensor) -> torch.Tensor:
    """Returns a copy of a tensor in float64 on the CPU, without a graph."""
    import torch

    return value.detach().to("cpu", torch.float64, copy=True)


def error(seen: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Returns the relative error of each channel, (C,), infinite where it is not finite.

    Tensors are (N, C, ...) or (C,), in float64.
    """
    import torch

    rows = [one.movedim(1, 0).flatten(1) if one.dim() > 1 else one[:, None] for one in (seen, exact)]  # (C, n)
    scale = rows[1].square().mean(1).sqrt().clamp_min(1e-30)
    found = (rows[0] - rows[1]).square().mean(1).sqrt() / scale
    return torch.where(torch.isfinite(found), found, torch.inf)


def agree(seen: torch.Tensor | None, exact: torch.Tensor, tolerance: float) -> bool:
    """Returns True if two tensors agree in shape and, in each channel, to within `tolerance`."""
    if seen is None or seen.shape != exact.shape:
        return False
    return float(error(seen, exact).max()) < tolerance
