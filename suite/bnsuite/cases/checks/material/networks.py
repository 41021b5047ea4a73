"""A small network of convolutions and two norms, and its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Channels in, of the norms, and out of the small network.
WIDTHS = (3, 6, 4)
SPATIAL = {1: (9,), 2: (5, 4), 3: (3, 4, 2)}


def network(
    subject: Subject, dimensions: int, options: dict[str, Any], *, frozen: bool = False, seed: int = 0
) -> nn.Module:
    """Returns convolutions and two norms, the same for every caller; if `frozen`, the first norm is in eval mode."""
    import torch
    from torch import nn

    convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    made = nn.Sequential(
        convolution(WIDTHS[0], WIDTHS[1], 1),
        subject.batch_norm(dimensions, WIDTHS[1], **options),
        nn.Tanh(),
        convolution(WIDTHS[1], WIDTHS[2], 1),
        subject.batch_norm(dimensions, WIDTHS[2], **options),
    ).to(subject.device)
    for number in (0, 3):
        for parameter in made[number].parameters():
            with torch.no_grad():
                parameter.copy_(subject.randn(*parameter.shape, seed=number + seed, mean=0.1, std=0.5))
    for number in (1, 4):
        randomize_state(made[number], seed=number + seed)
    if frozen:
        made[1].requires_grad_(False)
    return made


def set_training(net: nn.Module, *, training: bool, frozen: bool) -> None:
    net.train(training)
    if frozen:
        net[1].eval()  # type: ignore[index]  # a Sequential


def batch(subject: Subject, dimensions: int, size: int, number: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the input and the weights of the loss, of batch `number` on `rank`."""
    seed = 1000 + 10 * number + rank
    x = subject.randn(size, WIDTHS[0], *SPATIAL[dimensions], seed=seed)
    return x, subject.randn(size, WIDTHS[2], *SPATIAL[dimensions], seed=seed + 500, mean=0.0, std=1.0)
