"""Family ``relation``: how long one layer takes against another one on the same machine, which needs no baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.op.case import OpCase
from bnsuite.cases.op.matrix import COMMON, EDGES, RESNET_SHAPES, TALL


@dataclass(frozen=True, kw_only=True)
class RelationCase(Case):
    """The time of one step over the time of another, timed in turns in one process, and the most it may be."""

    #: What is compared, such as ``1d-vs-2d``.
    kind: str
    this: OpCase
    than: OpCase
    bounds: Mapping[str, float] = field(hash=False)
    rule: str = field()
    #: Whether the layer's implementation is what is compared: there is nothing to relate without one.
    of_implementation: bool = False
    quick: bool = False

    family: ClassVar[str] = "relation"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing",)

    @property
    def id(self) -> str:
        what = self.this.id.removeprefix("op/")
        return f"relation/{self.kind}/{what}"

    @property
    def nbytes(self) -> None:
        return None

    @property
    def pluggable(self) -> bool:
        return self.this.pluggable

    def build(self, device: str, seed: int = 0) -> Step:
        this, than = self.build_pair(device, seed)

        def step() -> None:
            this()
            than()

        return step

    def build_pair(self, device: str, seed: int = 0) -> tuple[Step, Step]:
        """The two steps, on tensors of their own with the same numbers where the shapes are the same."""
        return self.this.build(device, seed), self.than.build(device, seed)


def _relation(
    kind: str,
    this: OpCase,
    than: OpCase,
    *,
    cpu: float | None,
    cuda: float,
    rule: str,
    rows: tuple[str, ...],
    **options: bool,
) -> RelationCase:
    bounds = {"cuda": cuda} if cpu is None else {"cpu": cpu, "cuda": cuda}
    return RelationCase(
        kind=kind, this=this, than=than, bounds=bounds, rule=rule, rows=rows, cuda_only=cpu is None, **options
    )


def _layer(shape: tuple[int, ...], phase: str, layout: str | None = None, **options: Any) -> OpCase:
    rank = len(shape)
    layer = {2: "batch_norm1d", 4: "batch_norm2d", 5: "batch_norm3d"}[rank]
    return OpCase(
        layer=layer, phase=phase, layout=layout or {2: "nc", 4: "nchw", 5: "ncdhw"}[rank], shape=shape, **options
    )


def _of_shapes() -> Iterator[RelationCase]:
    images = (TALL[0] // 1000, TALL[1], 40, 25)  # the same elements, in the same order in memory
    for phase in ("fwd-train", "fwd-eval", "fwd+bwd"):
        yield _relation(
            "1d-vs-2d",
            _layer(TALL, phase),
            _layer(images, phase, "nhwc"),
            cpu=2.0,
            cuda=2.0,
            rule="the same data takes BatchNorm1d no longer than BatchNorm2d",
            rows=("P01", "P03", "P24"),
            quick=phase == "fwd-train",
        )
    for smaller, larger in zip(EDGES[::2], EDGES[1::2], strict=True):
        for phase in ("fwd-train", "fwd-eval"):
            yield _relation(
                "neighbours",
                _layer((larger, 16), phase),
                _layer((smaller, 16), phase),
                cpu=1.5,
                cuda=1.5,
                rule="one sample more makes no cliff",
                rows=("N57", "N58", "N61"),
            )


def _of_modes() -> Iterator[RelationCase]:
    for layout in ("nchw", "nhwc"):
        other = "nhwc" if layout == "nchw" else "nchw"
        for phase in ("fwd-train", "fwd+bwd"):
            yield _relation(
                "layouts",
                _layer(COMMON, phase, layout),
                _layer(COMMON, phase, other),
                cpu=1.15 if layout == "nhwc" else 8.0,
                cuda=1.5,
                rule="neither layout is much slower than the other",
                rows=("P08", "P09", "P12", "P13", "P15", "T02"),
                quick=layout == "nhwc",
            )
        yield _relation(
            "eval-vs-train",
            _layer(COMMON, "fwd-eval", layout),
            _layer(COMMON, "fwd-train", layout),
            cpu=1.1,
            cuda=1.1,
            rule="evaluation, which needs no statistics, is no slower than training",
            rows=("P06", "P07", "P21"),
            quick=layout == "nchw",
        )
        yield _relation(
            "eval-vs-train",
            _layer(COMMON, "bwd-eval", layout),
            _layer(COMMON, "bwd", layout),
            cpu=1.2,
            cuda=1.2,
            rule="the backward pass in evaluation is no slower than in training",
            rows=("P06",),
        )
    for option in ("affine", "track"):
        for phase in ("fwd-train", "fwd+bwd"):
            yield _relation(
                "off-vs-on",
                _layer(COMMON, phase, None, **{option: False}),
                _layer(COMMON, phase),
                cpu=1.1,
                cuda=1.1,
                rule="what is switched off costs nothing",
                rows=("P05",),
            )


def _of_kinds() -> Iterator[RelationCase]:
    for shape, phase in ((TALL, "fwd-train"), (COMMON, "fwd-train"), (COMMON, "fwd+bwd")):
        layer = _layer(shape, phase)
        yield _relation(
            "layer-vs-composition",
            layer,
            replace(layer, layer="composition", own=True),
            cpu=1.5,
            cuda=1.5,
            rule="the layer is not slower than basic operations that do the same",
            rows=("P03",),
            quick=shape == COMMON and phase == "fwd+bwd",
        )
    for kin in ("group_norm", "layer_norm", "instance_norm"):
        for phase, fwd in (("fwd", "fwd-train"), ("fwd+bwd", "fwd+bwd")):
            than = _layer(COMMON, fwd, own=True)
            yield _relation(
                "kin-vs-batch-norm",
                replace(than, layer=kin, phase=phase),
                than,
                cpu=1.5,
                cuda=1.5,
                rule="another norm of the same tensor takes about as long",
                rows=("P18", "P19"),
            )
    for shape in RESNET_SHAPES:
        for phase in ("fwd-train", "fwd+bwd"):
            default = _layer(shape, phase)
            yield _relation(
                "cudnn-vs-native",
                default,
                replace(default, way="native"),
                cpu=None,
                cuda=1.15,
                rule="the backend that torch chooses is about as fast as the other one",
                rows=("P25",),
            )


def _compiled() -> Iterator[RelationCase]:
    """On a GPU, where compiling is for speed."""
    batch_norms = [
        _layer(COMMON, phase, layout) for layout in ("nchw", "nhwc") for phase in ("fwd-train", "fwd-eval", "fwd+bwd")
    ]
    widths = [
        OpCase(layer="layer_norm", phase="fwd", layout="nc", shape=(8192, width), own=True)
        for width in (256, 1024, 2048, 4096, 8192)
    ]
    for eager in (*batch_norms, *widths):
        yield _relation(
            "compiled-vs-eager",
            replace(eager, way="compiled"),
            eager,
            cpu=None,
            cuda=1.05,
            rule="compiled, a layer is no slower than eager",
            rows=("P20",) if eager.layer == "layer_norm" else ("P13", "P21"),
        )


def _of_implementations() -> Iterator[RelationCase]:
    """What an author of a kernel asks first."""
    for shape in ((64, 128), COMMON):
        for layout in ("nchw", "nhwc") if len(shape) == 4 else ("nc",):
            for phase in ("fwd-train", "fwd-eval", "fwd+bwd"):
                this = _layer(shape, phase, layout)
                yield _relation(
                    "implementation-vs-torch",
                    this,
                    replace(this, own=True),
                    cpu=1.03,
                    cuda=1.03,
                    rule="the implementation is no slower than torch's own layer",
                    rows=(),
                    quick=shape != (64, 128) or phase == "fwd+bwd",
                    of_implementation=True,
                )


CASES: tuple[RelationCase, ...] = (*_of_shapes(), *_of_modes(), *_of_kinds(), *_compiled(), *_of_implementations())
