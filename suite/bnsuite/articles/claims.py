"""The claims of the articles, and the answers by the seeds of a run: holds, does not hold, or undecided.

An effect is a mean over seeds with its 95 % interval (Student's t on the differences seed by seed). A claim has a
region in which it is true and one in which it is not; where the interval reaches out of both, more seeds are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from bnsuite.articles.evidence import Evidence, Seeds, minus
from bnsuite.judge.statistics import paired

LEVEL = 0.95


class Answer(str, Enum):
    """The answer of the evidence to a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


class Scale(str, Enum):
    """The scale of an effect's numbers."""

    EPOCHS = "epochs"
    #: Natural logarithms of a ratio; shown as a relative change.
    RATIO = "ratio"
    #: Differences of shares; shown as percentage points.
    POINTS = "points"
    #: Differences of losses.
    LOSS = "loss"


@dataclass(frozen=True)
class Region:
    """The claim is true below `holds_below`, and not above `fails_above`.

    Where the second is the lower one, what lies between them is an effect that is there and not worth the name: the
    claim does not hold.
    """

    holds_below: float
    fails_above: float

    def answer(self, low: float, high: float) -> Answer:
        """Returns the answer of an interval."""
        if low > self.fails_above:
            return Answer.FAILS
        if high < self.holds_below:
            return Answer.HOLDS
        return Answer.UNDECIDED


@dataclass(frozen=True)
class Within:
    """The claim is true within ± `margin`, and not outside."""

    margin: float

    def answer(self, low: float, high: float) -> Answer:
        """Returns the answer of an interval."""
        if -self.margin < low and high < self.margin:
            return Answer.HOLDS
        if low > self.margin or high < -self.margin:
            return Answer.FAILS
        return Answer.UNDECIDED


@dataclass(frozen=True)
class Row:
    """One place where a claim was tested."""

    #: The trainings compared, in short.
    where: str
    #: The effect, such as "final validation loss, bn / none".
    what: str
    scale: Scale
    seeds: int
    mean: float
    low: float
    high: float
    answer: Answer


Test = tuple[str, str, Scale, Seeds, Region | Within]


@dataclass(frozen=True)
class Claim:
    """A sentence of an article and the places where it is tested."""

    name: str
    article: str
    text: str
    tests: Callable[[Evidence], Iterator[Test]]

    def rows(self, evidence: Evidence) -> list[Row]:
        """Returns the answers of a run; none where it has no training of the claim at two seeds or more."""
        return [row for test in self.tests(evidence) if (row := _row(*test)) is not None]


def _row(where: str, what: str, scale: Scale, effects: Seeds, region: Region | Within) -> Row | None:
    if len(effects) < 2:
        return None
    estimate = paired([*effects.values()])
    low, high = estimate.interval(LEVEL)
    return Row(where, what, scale, len(effects), estimate.mean, low, high, region.answer(low, high))


#: A negative effect is the claimed one, and one nearer to zero than the second number is none worth the name.
FEWER_EPOCHS = Region(0.0, -0.1)
LOWER_LOSS = Region(0.0, math.log(0.98))
LOWER_GAP = Region(0.0, -0.005)
FEWER_POINTS = Region(0.0, -0.01)
#: The change that counts as "no harm".
HARMLESS = Region(math.log(1.10), math.log(1.10))
HALF_A_POINT = 0.005
#: Epochs after which the losses of an epoch hardly move within it.
TRAINED_OUT = 10
BAD_INIT = "bad-init-regression"


def _pairs(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Yields every training with batch norm and its counterpart without: where, and the two ids."""
    for workload in ("synthetic-mlp", "mnist-mlp", "mnist-mlp-sgd", BAD_INIT, "cnn"):
        for bn, none in evidence.pairs(workload):
            yield evidence.place(bn), bn, none


def _faster(evidence: Evidence) -> Iterator[Test]:
    for where, bn, none in _pairs(evidence):
        saved, met = minus(evidence.epochs(bn), evidence.epochs(none)), evidence.meeting(bn, none)
        saved = {seed: epochs for seed, epochs in saved.items() if seed in met}
        yield where, "epochs to target, bn - none", Scale.EPOCHS, saved, FEWER_EPOCHS


def _lower(evidence: Evidence) -> Iterator[Test]:
    for where, bn, none in _pairs(evidence):
        change = minus(evidence.final_loss(bn), evidence.final_loss(none))
        yield where, "final validation loss, bn / none", Scale.RATIO, change, LOWER_LOSS


def _tenfold(evidence: Evidence) -> Iterator[Test]:
    for where, nets in evidence.learning_rates():
        for lr in (0.001, 0.01):
            times_ten = 10 * lr
            if not all(rate in nets[norm] for norm in nets for rate in (lr, times_ten)):
                continue
            cost = {
                norm: minus(evidence.final_loss(cases[times_ten]), evidence.final_loss(cases[lr]))
                for norm, cases in nets.items()
            }
            place = f"{where} lr {lr:g} to {times_ten:g}"
            yield place, "final validation loss with bn, after / before", Scale.RATIO, cost["bn"], HARMLESS
            yield place, "the same, bn / none", Scale.RATIO, minus(cost["bn"], cost["none"]), LOWER_LOSS


def _bad_init(evidence: Evidence) -> Iterator[Test]:
    for activation in ("tanh", "relu"):
        if (pair := evidence.pair(BAD_INIT, act=activation)) is not None:
            bn, none = map(evidence.final_loss, pair)
            yield f"{BAD_INIT} {activation}", "final test loss, bn / none", Scale.RATIO, minus(bn, none), LOWER_LOSS
    sweep = evidence.initial_scales()
    scales = sorted(sweep["bn"].keys() & sweep["none"].keys())
    if len(scales) > 1:
        spread = {norm: _spread(evidence, [cases[scale] for scale in scales]) for norm, cases in sweep.items()}
        where = f"init-sweep, scales {scales[0]:g} to {scales[-1]:g}"
        change = minus(spread["bn"], spread["none"])
        yield where, "worst / best final validation loss, bn / none", Scale.RATIO, change, LOWER_LOSS


def _spread(evidence: Evidence, cases: list[str]) -> Seeds:
    """Returns the difference between a seed's worst and best final loss over some trainings."""
    losses = [evidence.final_loss(case) for case in cases]
    seeds = set.intersection(*(set(one) for one in losses))
    return {seed: max(one[seed] for one in losses) - min(one[seed] for one in losses) for seed in seeds}


def _stopped(activation: str, kind: str) -> Callable[[Evidence], Iterator[Test]]:
    def tests(evidence: Evidence) -> Iterator[Test]:
        pairs = [(f"{BAD_INIT} {activation}", evidence.pair(BAD_INIT, act=activation))]
        if activation == "relu":
            pairs += [(f"cnn {data}", evidence.pair("cnn", data=data)) for data in ("digits", "mnist-6k", "fashion-6k")]
        for where, pair in pairs:
            if pair is not None:
                fewer = minus(*map(evidence.stopped, pair))
                yield where, f"share of {kind} at the end, bn - none", Scale.POINTS, fewer, FEWER_POINTS

    return tests


def _small_batches(evidence: Evidence) -> Iterator[Test]:
    for batch in (2, 4):
        for norm in ("bn", "ln", "gn"):
            small, usual = (evidence.find("batch-size", norm, batch=f"{size}") for size in (batch, 32))
            if small is None or usual is None:
                continue
            where = f"cnn digits, {norm}, batch {batch}"
            harm = minus(evidence.final_loss(small), evidence.final_loss(usual))
            if norm == "bn":  # the claim is that it is hurt
                harm = minus(evidence.final_loss(usual), evidence.final_loss(small))
                yield where, "final validation loss, batch 32 / small", Scale.RATIO, harm, LOWER_LOSS
            else:
                yield where, "final validation loss, small / batch 32", Scale.RATIO, harm, HARMLESS


def _placement(evidence: Evidence) -> Iterator[Test]:
    for net, data, usual in (
        ("mnist-mlp", "mnist-6k", evidence.find("dropout", "bn", p="0", data="mnist-6k")),
        ("mnist-mlp", "digits", evidence.find("mnist-mlp", "bn", data="digits")),
        ("cnn", "digits", evidence.find("cnn", "bn", data="digits")),
    ):
        after = evidence.find("placement", "after", net=net, data=data)
        if after is not None and usual is not None:
            better = minus(evidence.accuracy(after), evidence.accuracy(usual))
            region = Region(HALF_A_POINT, HALF_A_POINT)
            yield f"{net} data={data}", "final accuracy, after - before", Scale.POINTS, better, region


def _modes(evidence: Evidence) -> Iterator[Test]:
    for workload in ("mnist-mlp-sgd", "mnist-mlp", "cnn"):
        for case in evidence.trainings(workload, "bn"):
            where = evidence.place(case, norm=True)
            yield where, "final accuracy, eval - train mode", Scale.POINTS, evidence.modes(case), Within(0.01)


def _regularises(evidence: Evidence) -> Iterator[Test]:
    """Yields tests of trainings of ten epochs or more: the training loss is the mean over the last epoch."""
    for where, bn, none in _pairs(evidence):
        trained_out = len(evidence.training(bn).curves[0].train_loss) >= TRAINED_OUT
        workload = evidence.labels(bn)["workload"]
        if trained_out and workload != BAD_INIT:  # whose losses stay in the tens and do not overfit
            narrower = minus(evidence.gap(bn), evidence.gap(none))
            yield where, "validation above training loss at the end, bn - none", Scale.LOSS, narrower, LOWER_GAP


def _dropout(evidence: Evidence) -> Iterator[Test]:
    for data, without in (
        ("digits", evidence.find("mnist-mlp", "bn", data="digits")),
        ("mnist-6k", evidence.find("dropout", "bn", p="0", data="mnist-6k")),
    ):
        for rate in ("0.2", "0.5"):
            case = evidence.find("dropout", "bn", p=rate, data=data)
            if case is not None and without is not None:
                gain = minus(evidence.final_loss(without), evidence.final_loss(case))
                where, region = f"mnist-mlp bn {data} p={rate}", Region(math.log(1.02), math.log(1.02))
                yield where, "final validation loss, p = 0 / p", Scale.RATIO, gain, region


def _recurrent(evidence: Evidence) -> Iterator[Test]:
    for data in ("digits", "mnist-6k"):
        if (pair := evidence.pair("recurrent", ("ln", "bn"), data=data)) is not None:
            change = minus(*map(evidence.final_loss, pair))
            yield f"recurrent {data}", "final validation loss, ln / per-step bn", Scale.RATIO, change, LOWER_LOSS


def _keras(evidence: Evidence) -> Iterator[Test]:
    for data in ("mnist-held-out", "digits-held-out"):
        if (pair := evidence.pair("mnist-mlp-keras", ("bn", "bn-torch"), data=data)) is not None:
            loss = minus(*map(evidence.final_loss, pair))
            yield data, "final validation loss, Keras / torch", Scale.RATIO, loss, Within(math.log(1.05))
            accuracy = minus(*map(evidence.accuracy, pair))
            yield data, "final accuracy, Keras - torch", Scale.POINTS, accuracy, Within(HALF_A_POINT)


def answers(evidence: Evidence) -> list[tuple[Claim, list[Row]]]:
    """Returns every claim with the answers of the run."""
    return [(claim, claim.rows(evidence)) for claim in CLAIMS]


CLAIMS = (
    Claim("faster", "0, 1, 2, 3", "With batch norm the target is reached in fewer epochs", _faster),
    Claim("lower", "0, 1, 2, 3", "With batch norm the final validation loss is lower", _lower),
    Claim("tenfold", "0, 1", "Batch norm tolerates a tenfold learning rate", _tenfold),
    Claim("bad-init", "1, 3", "Batch norm makes training insensitive to bad initialisation", _bad_init),
    Claim("saturation", "3", "Without batch norm tanh units saturate", _stopped("tanh", "saturated values")),
    Claim("dying", "3", "Without batch norm ReLU units die", _stopped("relu", "dead units")),
    Claim("small-batches", "4", "Small batches hurt batch norm, and not layer or group norm", _small_batches),
    Claim("placement", "4", "Before the activation is at least as good as after it", _placement),
    Claim("modes", "2", "Training and evaluation mode agree once the statistics have converged", _modes),
    Claim("regularises", "1, 4", "Batch norm regularises: validation and training loss are closer", _regularises),
    Claim("dropout", "4", "With batch norm dropout is no longer needed", _dropout),
    Claim("recurrent", "4", "In an LSTM layer norm beats per-step batch norm", _recurrent),
    Claim("keras", "1", "The Keras and the PyTorch version learn the same", _keras),
)
