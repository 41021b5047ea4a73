"""The diagnosis of an implementation in words: what is wrong first, and how many checks follow from it.

Words of the run may come from a hostile process or a damaged file: every line is printable and of bounded length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bnsuite.judge.diagnosis import Group, Refused, groups, nothing_measured, refused
from bnsuite.judge.verdict import Finding
from bnsuite.record.diagnosis import Deviation
from bnsuite.record.schema import Run
from bnsuite.report import text, units
from bnsuite.report.text import clipped, listed

Data = Mapping[str, Any]
#: The most lines of groups, and of kinds that are refused.
MAX_GROUPS, MAX_REFUSED = 6, 4
#: Families named in one line.
MAX_FAMILIES = 4

_AXES = {
    "running": "uses the running statistics in training",
    "batch": "uses the batch's statistics in evaluation",
    "sample": "takes mean and variance over each sample and channel, as instance norm does",
    "layer": "takes mean and variance over each sample, as layer norm does",
    "place": "takes mean and variance over the channels at each place",
    "position": "takes mean and variance over the batch at each place, not over all places",
    "all": "takes one mean and variance over all channels",
    "groups": "takes mean and variance over groups of channels, as group norm does",
}
_SHARES = {
    "inverted": "takes momentum for the share of the old statistics (running = momentum × running + …)",
    "default": "moves the running statistics with a momentum of 0.1, whatever was passed",
    "still": "does not update the running statistics in training",
    "replaced": "replaces the running statistics by those of the last batch",
}
_WORST = {
    "small": "outputs wrong from the first forward pass, worst where the variance is small",
    "large": "outputs wrong from the first forward pass, worst where the variance is large",
    "not finite": "outputs not finite from the first forward pass",
    "everywhere": "outputs wrong from the first forward pass",
}


def _denominator(data: Data) -> str:
    if data["is"].startswith("eps="):
        return f"uses an eps of {data['is'].removeprefix('eps=')}, whatever was passed"
    if data["is"] == "sqrt(max(var, eps))":
        return "normalizes with max(var, eps) instead of var + eps"
    if data["is"] == "sqrt(var)":
        return "does not add eps to the variance"
    return f"divides by {data['is']} instead of sqrt(var + eps)"


def _of(data: Data) -> str:
    return "the input" if data["of"] == "x" else f"the {data['of']}"


def _unexplained_gradient(data: Data) -> str:
    return f"the gradient of {_of(data)} is wrong"


#: Codes of deviations, by stage where two stages have the same code.
_WORDS: dict[str, Callable[[Data], str]] = {
    "output-type": lambda data: f"returns {data['is']}, which is no tensor",
    "output-shape": lambda data: f"returns an output of shape {data['is']} for an input of {data['input_shape']}",
    "output-dtype": lambda data: f"returns {data['is']} for {data['input']} input",
    "layout": lambda data: f"returns {data['is']} output for {data['input']} input",
    "statistics": lambda data: _AXES[data["is"]],
    "variance": lambda _: "normalizes by the unbiased variance (divided by n - 1 instead of n)",
    "centre": lambda data: (
        "does not subtract the mean" + ("; divides by the root mean square" if data["is"] == "rms" else "")
    ),
    "denominator": _denominator,
    "weight": lambda data: "ignores the weight" if data["is"] == "ignored" else "multiplies by 1 + weight",
    "bias": lambda _: "ignores the bias",
    "activation": lambda data: f"applies {data['is']} to the output",
    "cancellation": lambda _: "loses the variance where the mean is large, as E[x²] - E[x]² does",
    "kind": lambda data: f"outputs wrong for {data['input']} input alone",
    "precision": lambda data: f"computes {data['input']} input in a lower precision",
    "raises": lambda data: f"raises {data['error']}" + (f" for {data['input']} input" if "input" in data else ""),
    "value/unexplained": lambda data: _WORST[data["worst"]],
    "mode/unexplained": lambda _: "outputs wrong in evaluation, right in training",
    "input-overwritten": lambda _: "overwrites its input",
    "no-graph": lambda _: "the output is detached: it has no gradient",
    "no-graph-in-evaluation": lambda _: "the output is detached in evaluation: it has no gradient",
    "stopped": lambda data: f"the gradient of the input lacks the terms of the {data['is']}",
    "averaged": lambda data: f"the gradient of {_of(data)} is a mean instead of a sum over the batch",
    "of-input": lambda data: f"the gradient of {_of(data)} is made of x instead of normalized x",
    "missing": lambda data: f"{_of(data)} gets no gradient" if "of" in data else f"the layer has no {data['names']}",
    "zero": lambda data: f"the gradient of {_of(data)} is zero",
    "gradient/unexplained": _unexplained_gradient,
    "evaluation-of-training": lambda _: "the gradient in evaluation is that of training",
    "evaluation-unexplained": lambda _: "the gradient in evaluation is wrong",
    "counter": lambda data: f"num_batches_tracked counts {data['is']:g} instead of 1 per batch",
    "share": lambda data: _SHARES[data["is"]] + (f" ({data['of']} alone)" if "of" in data else ""),
    "running-variance": lambda data: (
        "updates running_var with the biased variance (divided by n instead of n - 1)"
        if data["is"] == "biased"
        else "keeps the standard deviation in running_var"
    ),
    "still-without-gradients": lambda _: "does not update the running statistics under torch.no_grad()",
    "momentum-none": lambda _: "with momentum=None, running_mean is not the average of all batches",
    "statistics/unexplained": lambda data: f"{data['of']} wrong after a training step",
    "not-saved": lambda data: f"{data['names']} not in the state dict: not registered as buffers or parameters",
    "replaced": lambda _: "replaces its buffers instead of updating them in place",
    "parameters-moved": lambda data: f"a forward pass changes {data['names']}",
    "moved-in-evaluation": lambda data: f"evaluation changes {data['names']}",
}

_STAGES = {
    "raises": "raises an exception",
    "shape": "type or layout of the output wrong",
    "value": "outputs wrong",
    "gradient": "gradients wrong, outputs right",
    "statistics": "running statistics wrong, outputs and gradients right",
    "state": "saved, loaded or copied state wrong",
    "mode": "wrong in evaluation or after a change of mode",
    "export": "wrong or impossible when compiled or exported",
    "other": "memory, repeatability or something else wrong",
}


def lines(run: Run, findings: Sequence[Finding]) -> list[str]:
    """Returns the first lines of a report on an implementation, the most basic problem first.

    There are none for torch's own layers, and for an implementation with which nothing is wrong.
    """
    if run.options.implementation is None:
        return []
    kinds = refused(run)
    if nothing_measured(run, findings):
        return [_line(_nothing(kinds, findings))]
    found = groups(run, findings)
    shown = [_line(_of_group(one)) for one in found[:MAX_GROUPS]]
    if left := [one.count for one in found[MAX_GROUPS:] if one.count]:
        shown.append(f"{units.count(len(left), 'more reason')}: {_checks(sum(left))}")
    if run.diagnosis is not None and run.diagnosis.failed is not None:
        shown.append(_line(f"no diagnosis: {run.diagnosis.failed}"))
    return [*shown, *_of_refused(kinds)]


def words(deviation: Deviation) -> str:
    """Returns a deviation in words; one that is not known, or damaged, by its code."""
    for code in (f"{deviation.stage}/{deviation.code}", deviation.code):
        if code in _WORDS:
            try:
                return _WORDS[code](deviation.data)
            except (LookupError, TypeError, ValueError, AttributeError):
                break
    values = listed([f"{name} {value}" for name, value in deviation.data.items()])
    return f"{deviation.stage}: {deviation.code}" + (f" ({values})" if values else "")


def _nothing(kinds: Sequence[Refused], findings: Iterable[Finding]) -> str:
    """Returns the line of an implementation of which no case could be measured."""
    if kinds:
        errors = dict.fromkeys(one.error for one in kinds)
        return f"nothing could be measured: the implementation refuses every case: {listed([*errors], 2, letters=400)}"
    reasons = dict.fromkeys(str(one.reason.data.get("text", one.reason.code.value)) for one in findings)
    return f"nothing could be measured: every case is SKIPPED: {listed([*reasons], 2, letters=400)}"


def _of_group(group: Group) -> str:
    causes = listed([words(one) for one in group.causes], 4, between="; ", letters=text.MAX_SENTENCE)
    if group.stage == "raises" and causes:
        error = clipped(group.error or "", text.MAX_SENTENCE)
        return f"{causes}: {_checks(group.count)} {'raises' if group.count == 1 else 'raise'} {error}"
    if group.stage == "raises":
        return f"raises {clipped(group.error or '', text.MAX_SENTENCE)}: {_checks(group.count)} ({_families(group)})"
    if not causes:
        example = f", such as {clipped(group.cases[0])}" if group.cases else ""
        return f"{_STAGES[group.stage]}: {_checks(group.count)} ({_families(group)}{example})"
    if not group.count:
        return f"{causes}: no check that was run fails for it"
    unexplained = any(one.code.endswith("unexplained") for one in group.causes)
    follow = "" if unexplained else " follows from it" if group.count == 1 else " follow from it"
    return f"{causes}: {_checks(group.count)}{follow}"


def _families(group: Group) -> str:
    return listed([clipped(one) for one in group.families], MAX_FAMILIES)


def _checks(count: int) -> str:
    return units.count(count, "check")


def _of_refused(kinds: Sequence[Refused]) -> list[str]:
    """Returns a line for each kind that is refused without being declared, those of most cases first."""
    shown = [_line(_of_kind(one)) for one in kinds[:MAX_REFUSED]]
    more = len(kinds) - MAX_REFUSED
    return [*shown, f"refuses {units.count(more, 'more kind')} of input"] if more > 0 else shown


def _of_kind(one: Refused) -> str:
    skipped = units.count(one.cases, "case")
    return f"refuses {clipped(one.what)}: {clipped(one.error)}; {skipped} SKIPPED (declare it with --supports)"


def _line(said: str) -> str:
    return clipped(text.one_line(said), text.MAX_REASON)
