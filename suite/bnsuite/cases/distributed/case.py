"""The timed steps of several ranks, and the ratios of their times to those of one rank.

The work per rank is fixed: N ranks go through N times the examples of one. One rank is the plain network in the timed
process, without a wrapper and with plain batch norm; a synchronised layer is compared with the plain layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.op.case import LayerCase
from bnsuite.cases.op.matrix import COMMON
from bnsuite.cases.op.ratio import RatioCase

if TYPE_CHECKING:
    from bnsuite.cases.distributed.ranks import RankStep

#: The numbers of ranks that are timed. More than there are cores, or GPUs, are left out when a run is planned.
RANKS = (2, 4, 8)

#: Float32 numbers in one step's all-reduces: the parameters of the networks, and the sums that a synchronised layer of
#: so many channels exchanges in its forward pass (mean, variance and count).
PARAMETERS = {"cnn": 24_058, "resnet18": 11_689_512}
STATISTICS = 2 * COMMON[1] + 1

#: What several ranks train and call, and what of it torch has for GPUs alone. One rank trains the network as it is.
TRAININGS = ("ddp", "ddp+sync-batch-norm", "ddp+sync-composition")
LAYERS = ("sync-batch-norm", "sync-composition")
PLAIN = "plain"
ON_GPU_ONLY = frozenset({"ddp+sync-batch-norm", "sync-batch-norm"})

#: The name of the control that has a case's own payload.
ALL_REDUCE = "all-reduce"


@dataclass(frozen=True, kw_only=True)
class DistributedCase(Case):
    """One step of `ranks` processes, and the all-reduce of as many bytes as the step exchanges as its control.

    `program` is "plain" (a network in the timed process), "ddp" (the same in DistributedDataParallel),
    "ddp+sync-batch-norm" (its batch norms are torch's SyncBatchNorm), "ddp+sync-composition" (they are made of
    all-reduces, on any device), "sync-batch-norm" or "sync-composition" (one such layer, forward and backward), or
    "all-reduce" (the exchange alone). `subject` is the network, the layer's shape, or what the payload is that of.
    """

    program: str
    subject: str
    #: Float32 numbers of the step's largest all-reduce.
    numbers: int
    quick: bool = False

    family: ClassVar[str] = "distributed"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing",)

    @property
    def id(self) -> str:
        return f"distributed/{self.program}/{self.subject}/ranks={self.ranks}"

    @property
    def labels(self) -> dict[str, str]:
        return {
            "program": self.program,
            "subject": self.subject,
            "ranks": str(self.ranks),
            "payload_bytes": str(4 * self.numbers),
        }

    @property
    def nbytes(self) -> None:
        return None

    @property
    def packages(self) -> tuple[str, ...]:
        return ("torchvision",) if self.subject == "resnet18" else ()

    def build(self, device: str, seed: int = 0) -> Step:
        from bnsuite.cases.distributed import ranks

        return ranks.build(self, device, seed)

    def controls(self, step: Step) -> Mapping[str, Step]:
        """The all-reduce of the case's payload by the same ranks, called in the same way."""
        if self.ranks == 1 or self.program == ALL_REDUCE:
            return {}
        ranked: RankStep = step  # type: ignore[assignment]  # `build` returns one
        return {ALL_REDUCE: ranked.all_reduce}


def _case(program: str, subject: str, numbers: int, ranks: int) -> DistributedCase:
    gpu_only = program in ON_GPU_ONLY or subject == "resnet18"
    return DistributedCase(program=program, subject=subject, numbers=numbers, ranks=ranks, gpu_only=gpu_only)


def _trainings(ranks: int) -> Iterator[DistributedCase]:
    for network, parameters in PARAMETERS.items():
        for program in TRAININGS[:2] if network == "resnet18" else TRAININGS:
            yield _case(program, network, parameters, ranks)


def _layers(ranks: int) -> Iterator[DistributedCase]:
    for program in LAYERS:
        yield _case(program, "x".join(map(str, COMMON)), STATISTICS, ranks)


#: The networks in one process, which N ranks are compared with.
ALONE = {network: _case(PLAIN, network, parameters, 1) for network, parameters in PARAMETERS.items()}
#: The plain layer of the synchronised ones' shape.
PLAIN_LAYER = LayerCase(layer="batch_norm2d", phase="fwd+bwd", layout="nchw", shape=COMMON, torch_only=True)


def _cases() -> Iterator[DistributedCase]:
    yield from ALONE.values()
    for ranks in RANKS:
        yield from _trainings(ranks)
        yield from _layers(ranks)
        yield _case(ALL_REDUCE, "gradients-of-cnn", PARAMETERS["cnn"], ranks)
        yield _case(ALL_REDUCE, "statistics", STATISTICS, ranks)
        yield replace(_case(ALL_REDUCE, "64mib", 1 << 24, ranks), gpu_only=True)


def _ratios() -> Iterator[RatioCase]:
    """Yields the scaling of each step: the time of N ranks over that of one. No bound: none is calibrated."""
    for ranks in RANKS:
        pairs: list[tuple[DistributedCase, Case]] = [(many, ALONE[many.subject]) for many in _trainings(ranks)]
        pairs += [(many, PLAIN_LAYER) for many in _layers(ranks)]
        for many, one in pairs:
            yield RatioCase(
                comparison="scaling",
                numerator=many,
                denominator=one,
                bounds={},
                rule="ranks that each do the work of one take about as long",
                gpu_only=many.gpu_only,
                ranks=many.ranks,
            )


CASES: tuple[DistributedCase, ...] = tuple(_cases())
RATIOS: tuple[RatioCase, ...] = tuple(_ratios())
