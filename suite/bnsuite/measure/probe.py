"""What every layer of a network sees: histograms of what its linear map gets and of what it gives.

A layer's *input* is what its linear map or convolution is given, its *pre-activation* what that gives, before any
norm. This is what the third article draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

BINS = 48
#: More of them make the histograms smoother and each look dearer.
SAMPLES = 256
#: Fixed ranges, so that epochs and seeds can be laid over one another; what lies outside counts in the outer bins.
WIDE = (-6.0, 6.0)
TANH = (-1.0, 1.0)
#: A tanh beyond this has a slope under a fiftieth of that at zero (1 - 0.99²).
SATURATED = 0.99


@dataclass
class Histogram:
    """Counts in BINS equal bins from `low` to `high`, one list for each look at the network; what is not finite
    is left out.
    """

    layer: str
    #: "input" or "pre-activation".
    what: str
    low: float
    high: float
    counts: list[list[int]] = field(default_factory=list)


@dataclass
class Units:
    """The units of an activation layer that have stopped to answer, as shares, one for each look.

    A tanh: all its values over the samples, the share that is saturated. A ReLU: its units (channels of an image),
    the share that is zero for every sample.
    """

    layer: str
    #: "tanh" or "relu".
    activation: str
    share: list[float] = field(default_factory=list)


class Probe:
    """Looks into a model while it evaluates."""

    def __init__(self, model: nn.Module) -> None:
        from torch import nn

        self._model = model
        self.histograms: list[Histogram] = []
        self.units: list[Units] = []
        self._maps: list[tuple[nn.Module, Histogram, Histogram]] = []
        self._activations: list[tuple[nn.Module, Units]] = []
        after_tanh = False
        for layer in model.modules():
            number = str(len(self._maps))
            if isinstance(layer, nn.Linear | nn.Conv2d):
                inputs = Histogram(number, "input", *(TANH if after_tanh else WIDE))
                self._maps.append((layer, inputs, Histogram(number, "pre-activation", *WIDE)))
                self.histograms += self._maps[-1][1:]
            elif isinstance(layer, nn.Tanh | nn.ReLU):
                after_tanh = isinstance(layer, nn.Tanh)
                units = Units(str(len(self._maps) - 1), "tanh" if after_tanh else "relu")
                self._activations.append((layer, units))
                self.units.append(units)

    def look(self, x: torch.Tensor) -> None:
        """Count what the layers see of at most SAMPLES of `x`, in evaluation mode."""
        import torch

        step = -(-len(x) // SAMPLES)  # spread over all of it: a regression's points are sorted
        x = x[::step]
        handles = [layer.register_forward_hook(_count_both(inputs, outputs)) for layer, inputs, outputs in self._maps]
        handles += [layer.register_forward_hook(_count_stopped(units)) for layer, units in self._activations]
        self._model.eval()
        try:
            with torch.no_grad():
                self._model(x)
        finally:
            for handle in handles:
                handle.remove()


Hook = Callable[["nn.Module", "tuple[torch.Tensor, ...]", "torch.Tensor"], None]


def _count_both(inputs: Histogram, outputs: Histogram) -> Hook:
    def look(_: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        _count(inputs, given[0])
        _count(outputs, output)

    return look


def _count_stopped(units: Units) -> Hook:
    def look(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        units.share.append(_stopped(units.activation, output))

    return look


def _count(histogram: Histogram, values: torch.Tensor) -> None:
    import torch

    flat = values.detach().flatten()
    flat = flat[torch.isfinite(flat)].clamp(histogram.low, histogram.high)
    counts = torch.histc(flat, BINS, histogram.low, histogram.high) if len(flat) else torch.zeros(BINS)
    histogram.counts.append([int(count) for count in counts.tolist()])


def _stopped(activation: str, output: torch.Tensor) -> float:
    if activation == "tanh":
        return float((~(output.abs() <= SATURATED)).float().mean())  # what is not finite has stopped as well
    by_unit = output.movedim(1, 0).flatten(1)  # (N, C, ...) -> (C, N * ...)
    return float((~(by_unit > 0)).all(1).float().mean())
