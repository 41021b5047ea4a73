"""Family ``data-parallel``: the layer in two processes, or a few more, that train one network.

A case is a script of actions, run by the ranks and, as the reference, by one process that keeps all their networks
and does what a wrapper does: buffers are those of rank 0 at the beginning of every forward pass, if they are
broadcast, and gradients are averages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BOUNDLESS, BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import networks
from bnsuite.cases.checks.two_ranks import LIMIT_OF_MORE_S, LIMIT_S, ask, programs, same_on_both

if TYPE_CHECKING:
    import torch

#: The most two trainings may differ that round in another order, over the largest number of a tensor.
ROUNDING = 1e-4

#: The actions of the ranks, in order. "alone": rank 0 evaluates, unwrapped, and the other does nothing; "forward":
#: a forward pass without a backward pass; "no-grad": one in training mode, which updates running statistics.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "steps": ("step", "step", "eval"),
    "two-forwards": ("two-forwards", "two-forwards", "eval"),
    "accumulate": ("accumulate", "step", "eval"),
    "eval-between": ("step", "eval", "step", "eval"),
    "alone": ("step", "alone", "step", "eval"),
    "forward-dropped": ("step", "forward", "step", "eval"),
    "statistics-anew": ("step", "no-grad", "no-grad", "no-grad", "eval"),
    "eval-backward": ("step", "eval-step", "eval"),
    "eval-two-forwards": ("step", "eval-two-forwards", "eval-two-forwards", "eval"),
}


@dataclass(frozen=True)
class Training:
    """The training of as many ranks as there are `sizes` of batches."""

    script: str
    dimensions: int = 2
    sizes: tuple[int, ...] = (4, 4)
    #: Options of the norms.
    options: dict[str, Any] = field(default_factory=dict)
    #: Options of the wrapper.
    wrapping: dict[str, Any] = field(default_factory=dict)
    frozen: bool = False
    #: The ranks start from different numbers.
    differ: bool = False

    @property
    def broadcast(self) -> bool:
        return bool(self.wrapping.get("broadcast_buffers", True))


#: The options that are varied beside the script.
VARIANTS: dict[str, Training] = {
    "default": Training(""),
    "1d": Training("", dimensions=1),
    "3d": Training("", dimensions=3),
    "unequal": Training("", sizes=(5, 2)),
    "bucket-view": Training("", wrapping={"gradient_as_bucket_view": True}),
    "find-unused": Training("", wrapping={"find_unused_parameters": True}),
    "static-graph": Training("", wrapping={"static_graph": True}),
    "momentum=none": Training("", options={"momentum": None}),
    "affine=off": Training("", options={"affine": False}),
    "tracking=off": Training("", options={"track_running_stats": False}),
    "frozen": Training("", frozen=True),
}
#: The scripts that each variant but the default is run with.
SOME = ("steps", "two-forwards", "eval-two-forwards")
#: A static graph is to be the same in every step.
SENSELESS = {("eval-two-forwards", "static-graph")}


class _OneProcess:
    """The networks of all ranks, trained in one process."""

    def __init__(self, subject: Subject, training: Training) -> None:
        self._subject, self._training = subject, training
        self.nets = [
            networks.network(subject, training.dimensions, training.options, frozen=training.frozen)
            for _ in training.sizes
        ]
        #: Outputs of passes without gradients, by name and rank.
        self.outputs: dict[str, list[torch.Tensor]] = {}

    def run(self) -> None:
        """Runs the actions of the script."""
        import torch

        for number, action in enumerate(SCRIPTS[self._training.script]):
            inputs, weights = self._batches(number)
            for net in self.nets:
                training = not (action.startswith("eval") or action == "alone")
                networks.set_training(net, training=training, frozen=self._training.frozen)
            if action in {"eval", "no-grad", "forward"}:
                with torch.no_grad():
                    made = self._forward(inputs)
                if action != "forward":
                    self.outputs[f"y{number}"] = made
            elif action != "alone":
                order = {"accumulate": (1.5, 1.0), "two-forwards": (1.0, 1.5), "eval-two-forwards": (1.0, 1.5)}
                for scale in order.get(action, (1.0,)):
                    for y, weight in zip(self._forward([x * scale for x in inputs]), weights, strict=True):
                        (y * weight).mean().backward()
                self._descend()

    def _batches(self, number: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        dimensions, sizes = self._training.dimensions, self._training.sizes
        made = [networks.batch(self._subject, dimensions, size, number, rank) for rank, size in enumerate(sizes)]
        return [x for x, _ in made], [weights for _, weights in made]

    def _forward(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        if self._training.broadcast:
            for one, *others in zip(*(net.buffers() for net in self.nets), strict=True):
                for other in others:
                    other.copy_(one)
        return [net(x) for net, x in zip(self.nets, inputs, strict=True)]

    def _descend(self) -> None:
        for together in zip(*(net.parameters() for net in self.nets), strict=True):
            grads = [parameter.grad for parameter in together if parameter.grad is not None]
            if grads:
                for parameter in together:
                    parameter.grad = sum(grads[1:], grads[0]) / len(self.nets)
        for net in self.nets:
            programs.descend(net)


def _far(seen: torch.Tensor, truth: torch.Tensor) -> float:
    """Returns the largest difference over the largest number; 1e30 if it is undefined."""
    import torch

    truth = truth.to("cpu", torch.float64)
    if seen.shape != truth.shape or not torch.isfinite(seen).all():
        return BOUNDLESS
    return float((seen.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-12))


def _train(subject: Subject, *, training: Training) -> Iterator[Observation]:
    actions = SCRIPTS[training.script]
    outcome = ask(
        subject,
        "train",
        dimensions=training.dimensions,
        sizes=training.sizes,
        actions=actions,
        options=training.options,
        wrapping=training.wrapping,
        frozen=training.frozen,
        differ=training.differ,
        ranks=len(training.sizes),
    )
    yield Observation("outcome", outcome.word, expected="done")
    if outcome.word != "done":
        return
    by_hand = _OneProcess(subject, training)
    by_hand.run()
    nets, outputs = by_hand.nets, by_hand.outputs
    names = [name for name, _ in nets[0].named_parameters()]
    buffers = [name for name, _ in nets[0].named_buffers()]
    for rank, (answer, net) in enumerate(zip(outcome.answers, nets, strict=True)):
        truth = net.state_dict()
        parts = {"parameters": names, "buffers": [name for name in buffers if "num_batches" not in name]}
        for part, members in parts.items():
            far = max((_far(answer[name], truth[name].detach()) for name in members), default=0.0)
            yield Observation(f"rank {rank}: {part}", far, ROUNDING)
        far = max(_far(answer[name], by_rank[rank]) for name, by_rank in outputs.items())
        yield Observation(f"rank {rank}: outputs", far, ROUNDING)
        counted = {name: int(answer[name]) for name in buffers if "num_batches" in name}
        right_count = all(count == int(truth[name]) for name, count in counted.items())
        yield Observation(f"rank {rank}: num_batches_tracked", "right" if right_count else "wrong", expected="right")
    yield Observation("parameters across ranks", same_on_both(outcome.answers, names), expected="equal")
    if training.broadcast:
        for number, action in enumerate(actions):
            if action == "eval":
                here = [f"{number}.{name}" for name in buffers]
                yield Observation(
                    f"buffers across ranks at {number}", same_on_both(outcome.answers, here), expected="equal"
                )


def _join(subject: Subject, *, dimensions: int, counts: tuple[int, int], broadcast: bool) -> Iterator[Observation]:
    """Uneven batches: whoever has joined shadows the other, and all end alike."""
    outcome = ask(subject, "join", dimensions=dimensions, counts=counts, wrapping={"broadcast_buffers": broadcast})
    yield Observation("outcome", outcome.word, expected="done")
    if outcome.word != "done":
        return
    names = list(outcome.answers[0])
    statistics = [name for name in names if "running" in name or "num_batches" in name]
    parameters = [name for name in names if name not in statistics]
    yield Observation("parameters across ranks", same_on_both(outcome.answers, parameters), expected="equal")
    if broadcast:
        yield Observation("buffers across ranks", same_on_both(outcome.answers, statistics), expected="equal")
    for rank, answer in enumerate(outcome.answers):
        count = max(counts) if broadcast else counts[rank]
        counted = {int(answer[name]) for name in statistics if "num_batches" in name}
        yield Observation(f"rank {rank}: num_batches_tracked", str(sorted(counted)), expected=str([count]))


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="data-parallel", limit_s=LIMIT_S)
    for variant, plain in VARIANTS.items():
        for script in SCRIPTS if variant == "default" else SOME:
            for broadcast in (True, False):
                if (script, variant) in SENSELESS:
                    continue
                wrapping = {**plain.wrapping, "broadcast_buffers": broadcast}
                rows = ("A22",) if "two-forwards" in script and broadcast else ()
                yield case(
                    name=f"{script}/{variant}/broadcast={'on' if broadcast else 'off'}",
                    observe=partial(_train, training=replace(plain, script=script, wrapping=wrapping)),
                    rule="two ranks train as one process that averages their gradients would",
                    rows=(*rows, "T16") if script == "statistics-anew" and broadcast else rows,
                )
    for ranks in (3, 4):
        yield case(
            name=f"steps/ranks={ranks}",
            observe=partial(_train, training=Training("steps", sizes=(5, 2, 4, 3)[:ranks])),
            rule="ranks train as one process that averages their gradients would",
            quick=False,
            limit_s=LIMIT_OF_MORE_S,
        )
    yield case(
        name="steps/differing-at-first",
        observe=partial(_train, training=Training("steps", differ=True)),
        rule="all ranks begin with the parameters of rank 0",
    )
    for dimensions in (1, 2):
        for counts in ((5, 3), (2, 4)):
            for broadcast in (True, False):
                name = f"join/{dimensions}d/batches={counts[0]}+{counts[1]}/broadcast={'on' if broadcast else 'off'}"
                yield case(
                    name=name,
                    observe=partial(_join, dimensions=dimensions, counts=counts, broadcast=broadcast),
                    rule="ranks with unequal numbers of batches end with equal parameters",
                )
