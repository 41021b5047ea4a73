"""The layer that is judged: torch's own, or what a user names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bnsuite.cases import CheckCase, NumericsCase, Observation, Subject, catalogue, implementation, skips, support
from bnsuite.judge.verdict import Judgement
from bnsuite.launch import supports
from bnsuite.launch.environments import image
from bnsuite.launch.plan import run_options
from bnsuite.launch.process import isolation
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.measure import check
from bnsuite.record import store
from bnsuite.record.errors import InputError
from bnsuite.report.diagnosis import lines
from conftest import Command

MINE = """
from torch import nn

class Mine(nn.BatchNorm2d):
    pass

broken = 3
"""


def test_without_one_it_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rank that was asked for, with the arguments that were given."""
    monkeypatch.delenv(implementation.VARIABLE, raising=False)
    layers = [implementation.batch_norm(rank, 3, eps=0.1) for rank in (1, 2, 3)]
    assert [type(layer) for layer in layers] == [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d]
    assert {layer.eps for layer in layers} == {0.1}


def test_a_file_is_loaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its layers are of one class every time, so that they can be copied and pickled."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setenv(implementation.VARIABLE, f"{tmp_path}/mine.py:Mine")
    one, other = (implementation.batch_norm(rank, 3) for rank in (1, 2))
    assert type(one) is type(other)
    assert type(one).__name__ == "Mine"
    assert type(implementation.torchs_own(2, 3)) is torch.nn.BatchNorm2d


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "no_such_module can't be imported: ModuleNotFoundError"),
        ("{folder}/mine.py:broken", "mine.py has no callable 'broken'"),
        ("{folder}/none.py:f", "none.py can't be imported: FileNotFoundError"),
        ("{folder}/raises.py:f", "raises.py can't be imported: ZeroDivisionError"),
        ("{folder}/talks.py:f", "talks.py can't be imported: ValueError: much"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path: Path, name: str, said: str) -> None:
    """In one line, with the cause."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "talks.py").write_text("raise ValueError('much\\nto say')")
    with pytest.raises(implementation.ImplementationError) as caught:
        implementation.load(name.format(folder=tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# What an implementation supports.

LIMITED = """
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Any(_BatchNorm):
    def _check_input_dim(self, x):
        if not 2 <= x.dim() <= 5:
            raise ValueError("expected 2D to 5D input")


class Only2d(Any):
    def forward(self, x):
        if x.dim() != 4:
            raise RuntimeError(f"expected 4D input, got {x.dim()}D")
        return super().forward(x)


class Declared(Any):
    supports = {"dims": 2, "dtypes": [torch.float32], "layouts": ("contiguous",), "momentum": [0.1, None]}

    def forward(self, x):  # wrong for what it does not declare
        y = super().forward(x)
        return y if x.is_contiguous() and x.dtype == torch.float32 else 2 * y


class NoHalf(Any):
    def forward(self, x):
        if x.dtype.itemsize == 2:
            raise TypeError("half precision")
        return super().forward(x)


class Wrong(Only2d):
    def forward(self, x):
        return super().forward(x) * 1.01


class Nothing(nn.Module):
    def __init__(self, *given, **named):
        super().__init__()

    def forward(self, x):
        raise RuntimeError("no")


class Odd(Any):
    supports = {"dims": [4]}


class Polite(Any):
    def forward(self, x):
        raise NotImplementedError("only on Sundays")
"""


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Observation], str | None]]:
    """Runs a check of the catalogue on a layer of LIMITED, as the worker does."""
    (tmp_path / "limited.py").write_text(LIMITED)

    def run(name: str, case: str, **supports: list[str]) -> tuple[list[Observation], str | None]:
        monkeypatch.setenv(implementation.VARIABLE, f"{tmp_path}/limited.py:{name}")
        monkeypatch.setenv(support.VARIABLE, json.dumps(supports))
        found = catalogue.case(case)
        assert isinstance(found, CheckCase)
        return check.run(found, "cpu")

    return run


Judge = Callable[..., tuple[list[Observation], "str | None"]]
STEP_1D, STEP_2D = (
    "numerics/strides/batch_norm1d/train/x=contiguous",
    "numerics/strides/batch_norm2d/train/x=contiguous",
)


def test_a_rank_that_is_refused_is_skipped(judge: Judge) -> None:
    """By any exception, since torch's own layer takes it; what the layer does take is measured."""
    assert judge("Only2d", STEP_1D) == ([], "refuses 1-dimensional input: RuntimeError: expected 4D input, got 2D")
    observations, skipped = judge("Only2d", STEP_2D)
    assert skipped is None
    assert len(observations) > 10


def test_a_type_that_is_refused_is_skipped(judge: Judge) -> None:
    """Also where the check takes the exception for an answer."""
    reason = "refuses float16 input: TypeError: half precision"
    assert judge("NoHalf", "numerics/strides/batch_norm2d/train/float16") == ([], reason)
    observations, skipped = judge("NoHalf", "behaviour/validation/batch_norm2d/dtypes")
    assert skipped is None, "integers are refused by torch's own layer as well"
    assert observations


def test_wrong_results_are_no_refusal(judge: Judge) -> None:
    """A layer that is wrong on what it takes is judged by that."""
    observations, skipped = judge("Wrong", STEP_2D)
    assert skipped is None
    assert max(float(one.value) for one in observations if one.limit is not None) > 1000


def test_an_exception_on_what_is_taken_is_raised(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has FAILED, since no kind of input explains it."""
    with pytest.raises(ValueError, match="no cause"):
        judge_raising(judge, monkeypatch)


def judge_raising(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a check that raises by itself."""

    def observe(_: Subject) -> list[Observation]:
        raise ValueError("no cause")

    made = NumericsCase(group="strides", name="batch_norm2d/raises", observe=observe, rule="none")
    monkeypatch.setattr(catalogue, "case", lambda _: made)
    judge("Only2d", made.id)


def test_what_is_not_declared_is_skipped(judge: Judge) -> None:
    """Ranks, types, layouts and arguments, with the declaration in the reason; what it declares is measured."""
    said = {
        STEP_1D: "the implementation does not declare 1-dimensional input: it supports dims=2",
        "numerics/strides/batch_norm2d/train/float16": (
            "the implementation does not declare float16 input: it supports dtypes=float32"
        ),
        "numerics/strides/batch_norm2d/train/x=channels-last": (
            "the implementation does not declare channels-last input: it supports layouts=contiguous"
        ),
        "numerics/strides/batch_norm2d/train/part-of-larger": (
            "the implementation does not declare strided input: it supports layouts=contiguous"
        ),
        "behaviour/validation/batch_norm2d/momentum=1": (
            "the implementation does not declare momentum=1: it supports momentum=0.1,none"
        ),
    }
    assert {case: judge("Declared", case)[1] for case in said} == said
    assert judge("Declared", STEP_2D)[1] is None


def test_the_command_line_replaces_entries(judge: Judge) -> None:
    """One by one; the others stay as the factory has them."""
    assert judge("Declared", STEP_1D, dims=["1", "2"])[1] is None
    other = judge("Declared", STEP_2D, dims=["3"])[1]
    assert other == "the implementation does not declare 2-dimensional input: it supports dims=3"
    half = judge("Declared", "numerics/strides/batch_norm2d/train/float16", dims=["1", "2"])[1]
    assert half is not None
    assert half.startswith("the implementation does not declare float16")


def test_a_layer_that_refuses_everything_is_skipped_everywhere(judge: Judge) -> None:
    """The run then ends with status 3 (see test_diagnosis.py)."""
    assert [judge("Nothing", case)[1] for case in (STEP_1D, STEP_2D)] == ["refuses every input: RuntimeError: no"] * 2


def test_its_own_words_come_first(judge: Judge) -> None:
    """NotImplementedError is a refusal that says why."""
    assert judge("Polite", STEP_2D) == ([], "the implementation does not do it: only on Sundays")


def test_a_check_that_finds_nothing_to_look_at_is_skipped(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer may lack all that a check is about."""
    made = NumericsCase(group="strides", name="batch_norm2d/nothing", observe=lambda _: [], rule="none")
    monkeypatch.setattr(catalogue, "case", lambda _: made)
    assert judge("Only2d", made.id) == ([], "the implementation has nothing that this check looks at")


def test_an_answer_that_comes_of_looking_again_is_none(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that turns exceptions into words is skipped for what is not declared, whatever its words."""

    def observe(subject: Subject) -> Iterator[Observation]:
        layer, x = subject.batch_norm(2, 4).double(), subject.randn(4, 4, 2, 2, dtype="float64")
        try:
            mean = float(layer(x).detach().var(correction=0))
        except NotImplementedError:
            mean = 100.0
        yield Observation("variance", mean, 1.1)

    made = NumericsCase(group="strides", name="batch_norm2d/words", observe=observe, rule="none")
    monkeypatch.setattr(catalogue, "case", lambda _: made)
    reason = "the implementation does not declare float64 input: it supports dtypes=float32"
    assert judge("Declared", made.id) == ([], reason)


def test_a_declaration_that_cannot_be_read_is_told(judge: Judge, tmp_path: Path) -> None:
    """In one line, with the choices."""
    with pytest.raises(implementation.ImplementationError, match=r"supports: dims can't be '4'; choose among 1, 2, 3$"):
        judge("Odd", STEP_2D)
    with pytest.raises(support.SupportError, match="there is no entry 'ranks'; choose among dims, dtypes"):
        support.parse({"ranks": [1]}, "x")
    with pytest.raises(support.SupportError, match="is no dict"):
        support.parse([1], "x")
    with pytest.raises(support.SupportError, match="dtypes is empty"):
        support.parse({"dtypes": []}, "x")


def test_timed_cases_are_skipped_by_their_description(judge: Judge) -> None:
    """A layer, and a ratio for either of its sides, without building anything."""
    judge("Declared", STEP_2D)
    said = {}
    for name in (
        "op/batch_norm1d/fwd-train/f32/nc/64x128",
        "ratio/layouts/batch_norm2d/fwd-train/f32/nhwc/32x256x14x14",
    ):
        with pytest.raises(support.UndeclaredError) as caught:
            skips.begin(catalogue.case(name), "cpu")
        said[name] = str(caught.value)
    assert [reason.split(":")[0] for reason in said.values()] == [
        "the implementation does not declare 1-dimensional input",
        "the implementation does not declare channels-last input",
    ]
    skips.begin(catalogue.case("op/batch_norm2d/fwd-train/f32/nchw/32x256x14x14"), "cpu")
    judge("Declared", STEP_2D, devices=["cpu"])
    with pytest.raises(support.UndeclaredError, match="does not declare input on cuda: it supports devices=cpu"):
        skips.begin(catalogue.case("op/batch_norm2d/fwd-train/f32/nchw/32x256x14x14"), "cuda:0")


def test_a_timed_case_that_raises_is_skipped_where_its_kind_is_refused(judge: Judge) -> None:
    """And has failed where it is not."""
    judge("Only2d", STEP_2D)
    error = RuntimeError("expected 4D input, got 2D")
    layer = catalogue.case("op/batch_norm1d/fwd-train/f32/nc/64x128")
    assert skips.reason(error, layer, "cpu") == "refuses 1-dimensional input: RuntimeError: expected 4D input, got 2D"
    other = catalogue.case("op/batch_norm2d/fwd-train/f32/nchw/32x256x14x14")
    skips.begin(other, "cpu")
    assert skips.reason(error, other, "cpu") is None


def test_both_halves_have_the_same_words() -> None:
    """They can't import one another."""
    assert (supports.WORDS, supports.NUMBERS) == (support.WORDS, support.NUMBERS)


@pytest.mark.parametrize(
    ("texts", "entries"),
    [
        ([], None),
        (["dims=2;dtypes=float32"], {"dims": ("2",), "dtypes": ("float32",)}),
        (["dims=1,2", " dims = 3 ; eps=1e-5,number;"], {"dims": ("1", "2", "3"), "eps": ("1e-5", "number")}),
        (["affine=True", "momentum=0.1,None"], {"affine": ("true",), "momentum": ("0.1", "none")}),
    ],
)
def test_the_option_is_read(texts: list[str], entries: dict[str, tuple[str, ...]] | None) -> None:
    """Entries are separated by semicolons or given one by one; the inner half takes what the outer one has read."""
    assert supports.parse(texts) == entries
    assert dict(support.parse(entries or {}, "x").entries) == (entries or {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dim=2", "--supports dim=2: there is no entry 'dim'; choose among dims, dtypes, devices, layouts, affine"),
        ("dims=4", "--supports dims=4: dims can't be '4'; choose among 1, 2, 3"),
        ("dims", "--supports dims: names no value; write it like dims=1"),
        ("eps=small", "--supports eps=small: eps can't be 'small'; choose among number (any) or a value such as 0.1"),
        ("eps=nan", "--supports eps=nan: eps can't be 'nan'"),
    ],
)
def test_an_option_that_cannot_be_read_is_told(text: str, said: str) -> None:
    """In one line, with the choices."""
    with pytest.raises(InputError) as caught:
        supports.parse([text])
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_the_option_reaches_measured_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine and in an image, and a variable of the user's shell does not."""
    monkeypatch.setenv("BNSUITE_SUPPORTS", '{"dims": ["1"]}')
    given = WorkerOptions("x", tmp_path, tmp_path, implementation="m:f", supports={"dims": ("2",)})
    plain = WorkerOptions("x", tmp_path, tmp_path, implementation="m:f")
    assert json.loads(isolation.process_environment(given)["BNSUITE_SUPPORTS"]) == {"dims": ["2"]}
    assert "BNSUITE_SUPPORTS" not in isolation.process_environment(plain)
    for options in (
        given,
        WorkerOptions("x", tmp_path, tmp_path, implementation="/a/f.py:f", supports={"dims": ("2",)}),
    ):
        assert json.loads(image._implementation(options)[1]["BNSUITE_SUPPORTS"]) == {"dims": ["2"]}
    assert "BNSUITE_SUPPORTS" not in image._implementation(plain)[1]


def test_the_option_needs_an_implementation() -> None:
    """It says nothing of torch's own layers."""
    given = {"device": "cpu", "profile": "quick", "select": None, "threads": 1, "timeout_s": 60.0}
    with pytest.raises(InputError, match="--supports: there is no implementation to describe"):
        run_options(**given, implementation=None, supports={"dims": ("2",)})
    options = run_options(**given, implementation="json:loads", supports={"dims": ("2",)})
    assert options.supports == {"dims": ("2",)}


@pytest.mark.slow
def test_a_run_that_measures_nothing_is_not_fine(bnsuite: Command, tmp_path: Path) -> None:
    """An implementation that refuses everything ends with status 3, and its run says by which exception."""
    (tmp_path / "limited.py").write_text(LIMITED)
    arguments = ("--device", "cpu", "-k", "numerics/strides/batch_norm2d", "--out", "o")
    done = bnsuite(*arguments, "--impl", "limited.py:Nothing")
    assert done.status == 3, done.out + done.err
    run = store.load(tmp_path / "o")
    assert {one.reason for result in run.cases for one in result.outcomes.values()} == {
        "refuses every input: RuntimeError: no"
    }
    findings = store.parse(Judgement, (tmp_path / "o" / "findings.json").read_text(), tmp_path).findings
    assert lines(run, findings) == [
        "nothing could be measured: the implementation refuses every case: RuntimeError: no"
    ]


@pytest.mark.slow
def test_the_option_and_the_diagnosis_are_recorded(bnsuite: Command, tmp_path: Path) -> None:
    """Checks outside of what is declared are SKIPPED, which is no failure; a timed case is as well."""
    (tmp_path / "limited.py").write_text(LIMITED)
    select = "numerics/strides/batch_norm2d or op/batch_norm1d/fwd-train"
    done = bnsuite(
        *("--device", "cpu", "-k", select, "--out", "o", "--impl", "limited.py:Only2d"),
        *("--supports", "dims=2;layouts=contiguous"),
    )
    run = store.load(tmp_path / "o")
    assert run.options.supports == {"dims": ("2",), "layouts": ("contiguous",)}
    assert run.diagnosis is not None
    assert (run.diagnosis.refusals, run.diagnosis.deviations) == ((), ())
    reasons = {result.id: result.outcomes[gate].reason for result in run.cases for gate in result.outcomes}
    assert reasons["op/batch_norm1d/fwd-train/f32/nc/64x128"] == (
        "the implementation does not declare 1-dimensional input: it supports dims=2"
    )
    assert reasons["numerics/strides/batch_norm2d/train/x=channels-last"] == (
        "the implementation does not declare channels-last input: it supports layouts=contiguous"
    )
    assert done.status in {0, 3}, done.out + done.err
