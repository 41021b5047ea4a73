"""What every layer of a network sees: histograms of its inputs and of what it hands to the activation.

A layer's *pre-activation* is the output of its linear map or convolution, before any norm; its *input* is what
the layer before it gave, after the activation. This is what the third article draws.
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
        self._watched: list[tuple[nn.Module, Histogram, Units | None]] = []
        inputs = Histogram("0", "input", *WIDE)
        self._of_inputs = inputs
        self.histograms.append(inputs)
        layers = [layer for layer in model if isinstance(layer, nn.Linear | nn.Conv2d | nn.Tanh | nn.ReLU)]  # type: ignore[attr-defined]
        number = 0
        for layer in layers:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                self._watch(layer, Histogram(str(number), "pre-activation", *WIDE), None)
                number += 1
            else:
                tanh = isinstance(layer, nn.Tanh)
                units = Units(str(number - 1), "tanh" if tanh else "relu")
                self.units.append(units)
                self._watch(layer, Histogram(str(number), "input", *(TANH if tanh else WIDE)), units)

    def _watch(self, layer: nn.Module, histogram: Histogram, units: Units | None) -> None:
        self.histograms.append(histogram)
        self._watched.append((layer, histogram, units))

    def look(self, x: torch.Tensor) -> None:
        """Count what the layers see of at most SAMPLES of `x`, in evaluation mode."""
        import torch

        step = -(-len(x) // SAMPLES)  # spread over all of it: a regression's points are sorted
        x = x[::step]
        handles = [layer.register_forward_hook(_hook(histogram, units)) for layer, histogram, units in self._watched]
        self._model.eval()
        try:
            with torch.no_grad():
                _count(self._of_inputs, x)
                self._model(x)
        finally:
            for handle in handles:
                handle.remove()


def _hook(histogram: Histogram, units: Units | None) -> Callable[[nn.Module, object, torch.Tensor], None]:
    def look(_: nn.Module, __: object, output: torch.Tensor) -> None:
        _count(histogram, output)
        if units is not None:
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
        return float((output.abs() > SATURATED).float().mean())
    by_unit = output.movedim(1, 0).flatten(1)  # (N, C, ...) -> (C, N * ...)
    return float((by_unit <= 0).all(1).float().mean())
