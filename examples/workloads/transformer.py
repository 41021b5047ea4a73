"""A transformer block, in KernelBench's form: a class, its inputs, and the arguments it is made with.

bnsuite --device cpu --workload examples/workloads/transformer.py
"""

import torch
from torch import nn

BATCH, LENGTH, WIDTH, HEADS = 4, 32, 64, 4


class Model(nn.Module):
    """Attention and a feed-forward network, each behind a layer norm and beside a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.feed_forward(self.norm2(x))


def get_inputs() -> list[torch.Tensor]:
    return [torch.rand(BATCH, LENGTH, WIDTH)]


def get_init_inputs() -> list[int]:
    return [WIDTH, HEADS]
