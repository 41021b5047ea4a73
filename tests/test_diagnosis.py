"""The diagnosis of an implementation: faults are named, right layers are not, and failed checks are grouped."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import faults
from bnsuite.cases import diagnosis, implementation
from bnsuite.cases.diagnosis import forms
from bnsuite.judge.diagnosis import groups, nothing_measured, refused
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record import store
from bnsuite.record.diagnosis import Deviation, Diagnosis, Refusal
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Observation, Outcome, Run, Status
from bnsuite.report.diagnosis import lines, words
from conftest import make_run, result

if TYPE_CHECKING:
    import torch

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

#: What a report says of each fault that the diagnosis can name.
SAID = {
    "faults:FixedEpsilon": ["uses an eps of 0.001, whatever was passed"],
    "faults:NoEpsilon": ["does not add eps to the variance"],
    "faults:EpsilonOutsideRoot": ["divides by sqrt(var) + eps instead of sqrt(var + eps)"],
    "faults:StatisticsDetached": ["the gradient of the input lacks the terms of the mean and variance"],
    "faults:NoMeanTerm": ["the gradient of the input lacks the terms of the mean"],
    "faults:NoVarianceTerm": ["the gradient of the input lacks the terms of the variance"],
    "faults:WeightGradientOfInput": ["the gradient of the weight is made of x instead of normalized x"],
    "faults:BiasGradientMean": ["the gradient of the bias is a mean instead of a sum over the batch"],
    "faults:InverseTwice": ["the gradient of the input is wrong", "the gradient in evaluation is wrong"],
    "faults:DepthForgotten": ["outputs wrong for (N, C, D, H, W) input alone"],
    "faults:StrideIgnored": [f"outputs wrong for {layout} input alone" for layout in ("channels-last", "strided")],
    "faults:AlwaysContiguous": ["returns contiguous output for channels-last input"],
    "faults:OnePassVariance": ["loses the variance where the mean is large, as E[x²] - E[x]² does"],
    "faults:DoubleInSingle": ["computes float64 input in a lower precision"],
    "faults:BiasedRunningVariance": ["updates running_var with the biased variance (divided by n instead of n - 1)"],
    "faults:UnbiasedNormalizing": ["normalizes by the unbiased variance (divided by n - 1 instead of n)"],
    "faults:MomentumInverted": [
        "takes momentum for the share of the old statistics (running = momentum × running + …)"
    ],
    "faults:MomentumNoneIgnored": ["with momentum=None, running_mean is not the average of all batches"],
    "faults:StillWithoutGrad": ["does not update the running statistics under torch.no_grad()"],
    "faults:UpdatedInEval": ["evaluation changes running_mean"],
    "faults:RunningIgnored": ["uses the batch's statistics in evaluation"],
    "faults:BuffersReplaced": ["replaces its buffers instead of updating them in place"],
    "faults:EvalBackwardOfTraining": ["the gradient in evaluation is that of training"],
    "faults:NotSaved": ["running_mean, running_var not in the state dict: not registered as buffers or parameters"],
    "faults:InputChanged": ["overwrites its input"],
    "bnsuite.cases.faulty:InvertedMomentum": [
        "takes momentum for the share of the old statistics (running = momentum × running + …)"
    ],
    "bnsuite.cases.faulty:UpdatesInEval": ["evaluation changes running_mean, running_var, num_batches_tracked"],
    "{here}:MaxVariance": ["normalizes with max(var, eps) instead of var + eps"],
    "{here}:Instance": ["takes mean and variance over each sample and channel, as instance norm does"],
    "{here}:Layer": ["takes mean and variance over each sample, as layer norm does"],
    "{here}:NoAffine": ["ignores the weight; ignores the bias"],
    "{here}:Activated": ["applies relu to the output"],
    "{here}:RootMeanSquare": ["does not subtract the mean; divides by the root mean square"],
    "{here}:AlwaysRunning": ["uses the running statistics in training"],
    "{here}:Detached": ["the output is detached: it has no gradient"],
    "{here}:ToFloat": ["returns float32 for float16 input", "returns float32 for bfloat16 input"],
    "{here}:Transposed": ["returns an output of shape 4x6x3x2 for an input of 4x6x2x3"],
    "{here}:Uncounted": ["num_batches_tracked counts 0 instead of 1 per batch"],
    "{here}:Attributes": [
        "running_mean, running_var, num_batches_tracked not in the state dict: not registered as buffers or parameters"
    ],
    "{here}:Raises": ["raises ZeroDivisionError: no such luck"],
    "{here}:Noisy": ["outputs wrong from the first forward pass, worst where the variance is small"],
}

#: Layers with one fault each, beside those of faults.py.
HERE = """
import torch
from torch import nn
import faults


class MaxVariance(faults.Composed):
    def inverse(self, var):
        return var.clamp_min(self.eps).rsqrt()


class Instance(faults.Composed):
    def mean(self, z, axes):
        return z.mean([2, 3], keepdim=True) if z.dim() == 4 else super().mean(z, axes)

    def var(self, z, mean, axes):
        return (z - mean).square().mean([2, 3], keepdim=True) if z.dim() == 4 else super().var(z, mean, axes)

    def track(self, mean, var, count):
        super().track(mean.view(-1, self.num_features).mean(0), var.view(-1, self.num_features).mean(0), count)


class Layer(faults.Composed):
    def mean(self, z, axes):
        return z.mean(list(range(1, z.dim())), keepdim=True)

    def var(self, z, mean, axes):
        return (z - mean).square().mean(list(range(1, z.dim())), keepdim=True)

    def track(self, mean, var, count):
        pass


class NoAffine(faults.Composed):
    def scale(self, normal, z, weight, bias):
        return normal + 0 * (weight + bias)


class Activated(faults.Composed):
    def forward(self, x):
        return super().forward(x).relu()


class RootMeanSquare(faults.Composed):
    def normalize(self, z, mean, var):
        return z * self.inverse(var + mean.square())


class AlwaysRunning(faults.Composed):
    def normalize(self, z, mean, var):
        if self.running_mean is None:
            return super().normalize(z, mean, var)
        shape = [1, -1, *[1] * (z.dim() - 2)]
        return super().normalize(z, self.running_mean.clone().view(shape), self.running_var.clone().view(shape))

    def track(self, mean, var, count):
        pass


class Detached(faults.Faithful):
    def forward(self, x):
        return super().forward(x).detach()


class ToFloat(faults.Faithful):
    def forward(self, x):
        y = super().forward(x)
        return y if x.dtype == torch.float64 else y.float()


class Transposed(faults.Faithful):
    def forward(self, x):
        return super().forward(x).transpose(-1, -2) if x.dim() == 4 else super().forward(x)


class Uncounted(faults.Composed):
    def count(self):
        pass

    def share(self):
        self.steps = getattr(self, "steps", 0) + 1
        return 1 / self.steps if self.momentum is None else self.momentum


class Attributes(faults.Faithful):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            held = self._buffers.pop(name)
            self.__dict__[name] = held


class Raises(faults.Faithful):
    def forward(self, x):
        if torch.is_grad_enabled():
            raise ZeroDivisionError("no such luck")
        return super().forward(x)


class Noisy(faults.Composed):
    def inverse(self, var):
        return 1 / (var.sqrt() + 0.7 * self.eps**0.5)


class Refuses(nn.Module):
    def __init__(self, *given, **named):
        super().__init__()

    def forward(self, x):
        raise RuntimeError("expected a tensor of four planets")


class Only2d(faults.Faithful):
    def forward(self, x):
        if x.dim() != 4:
            raise RuntimeError("expected 4D input")
        return super().forward(x)


class Contiguous(faults.Faithful):
    def forward(self, x):
        return super().forward(x.view(x.shape[0], -1).view(x.shape))


class NoArguments(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file with the layers of this module."""
    monkeypatch.syspath_prepend(str(Path(faults.__file__).parent))
    (tmp_path / "layers.py").write_text(HERE)
    return str(tmp_path / "layers.py")


def diagnosed(name: str, monkeypatch: pytest.MonkeyPatch, supports: dict[str, list[str]] | None = None) -> Diagnosis:
    """The diagnosis of an implementation, as a run records it."""
    monkeypatch.setenv("BNSUITE_IMPL", name)
    monkeypatch.setenv("BNSUITE_SUPPORTS", json.dumps(supports or {}))
    return Diagnosis.model_validate_json(json.dumps(asdict(diagnosis.diagnose(name, "cpu"))))


@pytest.mark.parametrize("name", SAID)
def test_a_fault_is_named(name: str, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sentence that says what the layer computes instead, and by no other one that is more basic."""
    said = [words(one) for one in diagnosed(name.format(here=here), monkeypatch).deviations]
    expected = SAID[name]
    if name.endswith(("NoAffine", "RootMeanSquare")):
        assert "; ".join(said).startswith(expected[0])
    else:
        assert said[: len(expected)] == expected


@pytest.mark.parametrize(
    "name", ["faults:Faithful", "faults:Composed", "bnsuite.cases.faulty:Sound", "torch.nn:BatchNorm2d"]
)
def test_a_right_layer_has_no_diagnosis(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch's own layer, nor one that computes the same by other operations."""
    monkeypatch.syspath_prepend(str(Path(faults.__file__).parent))
    assert diagnosed(name, monkeypatch).deviations == ()


@pytest.mark.parametrize("name", [one.name for one in faults.FAULTS if one.gate in {"timing", "memory"}])
def test_a_slow_or_wasteful_layer_has_no_diagnosis(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results are right."""
    monkeypatch.syspath_prepend(str(Path(faults.__file__).parent))
    assert diagnosed(f"faults:{name}", monkeypatch).deviations == ()


def test_no_two_formulas_agree_on_the_inputs() -> None:
    """Each formula with one mistake can be told from batch norm and from every other one."""
    from bnsuite.cases.diagnosis.material import Subject, agree
    from bnsuite.cases.diagnosis.outputs import start
    from bnsuite.cases.support import Kind

    subject = Subject(faults.Faithful, "cpu", Kind())
    seen: list[tuple[forms.Form, list[torch.Tensor]]] = []
    for form in forms.alternatives(forms.Form()):
        if len(form.differences(forms.Form())) > 1:
            break
        outputs = [forms.output(start(subject.layer(), subject.draw(), eps), form) for eps in (1e-5, 0.01)]
        seen.append((form, [one for one in outputs if one is not None]))
    assert len(seen) > 20
    for place, (form, mine) in enumerate(seen):
        for other, theirs in seen[:place]:
            alike = [agree(a, b, subject.tolerance) for a, b in zip(mine, theirs, strict=True)]
            assert not all(alike), (form, other)


def test_refusals_are_found_by_kind(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank, a layout or an argument that raises is named with its exception, unless torch refuses it as well."""
    only_2d = diagnosed(f"{here}:Only2d", monkeypatch).refusals
    assert [one.what for one in only_2d] == ["1-dimensional input", "3-dimensional input"]
    assert {one.error for one in only_2d} == {"RuntimeError: expected 4D input"}
    contiguous = diagnosed(f"{here}:Contiguous", monkeypatch).refusals
    assert [one.what for one in contiguous] == ["channels-last input", "strided input"]
    without = {one.what for one in diagnosed(f"{here}:NoArguments", monkeypatch).refusals}
    assert without >= {"affine=False", "momentum=None", "eps=0.001", "track_running_stats=False"}


def test_what_is_declared_is_no_refusal(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the layer looked at outside of what it declares."""
    supports = {"dims": ["2"], "layouts": ["contiguous"]}
    assert diagnosed(f"{here}:Only2d", monkeypatch, supports).refusals == ()
    assert diagnosed("faults:StrideIgnored", monkeypatch, supports).deviations == ()
    found = diagnosed("faults:DepthForgotten", monkeypatch, {"dims": ["3"]})
    assert found.looked_at == "(N, C, D, H, W) contiguous float32"
    assert found.deviations[0].stage == "value"


def test_a_layer_that_refuses_everything_is_told(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its exception; nothing else can be said of it."""
    found = diagnosed(f"{here}:Refuses", monkeypatch)
    assert (found.looked_at, found.deviations) == (None, ())
    assert found.refusals == (Refusal(what="every input", error="RuntimeError: expected a tensor of four planets"),)


# Grouping and words, from recorded data.


def number(what: str, value: float = 1e6) -> Observation:
    return Observation(what=what, value=value, limit=30.0)


def check(name: str, *observations: Observation, **labels: str) -> CaseResult:
    """A check of a layer with some observations."""
    made = result(name, observations=observations)
    given = {"gate": made.case.family, "family": name.split("/")[1], **labels}
    return made.model_copy(update={"case": made.case.model_copy(update={"labels": given})})


def ended(name: str, status: Status, reason: str) -> CaseResult:
    """A check without observations."""
    made = check(name)
    outcomes = {made.case.family: Outcome(status=status, reason=reason)}
    return made.model_copy(update={"outcomes": outcomes})


def judged(
    *results: CaseResult, found: Diagnosis | None = None, name: str | None = "mine:L"
) -> tuple[Run, list[Finding]]:
    run = make_run(*results)
    options = run.options.model_copy(update={"implementation": name})
    run = run.model_copy(update={"options": options, "diagnosis": found})
    return run, judge(run, Reference(name="baselines/"))


def with_deviations(*deviations: Deviation, refusals: tuple[Refusal, ...] = ()) -> Diagnosis:
    return Diagnosis(looked_at="(N, C, H, W) contiguous float32", refusals=refusals, deviations=deviations)


MAX = Deviation(stage="value", code="denominator", data={"is": "sqrt(max(var, eps))"})
BIASED = Deviation(stage="statistics", code="running-variance", data={"is": "biased"})


def test_what_follows_is_counted_with_its_cause() -> None:
    """The cause comes first, with the checks in which it shows, and with those of the same layer that follow."""
    run, findings = judged(
        check("numerics/reference/a", number("y"), number("dx"), layer="batch_norm2d"),
        check("numerics/reference/b", number("y", 1.0), number("dx", 2.0), layer="batch_norm2d"),
        check("numerics/higher-order/c", number("order 2"), layer="batch_norm2d"),
        check("behaviour/frozen/d", number("y"), layer="batch_norm2d"),
        found=with_deviations(MAX),
    )
    assert lines(run, findings) == [
        "normalizes with max(var, eps) instead of var + eps: 3 checks follow from it",
    ]


def test_a_check_that_sees_the_basic_part_right_does_not_follow() -> None:
    """Nor does one of another layer; each is a line of its own."""
    run, findings = judged(
        check("numerics/reference/a", number("y"), layer="batch_norm2d"),
        check("numerics/higher-order/b", number("y", 1.0), number("dx"), layer="batch_norm2d"),
        check("numerics/higher-order/c", number("order 2"), layer="batch_norm3d"),
        found=with_deviations(MAX),
    )
    said = lines(run, findings)
    assert said[0] == "normalizes with max(var, eps) instead of var + eps: 1 check follows from it"
    assert said[1].startswith("gradients wrong, outputs right: 2 checks (higher-order")
    assert len(said) == 2


def test_groups_are_in_the_order_of_a_step() -> None:
    """Exceptions, then value, gradient, statistics, state, mode, export; the rest is last."""
    run, findings = judged(
        check("behaviour/memory-leaks/z", number("batch_norm2d/step")),
        check("behaviour/export/a", number("step 0: y")),
        check("behaviour/toggles/b", Observation(what="read", value="batch", expected="running")),
        check("behaviour/state/c", Observation(what="keys", value="none", expected="all")),
        check("numerics/running-statistics/d", number("running_var")),
        check("numerics/reference/e", number("dweight")),
        check("numerics/reference/f", number("y")),
        ended("numerics/strides/g", Status.FAILED, "RuntimeError: no"),
    )
    stages = [one.stage for one in groups(run, findings)]
    assert stages == ["raises", "value", "gradient", "statistics", "state", "mode", "export", "other"]
    assert lines(run, findings)[0] == "raises RuntimeError: no: 1 check (strides)"


def test_causes_of_two_stages_stand_apart() -> None:
    """Statistics that are wrong for a reason of their own do not follow from wrong outputs."""
    run, findings = judged(
        check("numerics/reference/a", number("y"), number("running_var")),
        check("numerics/running-statistics/b", number("running_var")),
        found=with_deviations(MAX, BIASED),
    )
    assert lines(run, findings) == [
        "normalizes with max(var, eps) instead of var + eps: 1 check follows from it",
        "updates running_var with the biased variance (divided by n instead of n - 1): 1 check follows from it",
    ]


def test_outputs_that_are_wrong_in_evaluation_alone_are_of_the_mode() -> None:
    """So that a layer which evaluates by the batch is not said to have wrong outputs."""
    found = with_deviations(Deviation(stage="mode", code="statistics", data={"is": "batch"}))
    run, findings = judged(
        check("numerics/reference/a", number("y"), mode="eval"),
        check("numerics/reference/b", number("y", 1.0), mode="train"),
        found=found,
    )
    assert lines(run, findings) == ["uses the batch's statistics in evaluation: 1 check follows from it"]


def test_a_known_cause_stands_before_an_exception_without_one() -> None:
    """The exception may well follow from it; groups without failed checks are last."""
    run, findings = judged(
        ended("numerics/strides/a", Status.FAILED, "RuntimeError: no"),
        check("numerics/reference/b", number("y")),
        found=with_deviations(MAX, BIASED, Deviation(stage="state", code="not-saved", data={"names": "bias"})),
    )
    assert lines(run, findings) == [
        "normalizes with max(var, eps) instead of var + eps: 1 check follows from it",
        "raises RuntimeError: no: 1 check (strides)",
        f"{words(BIASED)}: no check that was run fails for it",
        "bias not in the state dict: not registered as buffers or parameters: no check that was run fails for it",
    ]


def test_exceptions_that_differ_in_numbers_are_one_line() -> None:
    """The sizes of the inputs make no other problem of it."""
    results = [ended(f"numerics/strides/{n}", Status.FAILED, f"RuntimeError: size {n}") for n in range(3)]
    run, findings = judged(*results)
    assert lines(run, findings) == ["raises RuntimeError: size 0: 3 checks (strides)"]


def test_a_check_that_was_not_reached_has_not_failed() -> None:
    """A run that was interrupted says so elsewhere."""
    run, findings = judged(result("numerics/strides/a"), check("numerics/reference/b", number("y", 1.0)))
    assert {one.verdict for one in findings} == {Verdict.FAILED, Verdict.PASS}
    assert lines(run, findings) == []


def test_undeclared_refusals_are_counted() -> None:
    """Each kind is one line, whatever the number of its cases."""
    reason = "refuses 1-dimensional input: RuntimeError: expected 4D"
    skipped = [ended(f"numerics/strides/{n}", Status.SKIPPED, reason) for n in range(5)]
    refusal = Refusal(what="1-dimensional input", error="RuntimeError: expected 4D")
    run, findings = judged(
        *skipped, check("numerics/reference/a", number("y", 1.0)), found=with_deviations(refusals=(refusal,))
    )
    assert [(one.what, one.cases) for one in refused(run)] == [("1-dimensional input", 5)]
    assert lines(run, findings) == [
        "refuses 1-dimensional input: RuntimeError: expected 4D; 5 cases SKIPPED (declare it with --supports)"
    ]


def test_a_run_that_measured_nothing_is_told() -> None:
    """With the exception, and not as a run in which nothing is wrong."""
    reason = "refuses every input: RuntimeError: no"
    run, findings = judged(*(ended(f"numerics/strides/{n}", Status.SKIPPED, reason) for n in range(2)))
    assert nothing_measured(run, findings)
    assert lines(run, findings) == [
        "nothing could be measured: the implementation refuses every case: RuntimeError: no"
    ]


@pytest.mark.parametrize("name", [None, "mine:L"])
def test_nothing_is_said_of_a_right_layer(name: str | None) -> None:
    """Nor of torch's own, whatever fails there."""
    right = check("numerics/reference/a", number("y", 1.0))
    wrong = check("numerics/reference/b", number("y"))
    run, findings = judged(right, *([wrong] if name is None else []), found=with_deviations(), name=name)
    assert lines(run, findings) == []
    assert not nothing_measured(run, findings)


def test_what_a_run_records_is_enough(tmp_path: Path) -> None:
    """The lines of a folder that was read again are the same; a run of before has no diagnosis."""
    run, findings = judged(check("numerics/reference/a", number("y")), found=with_deviations(MAX))
    store.save(run, tmp_path)
    assert lines(store.load(tmp_path), findings) == lines(run, findings)
    plain = json.loads((tmp_path / "run.json").read_text())
    del plain["diagnosis"], plain["options"]["supports"]
    (tmp_path / "run.json").write_text(json.dumps(plain))
    old = store.load(tmp_path)
    assert (old.diagnosis, old.options.supports) == (None, None)
    assert lines(old, findings)[0].startswith("outputs wrong: 1 check (reference")


HOSTILE = "\x1b[31m<b>|`x`\n\u202e"


@pytest.mark.parametrize("data", [{}, {"is": HOSTILE}, {"is": 3.0}, {HOSTILE: "x"}])
def test_damaged_and_hostile_words_are_one_line(data: dict[str, Any]) -> None:
    """A code that is not known, or lacks its data, is shown as it is, without control characters."""
    odd = [Deviation(stage="value", code=code, data=data) for code in ("denominator", HOSTILE, "share")]
    run, findings = judged(
        check("numerics/reference/a", number("y")),
        ended("numerics/strides/b", Status.FAILED, HOSTILE),
        ended("numerics/strides/c", Status.SKIPPED, f"refuses {HOSTILE}: {HOSTILE}"),
        found=with_deviations(*odd),
    )
    said = lines(run, findings)
    assert len(said) == 3
    assert all(line.isprintable() for line in said)


def test_layers_are_right_again_after_a_diagnosis(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at an implementation leaves no hook or patch behind."""
    from torch.nn.modules import module

    diagnosed(f"{here}:MaxVariance", monkeypatch)
    assert not module._global_forward_pre_hooks
    assert implementation.named() == f"{here}:MaxVariance"


def test_a_part_that_is_missing_explains_the_exception_that_names_it() -> None:
    """And is not told again."""
    missing = Deviation(stage="state", code="missing", data={"names": "num_batches_tracked"})
    error = "AttributeError: Mine has no attribute `num_batches_tracked`"
    run, findings = judged(
        ended("numerics/degenerate/a", Status.FAILED, error),
        ended("numerics/degenerate/b", Status.FAILED, error.replace("Mine", "Other")),
        check("behaviour/state/c", Observation(what="keys", value="none", expected="all")),
        found=with_deviations(missing),
    )
    assert lines(run, findings) == [
        f"the layer has no num_batches_tracked: 2 checks raise {error}",
        "saved, loaded or copied state wrong: 1 check (state, such as behaviour/state/c)",
    ]
