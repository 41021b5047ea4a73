"""The catalogue and its builders."""

from __future__ import annotations

import math
import re
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from bnsuite.cases import Case, CheckCase, RatioCase, all_cases, catalogue, implementation, profile
from bnsuite.cases.data import to_download
from bnsuite.cases.op import LayerCase
from bnsuite.cases.op.matrix import RESNET_SHAPES
from conftest import IMAGES


def test_ids_are_readable_and_unique() -> None:
    """An id is a path of plain words, and says everything that was fixed."""
    names = [case.id for case in all_cases()]
    assert len(set(names)) == len(names)
    families = "numerics|behaviour|op|ratio|train"
    odd = [name for name in names if not re.fullmatch(rf"({families})(/[a-z0-9+=.x_-]+){{2,9}}", name)]
    assert odd == []


def test_labels_say_everything_that_the_id_says() -> None:
    """Nobody has to parse an id: each of its words is the value of a label, or a setting and its value."""
    for case in all_cases():
        labels = case.labels
        assert all(isinstance(value, str) for value in labels.values())
        said = {word for value in labels.values() for word in re.split(r"[/+]", value)} | {case.family, ""}
        said |= {f"{name}={word}" for name, value in labels.items() for word in re.split(r"[/+]", value)}
        assert [word for word in re.split(r"[/+]", case.id) if word not in said] == []


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (
            "op/batch_norm2d/fwd+bwd/f32/nhwc/32x256x14x14/compiled",
            {"layer": "batch_norm2d", "phase": "fwd+bwd", "dtype": "f32", "layout": "nhwc", "shape": "32x256x14x14"}
            | {"options": "", "execution": "compiled"},
        ),
        (
            "ratio/off-vs-on/batch_norm2d/fwd-train/f32/nchw/32x256x14x14/no-affine",
            {"comparison": "off-vs-on", "layer": "batch_norm2d", "phase": "fwd-train", "dtype": "f32", "layout": "nchw"}
            | {"shape": "32x256x14x14", "options": "no-affine", "execution": "eager"},
        ),
        (
            "behaviour/toggles/batch_norm1d/eval/made=on/set=off",
            {"gate": "behaviour", "family": "toggles", "layer": "batch_norm1d", "mode": "eval", "made": "on"}
            | {"set": "off"},
        ),
        (
            "train/lr-sweep/bn/net=synthetic-mlp/lr=0.001",
            {"workload": "lr-sweep", "norm": "bn", "data": "synthetic", "net": "synthetic-mlp", "lr": "0.001"},
        ),
    ],
)
def test_labels_have_the_names_of_the_field(name: str, labels: dict[str, str]) -> None:
    """A layer, a ratio, a check and a training."""
    assert catalogue.case(name).labels == labels


def test_the_cases_of_the_first_release() -> None:
    """BatchNorm1d, BatchNorm2d in two shapes and two layouts, each in three phases; three pairs of trainings."""
    quick = [case.id for case in profile("quick") if case.family == "op"]
    assert len([name for name in quick if name.startswith("op/batch_norm1d/")]) == 3
    assert len([name for name in quick if name.startswith("op/batch_norm2d/")]) == 12
    trainings = {
        *(f"train/synthetic-mlp/{norm}/lr={lr}" for norm in ("none", "bn") for lr in ("0.01", "0.1")),
        *(f"train/cnn/{norm}/data=digits" for norm in ("none", "bn")),
    }
    assert {catalogue.case(name).version for name in trainings} == {1}


def test_the_quick_profile_keeps_a_handful_of_trainings() -> None:
    """Quick trainings need no download and take about a second."""
    assert [case.id for case in profile("quick") if case.family == "train"] == [
        *(f"train/synthetic-mlp/{norm}/lr={lr}" for lr in ("0.01", "0.1") for norm in ("none", "bn")),
        *(f"train/bad-init-regression/{norm}/act=tanh" for norm in ("none", "bn")),
        *(f"train/cnn/{norm}/data=digits" for norm in ("none", "bn")),
    ]


def test_quick_is_a_part_of_full() -> None:
    quick, full = ([case.id for case in profile(name)] for name in ("quick", "full"))
    of_implementations = {case.id for case in all_cases() if case.id.startswith("ratio/implementation-vs-torch/")}
    assert set(quick) <= set(full) == {case.id for case in all_cases()} - of_implementations


#: Values of a tensor beyond which a layer is left to the runs themselves: it is made as the smaller ones are.
MANY = 4_000_000
TIMED = [
    case
    for case in all_cases()
    if not isinstance(case, CheckCase | RatioCase)
    and not (isinstance(case, LayerCase) and math.prod(case.shape) > MANY)
]


@pytest.mark.parametrize("case", TIMED, ids=lambda case: case.id)
def test_every_case_builds_a_step_that_returns_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-benchmark keeps what a step returns alive into the next round, so a step returns nothing."""
    if case.gpu_only and not torch.cuda.is_available():
        pytest.skip("on a GPU only")
    for package in case.packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if case.dataset and to_download(case.dataset, IMAGES):
        pytest.skip("MNIST and Fashion-MNIST are not in the folder that BNSUITE_DATA names")
    monkeypatch.setenv("BNSUITE_DATA", str(IMAGES))
    step = case.smoke_step(case.build("cuda:0" if case.gpu_only else "cpu"))
    assert step() is None
    if not case.long:
        assert step() is None


OPS = [case for case in all_cases() if isinstance(case, LayerCase)]
ON_CPU = [case for case in OPS if not case.gpu_only]
SMALL = [case for case in ON_CPU if case.pluggable and math.prod(case.shape) <= MANY]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_an_op_does_what_its_id_says(case: LayerCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer sees the shape, layout, precision and mode of the id; gradients are made only where it says so."""
    seen = []
    original = torch.nn.functional.batch_norm

    def spy(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        training = kwargs.get("training", args[4] if len(args) > 4 else None)
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim(), torch.contiguous_format)
        last = x.dim() > 3 and x.is_contiguous(memory_format=layout)
        seen.append((tuple(x.shape), last, str(x.dtype), bool(training), x.requires_grad, torch.is_grad_enabled()))
        return original(x, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "batch_norm", spy)
    case.build("cpu")()
    backward = "bwd" in case.phase
    dtype = {"f32": "torch.float32", "bf16": "torch.bfloat16", "f16": "torch.float16"}[case.dtype]
    last = case.layout in {"nhwc", "ndhwc"}
    assert seen == [(case.shape, last, dtype, "eval" not in case.phase, backward, backward)]


def test_a_compiled_layer_is_compiled_for_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was compiled before it in the same process."""
    shapes: list[list[object]] = []

    def seen(graph: Any, _: object) -> Any:
        values = [node.meta.get("example_value") for node in graph.graph.nodes]
        shapes.append([size for value in values for size in getattr(value, "shape", ())])
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=seen))
    compiled = [case for case in OPS if case.execution == "compiled" and case.phase == "fwd-train"]
    for case in compiled:
        case.build("cpu")()
    assert len(shapes) == len(compiled) > 2
    assert all(type(size) is int for one in shapes for size in one)


def test_declared_bytes_are_those_of_the_passes() -> None:
    """Every tensor that a step can't do without is read or written once: x and y forward, x, dy and dx backward."""
    size = 32 * 256 * 14 * 14
    assert catalogue.case("op/batch_norm2d/fwd-eval/f32/nchw/32x256x14x14").nbytes == 2 * size * 4
    assert catalogue.case("op/batch_norm2d/fwd+bwd/bf16/nchw/32x256x14x14").nbytes == 5 * size * 2


def test_all_batch_norms_of_resnet50_are_timed() -> None:
    """Every distinct shape that torchvision's network normalizes, at batch 32 and 224x224."""
    models = pytest.importorskip("torchvision.models")
    model, seen = models.resnet50().eval(), set()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, given: seen.add((32, *given[0].shape[1:])))
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert seen == {case.shape for case in ON_CPU if case.shape in RESNET_SHAPES}


def test_every_ratio_has_a_bound_and_sides_on_the_same_numbers() -> None:
    """Both sides move as many values, or differ by the one sample that their comparison is about."""
    for case in all_cases():
        if isinstance(case, RatioCase):
            sizes = [math.prod(side.shape) for side in (case.numerator, case.denominator)]
            assert max(sizes) / min(sizes) < 1.0001, case.id
            assert all(bound >= 1 for bound in case.bounds.values())
            assert "cuda" in case.bounds


def test_an_implementation_is_measured_where_it_has_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under --impl the plan has batch norm only, torch's own interface is left out, and torch's layer is a partner."""
    monkeypatch.setenv("BNSUITE_IMPL", "torch.nn:Identity")
    families = {case.id.rsplit("/", 1)[0] for case in profile("full")}
    assert not [name for name in families if "layer_norm" in name or "/none/" in name or name.endswith("/bn-keras")]
    assert "ratio/implementation-vs-torch/batch_norm2d/fwd+bwd/f32/nchw" in families
    assert isinstance(catalogue.case("op/batch_norm1d/fwd-train/f32/nc/64x128"), LayerCase)
    assert isinstance(implementation.batch_norm(2, 4), torch.nn.Identity)
