"""The layers that are timed: shapes, phases, precisions, layouts and options, by profile.

Every axis multiplies: CONTRIBUTING.md says what one costs before one is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsuite.cases.execution import Execution
from bnsuite.cases.op.case import LAYOUTS, LayerCase

Shape = tuple[int, ...]

#: The batch norms of ResNet-50 at batch 32 and 224x224, each once, as (C, H = W).
RESNET50 = (
    *((64, 112), (64, 56), (256, 56), (128, 56), (128, 28), (512, 28)),
    *((256, 28), (256, 14), (1024, 14), (512, 14), (512, 7), (2048, 7)),
)
RESNET_SHAPES: tuple[Shape, ...] = tuple((32, channels, size, size) for channels, size in RESNET50)
#: The activations that the trainings of the catalogue normalize, besides (64, 128): batches by units.
MLP_SHAPES: tuple[Shape, ...] = ((64, 64), (32, 128), (32, 64), (64, 256), (64, 10))
SEQUENCE: Shape = (32, 64, 100)
VOLUME: Shape = (4, 64, 8, 28, 28)
TINY: Shape = (2, 8, 4, 4)
TALL: Shape = (125000, 50)
#: Either side of the sizes at which launch grids and library limits have broken.
EDGES = (65535, 65536, 131070, 131071)
COMMON: Shape = (32, 256, 14, 14)

TRAIN = ("fwd-train", "fwd-eval", "fwd+bwd")
HALF = ("bf16", "f16")


def batch_norm(
    shape: Shape, phases: tuple[str, ...], *, layouts: tuple[str, ...] = (), **options: Any
) -> Iterator[LayerCase]:
    """Batch norm on one shape: a case for each layout (all that the rank has, unless some are named) and phase."""
    rank = len(shape)
    layer = {2: "batch_norm1d", 3: "batch_norm1d", 4: "batch_norm2d", 5: "batch_norm3d"}[rank]
    for layout in layouts or LAYOUTS[rank]:
        for phase in phases:
            version = 3 if options.get("execution") is Execution.NATIVE else 2
            yield LayerCase(version=version, layer=layer, phase=phase, layout=layout, shape=shape, **options)


def other_norm(layer: str, shape: Shape, *, layouts: tuple[str, ...] = ()) -> Iterator[LayerCase]:
    """Another normalization layer on the same tensor."""
    for layout in layouts or LAYOUTS[len(shape)]:
        for phase in ("fwd", "fwd+bwd"):
            yield LayerCase(version=2, layer=layer, phase=phase, layout=layout, shape=shape, quick=False)


def _quick() -> Iterator[LayerCase]:
    yield from batch_norm((64, 128), TRAIN)
    for shape in (COMMON, (16, 64, 56, 56)):
        yield from batch_norm(shape, TRAIN)


def _everywhere() -> Iterator[LayerCase]:
    """Yields the cases that the full profile adds on every device."""
    for shape in RESNET_SHAPES:
        if shape != COMMON:
            yield from batch_norm(shape, TRAIN, layouts=("nchw",), quick=False)
            yield from batch_norm(shape, ("fwd+bwd",), layouts=("nhwc",), quick=False)
    for shape in MLP_SHAPES:
        yield from batch_norm(shape, ("fwd-train", "fwd+bwd"), quick=False)
    yield from batch_norm(SEQUENCE, TRAIN, quick=False)
    yield from batch_norm(VOLUME, ("fwd-train", "fwd+bwd"), quick=False)
    yield from batch_norm(TINY, (*TRAIN, "bwd", "bwd-eval"), layouts=("nchw",), quick=False)
    yield from batch_norm(TALL, TRAIN, quick=False)
    for n in EDGES:
        yield from batch_norm((n, 16), ("fwd-train", "fwd-eval"), quick=False)
    for shape in ((64, 128), COMMON):
        yield from batch_norm(shape, ("bwd", "bwd-eval"), layouts=LAYOUTS[len(shape)][:1], quick=False)
    for dtype in HALF:
        yield from batch_norm(COMMON, ("fwd-train", "fwd+bwd"), dtype=dtype, quick=False)
    for option in ("affine", "track"):
        yield from batch_norm(COMMON, ("fwd-train", "fwd+bwd"), layouts=("nchw",), quick=False, **{option: False})
    for layer in ("layer_norm", "group_norm", "instance_norm"):
        yield from other_norm(layer, COMMON)
    yield from other_norm("layer_norm", (64, 128))


def _on_gpus() -> Iterator[LayerCase]:
    """Yields the cases that only a GPU has, or is large enough for."""
    gpu: dict[str, Any] = {"quick": False, "gpu_only": True}
    for shape in RESNET_SHAPES:
        if shape != COMMON:
            yield from batch_norm(shape, ("fwd+bwd",), dtype="f16", **gpu)
        yield from batch_norm(shape, ("fwd+bwd",), execution=Execution.NATIVE, **gpu)
    for execution in (Execution.NATIVE, Execution.COMPILED, Execution.COLD, Execution.GRAPH):
        yield from batch_norm((64, 128), ("fwd-train", "fwd+bwd"), execution=execution, **gpu)
        if execution is not Execution.NATIVE:
            yield from batch_norm(COMMON, ("fwd-train", "fwd-eval", "fwd+bwd"), execution=execution, **gpu)
    for execution in (Execution.COMPILED, Execution.GRAPH):
        yield from batch_norm(TINY, ("fwd-train", "fwd+bwd"), layouts=("nchw",), execution=execution, **gpu)


CASES: tuple[LayerCase, ...] = (*_quick(), *_everywhere(), *_on_gpus())
