"""Statistics of every layer of a network: histograms of its inputs and pre-activations, and units that stopped.

A layer's *input* goes into its linear map or convolution; its *pre-activation* is the output of that, before any norm.
The third article draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

BINS = 48
#: More of them make the histograms smoother and each recording slower.
SAMPLES = 256
#: Fixed ranges, so that epochs and seeds can be compared; values outside count in the outer bins.
WIDE = (-6.0, 6.0)
TANH = (-1.0, 1.0)
#: A tanh beyond this has a slope under a fiftieth of that at zero (1 - 0.99²).
SATURATED = 0.99


@dataclass
class Histogram:
    """Counts in BINS equal bins from `low` to `high`, one list per recording; non-finite values are omitted."""

    layer: str
    #: "input" or "pre-activation".
    what: str
    low: float
    high: float
    counts: list[list[int]] = field(default_factory=list)


@dataclass
class Units:
    """The share of an activation layer's units that no longer respond, one value per recording.

    Of a tanh: the share of its values, over all samples, that are saturated. Of a ReLU: the share of its units
    (channels of an image) that are zero for every sample.
    """

    layer: str
    #: "tanh" or "relu".
    activation: str
    share: list[float] = field(default_factory=list)


class LayerStatistics:
    """The statistics of one model, recorded while it evaluates."""

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

    def record(self, x: torch.Tensor) -> None:
        """Counts the values of every layer for at most SAMPLES of `x`, in evaluation mode."""
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
    def hook(_: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        _count(inputs, arguments[0])
        _count(outputs, output)

    return hook


def _count_stopped(units: Units) -> Hook:
    def hook(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        units.share.append(_stopped(units.activation, output))

    return hook


def _count(histogram: Histogram, values: torch.Tensor) -> None:
    import torch

    flat = values.detach().flatten()
    flat = flat[torch.isfinite(flat)].clamp(histogram.low, histogram.high)
    counts = torch.histc(flat, BINS, histogram.low, histogram.high) if len(flat) else torch.zeros(BINS)
    histogram.counts.append([int(count) for count in counts.tolist()])


def _stopped(activation: str, output: torch.Tensor) -> float:
    if activation == "tanh":
        return float((~(output.abs() <= SATURATED)).float().mean())  # a value that is not finite counts as stopped
    by_unit = output.movedim(1, 0).flatten(1)  # (N, C, ...) -> (C, N * ...)
    return float((~(by_unit > 0)).all(1).float().mean())
