"""Family ``ratio``: the time of one layer over that of another on the same machine, which needs no baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.defects import threads
from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.cases.op.case import LayerCase
from bnsuite.cases.op.matrix import COMMON, EDGES, RESNET_SHAPES, TALL


@dataclass(frozen=True, kw_only=True)
class RatioCase(Case):
    """The time of one step over that of another, interleaved in one process, and its upper bound."""

    #: Such as ``1d-vs-2d``.
    comparison: str
    numerator: Case
    denominator: Case
    #: The most the ratio may be, by kind of device; on a GPU a guess, until `bnsuite calibrate` measures the ratio.
    #: Empty where nobody can guess, as for scaling.
    bounds: Mapping[str, float] = field(hash=False)
    #: The property that the bound states.
    rule: str
    #: Ids of the defects that it would show (see ``docs/defects.md``).
    rows: tuple[str, ...] = ()
    #: It compares a user's implementation with torch's layer, so that it needs one. Its bound is what is asked of the
    #: implementation on every device; all other bounds of GPUs were taken from thought.
    of_implementation: bool = False
    quick: bool = False

    family: ClassVar[str] = "ratio"
    kind: ClassVar[str] = "ratio"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing",)

    @property
    def id(self) -> str:
        return f"ratio/{self.comparison}/{self.numerator.id.removeprefix('op/')}"

    @property
    def labels(self) -> dict[str, str]:
        of = {} if isinstance(self.numerator, LayerCase) else {"of": self.numerator.family}
        return {"comparison": self.comparison, **of, **self.numerator.labels}

    @property
    def timed_by(self) -> TimedBy:
        return TimedBy.DEVICE if self.ranks == 1 else TimedBy.ELAPSED

    @property
    def nbytes(self) -> None:
        return None

    @property
    def pluggable(self) -> bool:
        return self.numerator.pluggable

    @property
    def to_calibrate(self) -> tuple[str, ...]:
        return () if self.of_implementation else ("ratio",)

    def build(self, device: str, seed: int = 0) -> Step:
        """Allocate both, on tensors of their own of the same numbers where shapes are; one step of each is returned."""
        numerator, denominator = self.numerator.build(device, seed), self.denominator.build(device, seed)

        def step() -> None:
            numerator()
            denominator()

        return step

    def describe(self, images: Path | None = None) -> dict[str, Any]:
        return {
            **super().describe(images),
            "rule": self.rule,
            "threads": threads(self.rows),
            "bounds": dict(self.bounds),
        }


def _ratio(
    comparison: str,
    numerator: LayerCase,
    denominator: LayerCase,
    *,
    cpu: float | None,
    cuda: float,
    rule: str,
    rows: tuple[str, ...],
    **options: bool,
) -> RatioCase:
    bounds = {"cuda": cuda} if cpu is None else {"cpu": cpu, "cuda": cuda}
    return RatioCase(
        comparison=comparison,
        numerator=numerator,
        denominator=denominator,
        bounds=bounds,
        rule=rule,
        rows=rows,
        gpu_only=cpu is None,
        **options,
    )


def _layer(shape: tuple[int, ...], phase: str, layout: str | None = None, **options: Any) -> LayerCase:
    rank = len(shape)
    layer = {2: "batch_norm1d", 4: "batch_norm2d", 5: "batch_norm3d"}[rank]
    return LayerCase(
        layer=layer, phase=phase, layout=layout or {2: "nc", 4: "nchw", 5: "ncdhw"}[rank], shape=shape, **options
    )


def _of_shapes() -> Iterator[RatioCase]:
    images = (TALL[0] // 1000, TALL[1], 40, 25)  # the same elements, in the same order in memory
    for phase in ("fwd-train", "fwd-eval", "fwd+bwd"):
        yield _ratio(
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
            yield _ratio(
                "above-vs-below-limit",
                _layer((larger, 16), phase),
                _layer((smaller, 16), phase),
                cpu=1.5,
                cuda=1.5,
                rule="one sample past a size limit takes about as long as one below",
                rows=("N57", "N58", "N61"),
            )


def _of_modes() -> Iterator[RatioCase]:
    for layout in ("nchw", "nhwc"):
        other = "nhwc" if layout == "nchw" else "nchw"
        for phase in ("fwd-train", "fwd+bwd"):
            yield _ratio(
                "layouts",
                _layer(COMMON, phase, layout),
                _layer(COMMON, phase, other),
                cpu=1.15 if layout == "nhwc" else 8.0,
                cuda=1.5,
                rule="neither layout is much slower than the other",
                rows=("P08", "P09", "P12", "P13", "P15", "T02"),
                quick=layout == "nhwc",
            )
        yield _ratio(
            "eval-vs-train",
            _layer(COMMON, "fwd-eval", layout),
            _layer(COMMON, "fwd-train", layout),
            cpu=1.1,
            cuda=1.1,
            rule="evaluation, which needs no statistics, is no slower than training",
            rows=("P06", "P07", "P21"),
            quick=layout == "nchw",
        )
        yield _ratio(
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
            yield _ratio(
                "off-vs-on",
                _layer(COMMON, phase, None, **{option: False}),
                _layer(COMMON, phase),
                cpu=1.1,
                cuda=1.1,
                rule="an option that is switched off costs no time",
                rows=("P05",),
            )


def _of_kinds() -> Iterator[RatioCase]:
    for shape, phase in ((TALL, "fwd-train"), (COMMON, "fwd-train"), (COMMON, "fwd+bwd")):
        layer = _layer(shape, phase)
        yield _ratio(
            "layer-vs-composition",
            layer,
            replace(layer, layer="composition", torch_only=True),
            cpu=1.5,
            cuda=1.5,
            rule="the layer is not slower than basic operations that do the same",
            rows=("P03",),
            quick=shape == COMMON and phase == "fwd+bwd",
        )
    for layer_name in ("group_norm", "layer_norm", "instance_norm"):
        for phase, fwd in (("fwd", "fwd-train"), ("fwd+bwd", "fwd+bwd")):
            batch_norm = _layer(COMMON, fwd, torch_only=True)
            yield _ratio(
                "other-norm-vs-batch-norm",
                replace(batch_norm, layer=layer_name, phase=phase),
                batch_norm,
                cpu=1.5,
                cuda=1.5,
                rule="another norm of the same tensor takes about as long",
                rows=("P18", "P19"),
            )
    for shape in RESNET_SHAPES:
        for phase in ("fwd-train", "fwd+bwd"):
            default = _layer(shape, phase)
            yield _ratio(
                "cudnn-vs-native",
                default,
                replace(default, execution=Execution.NATIVE),
                cpu=None,
                cuda=1.15,
                rule="the backend that torch chooses is about as fast as the other one",
                rows=("P25",),
            )


def _of_algorithms() -> Iterator[RatioCase]:
    """Yields the comparisons of the algorithms that cuDNN chooses for a convolution by itself, and by trying them.

    A release of cuDNN may choose worse for some shapes (pytorch/pytorch#146096).
    """
    for layout, shapes in {"nhwc": ((32, 64, 56, 56), COMMON, (32, 512, 7, 7)), "nchw": (COMMON,)}.items():
        for shape in shapes:
            block = LayerCase(
                layer="conv_batch_norm2d", phase="fwd+bwd", layout=layout, shape=shape, dtype="f16", torch_only=True
            )
            yield _ratio(
                "benchmark-off-vs-on",
                block,
                replace(block, execution=Execution.BENCHMARKED),
                cpu=None,
                cuda=1.25,
                rule="the algorithms that cuDNN chooses are about as fast as those that it finds by trying",
                rows=("P26",),
            )


def _compiled() -> Iterator[RatioCase]:
    """Yields the comparisons on a GPU, where compiling is for speed."""
    batch_norms = [
        _layer(COMMON, phase, layout) for layout in ("nchw", "nhwc") for phase in ("fwd-train", "fwd-eval", "fwd+bwd")
    ]
    widths = [
        LayerCase(layer="layer_norm", phase="fwd", layout="nc", shape=(8192, width), torch_only=True)
        for width in (256, 1024, 2048, 4096, 8192)
    ]
    for eager in (*batch_norms, *widths):
        yield _ratio(
            "compiled-vs-eager",
            replace(eager, execution=Execution.COMPILED),
            eager,
            cpu=None,
            cuda=1.05,
            rule="compiled, a layer is no slower than eager",
            rows=("P20",) if eager.layer == "layer_norm" else ("P13", "P21"),
        )


def _of_implementations() -> Iterator[RatioCase]:
    """Yields the comparisons that the author of a kernel needs first."""
    for shape in ((64, 128), COMMON):
        for layout in ("nchw", "nhwc") if len(shape) == 4 else ("nc",):
            for phase in ("fwd-train", "fwd-eval", "fwd+bwd"):
                layer = _layer(shape, phase, layout)
                yield _ratio(
                    "implementation-vs-torch",
                    layer,
                    replace(layer, torch_only=True),
                    cpu=1.03,
                    cuda=1.03,
                    rule="the implementation is no slower than torch's own layer",
                    rows=(),
                    quick=shape != (64, 128) or phase == "fwd+bwd",
                    of_implementation=True,
                )


CASES: tuple[RatioCase, ...] = (
    *_of_shapes(),
    *_of_modes(),
    *_of_kinds(),
    *_of_algorithms(),
    *_compiled(),
    *_of_implementations(),
)
