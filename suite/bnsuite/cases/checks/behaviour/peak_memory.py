"""Family ``peak-memory``: the bytes that a step holds at its peak.

Bytes are exact, from torch's allocators, as multiples of the input's. The peak is compared with the accepted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.memory import INPUTS, PLAIN, SLACK, Input, make, peak

if TYPE_CHECKING:
    from torch import nn

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
}


def _step(
    subject: Subject, *, of: Input, training: bool, options: dict[str, Any], twice: bool = False
) -> Iterator[Observation]:
    layer = make(subject, of, **options).train(training)
    yield Observation("peak/input", peak(layer, of.made(subject), of.made(subject, 1), twice=twice))


def _other_norm(subject: Subject, *, norm: str, last: bool) -> Iterator[Observation]:
    from torch import nn

    of = Input("", 2, PLAIN.shape, last=last)
    channels = of.shape[1]
    made: dict[str, Callable[[], nn.Module]] = {
        "group_norm": lambda: nn.GroupNorm(8, channels),
        "layer_norm": lambda: nn.LayerNorm(of.shape[1:]),
        "instance_norm": lambda: nn.InstanceNorm2d(channels, affine=True),
        "rms_norm": lambda: nn.RMSNorm(of.shape[1:]),
    }
    x, dy = of.made(subject), of.made(subject, 1)
    most = peak(made[norm]().to(subject.device), x, dy)
    plain = peak(nn.BatchNorm2d(channels).to(subject.device), x, dy)
    yield Observation("peak/input", most)
    limit = 1.0 + SLACK if norm == "group_norm" else None
    yield Observation("peak/batch_norm2d", most / plain, limit)


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="peak-memory", rule="the peak memory of a step is at most the accepted one")
    for of in INPUTS:
        for training in (True, False):
            for option, options in OPTIONS.items():
                mode = "train" if training else "eval"
                yield case(
                    name=f"{of.name}/{mode}/{option}",
                    observe=partial(_step, of=of, training=training, options=options),
                    rows=("M11",),
                    quick=of in (PLAIN, INPUTS[0]) and option == "default",
                )
        yield case(
            name=f"{of.name}/train/double-backward",
            observe=partial(_step, of=of, training=True, options={}, twice=True),
            rows=("M11",),
        )
    for norm in ("group_norm", "layer_norm", "instance_norm", "rms_norm"):
        for last in (False, True):
            yield case(
                name=f"{norm}/{'channels-last' if last else 'contiguous'}",
                observe=partial(_other_norm, norm=norm, last=last),
                rows=("M13",) if norm == "group_norm" else (),
                torch_only=True,
                from_cpu=("peak/batch_norm2d",),  # a GPU's group norm may copy its input to another layout
            )
