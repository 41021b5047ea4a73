"""The trainings of a run, seed by seed, found by their labels, in the form that claims and figures need."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from bnsuite.judge.convergence import epochs_to_target
from bnsuite.record.details import Detail
from bnsuite.record.schema import CaseResult, Curve, Run

#: The trainings of the articles.
FAMILY = "train"
#: The loss of a training none of whose losses is finite.
DIVERGED_LOSS = 1e9

#: One number per seed.
Seeds = Mapping[int, float]


@dataclass(frozen=True)
class Evidence:
    """A run and the details of its trainings, by case."""

    run: Run
    details: Mapping[str, tuple[Detail, ...]] = field(default_factory=dict)

    @cached_property
    def _trainings(self) -> dict[str, CaseResult]:
        own = (result for result in self.run.cases if result.case.family == FAMILY)  # none of a user's file
        return {result.id: result for result in own if result.curves}

    def without_details(self) -> list[str]:
        """Returns the trainings of which only the curves are known."""
        return [case for case in self._trainings if case not in self.details]

    def trainings(self, workload: str, norm: str | None = None) -> list[str]:
        """Returns the trainings of a workload, with one normalization or with any."""
        return [
            case
            for case in self._trainings
            if self.labels(case).get("workload") == workload and norm in {None, self.labels(case).get("norm")}
        ]

    def find(self, workload: str, norm: str, **settings: str) -> str | None:
        """Returns the training with these labels, or None if the run has none."""
        wanted = settings.items()
        return next((case for case in self.trainings(workload, norm) if wanted <= self.labels(case).items()), None)

    def pair(self, workload: str, norms: tuple[str, str] = ("bn", "none"), **settings: str) -> tuple[str, str] | None:
        """Returns two trainings that differ in their normalization alone, or None if the run lacks one of them."""
        one, other = (self.find(workload, norm, **settings) for norm in norms)
        return (one, other) if one is not None and other is not None else None

    def pairs(self, workload: str, norms: tuple[str, str] = ("bn", "none")) -> Iterator[tuple[str, str]]:
        """Yields all such pairs of a workload."""
        for case in self.trainings(workload, norms[0]):
            rest = {name: one for name, one in self.labels(case).items() if name not in {"workload", "norm"}}
            if (other := self.find(workload, norms[1], **rest)) is not None:
                yield case, other

    def training(self, case: str) -> CaseResult:
        """Returns one training."""
        return self._trainings[case]

    def labels(self, case: str) -> Mapping[str, str]:
        """Returns the labels of one training."""
        return self._trainings[case].case.labels

    def settings(self, case: str) -> tuple[str, ...]:
        """Returns the settings that distinguish a training in its workload, such as "data=digits".

        The data set is one of them where nothing else is, or where the run has the workload on several.
        """
        labels = self.labels(case)
        others = {name: one for name, one in labels.items() if name not in {"workload", "norm", "data"}}
        data = {self.labels(one).get("data") for one in self.trainings(labels.get("workload", ""))}
        named = {"data": labels["data"]} if labels.get("data") and (not others or len(data) > 1) else {}
        return tuple(f"{name}={one}" for name, one in {**others, **named}.items())

    def place(self, case: str, *, norm: bool = False) -> str:
        """Returns a training in short: "cnn data=digits", or "cnn bn data=digits" with its `norm`."""
        labels = self.labels(case)
        named = [labels.get("workload", ""), labels.get("norm", "")][: 2 if norm else 1]
        return " ".join([*named, *self.settings(case)])

    def learning_rates(self) -> Iterator[tuple[str, dict[str, dict[float, str]]]]:
        """Yields each network of the learning-rate sweep: its trainings with and without BN, by learning rate."""
        for net, data in (("synthetic-mlp", None), ("mnist-mlp", "digits"), ("mnist-mlp", "mnist-6k")):
            found: dict[str, dict[float, str]] = {}
            labels = {"net": net} if data is None else {"net": net, "data": data}
            for norm in ("bn", "none"):
                found[norm] = self.by_number("lr-sweep", norm, "lr", **labels)
                if net == "synthetic-mlp":  # two of its rates are a workload of their own
                    found[norm] |= self.by_number(net, norm, "lr")
            yield net if data is None else f"{net} data={data}", found

    def initial_scales(self) -> dict[str, dict[float, str]]:
        """Returns the trainings of the sweep of initial weights with and without BN, by scale."""
        found = {}
        for norm in ("bn", "none"):
            found[norm] = self.by_number("init-sweep", norm, "scale")
            usual = self.find("synthetic-mlp", norm, lr="0.01")
            if found[norm] and usual is not None:
                found[norm][1.0] = usual
        return found

    def by_number(self, workload: str, norm: str, label: str, **settings: str) -> dict[float, str]:
        """Returns the trainings with these labels by the number that another label holds."""
        found = {}
        for case in self.trainings(workload, norm):
            labels = self.labels(case)
            number = labels.get(label, "")
            if settings.items() <= labels.items() and re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-?[0-9]{1,2})?", number):
                found[float(number)] = case
        return found

    def final_loss(self, case: str) -> Seeds:
        """Returns the logarithm of the final validation loss; a training that diverged counts with its worst one."""
        return self._of_curves(case, lambda curve: math.log(max(_last(curve.val_loss), 1e-9)))

    def accuracy(self, case: str) -> Seeds:
        """Returns the final accuracy on the validation set, in evaluation mode."""
        return self._of_curves(case, lambda curve: curve.val_accuracy[-1] if curve.val_accuracy else None)

    def gap(self, case: str) -> Seeds:
        """Returns the final validation loss above the training loss of the last epoch, 0 if it is not above."""

        def of(curve: Curve) -> float | None:
            validation, training = curve.val_loss[-1], curve.train_loss[-1]
            return None if validation is None or training is None else max(0.0, validation - training)

        return self._of_curves(case, of)

    def epochs(self, case: str) -> Seeds:
        """Returns epochs to the target; a training that never met it counts with all its epochs, which is too few."""
        target = self._trainings[case].case.target
        if target is None:
            return {}

        def of(curve: Curve) -> float:
            met = epochs_to_target(curve, target)
            return len(curve.train_loss) if met is None else met

        return self._of_curves(case, of)

    def meeting(self, *cases: str) -> set[int]:
        """Returns the seeds on which at least one of the trainings met the target."""
        return {
            curve.seed
            for case in cases
            for curve in self._trainings[case].curves
            if epochs_to_target(curve, self._trainings[case].case.target or 0.0) is not None
        }

    def modes(self, case: str) -> Seeds:
        """Returns the final accuracy in evaluation mode minus that in training mode."""
        return self._of_details(
            case,
            lambda one: one.eval_mode.overall - one.train_mode.overall if one.eval_mode and one.train_mode else None,
        )

    def stopped(self, case: str) -> Seeds:
        """Returns the share of saturated or dead units at the end, the mean over the layers."""
        return self._of_details(
            case, lambda one: sum(units.share[-1] for units in one.units) / len(one.units) if one.units else None
        )

    def _of_curves(self, case: str, number: Callable[[Curve], float | None]) -> Seeds:
        return _numbers(self._trainings[case].curves, number)

    def _of_details(self, case: str, number: Callable[[Detail], float | None]) -> Seeds:
        return _numbers(self.details.get(case, ()), number)


def _last(losses: Iterable[float | None]) -> float:
    """Returns the last loss, or where it is not finite the worst of those that are."""
    known = list(losses)
    last = known[-1]
    return last if last is not None else max((loss for loss in known if loss is not None), default=DIVERGED_LOSS)


def _numbers(ones: Iterable[Curve] | Iterable[Detail], number: Callable[..., float | None]) -> dict[int, float]:
    return {one.seed: value for one in ones if (value := number(one)) is not None}


def minus(one: Seeds, other: Seeds) -> Seeds:
    """Returns the differences on the seeds that both have."""
    return {seed: one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())}
