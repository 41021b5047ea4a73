"""What a run knows of its trainings, seed by seed, in the form that claims ask for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from bnsuite.judge.convergence import epochs_to_target
from bnsuite.record.details import Detail
from bnsuite.record.schema import CaseResult, Curve, Run

#: The loss of a training none of whose losses is finite.
LOST = 1e9

#: A number a seed.
Seeds = Mapping[int, float]


@dataclass(frozen=True)
class Evidence:
    """A run and the details of its trainings, by case."""

    run: Run
    details: Mapping[str, tuple[Detail, ...]] = field(default_factory=dict)

    @cached_property
    def _trainings(self) -> dict[str, CaseResult]:
        return {result.id: result for result in self.run.cases if result.curves}

    def without_details(self) -> list[str]:
        """The trainings that were followed, and of which nothing but the curves is known."""
        return [case for case in self._trainings if case not in self.details]

    def has(self, *cases: str) -> bool:
        """Whether all these trainings were followed."""
        return all(case in self._trainings for case in cases)

    def trainings(self, workload: str) -> list[str]:
        """The trainings of a workload that were followed."""
        return [case for case in self._trainings if case.startswith(f"train/{workload}/")]

    def training(self, case: str) -> CaseResult:
        """One training that was followed."""
        return self._trainings[case]

    def learning_rates(self) -> Iterator[tuple[str, dict[str, dict[float, str]]]]:
        """For each network of the learning-rate sweep: its trainings with and without BN, by learning rate."""
        for net in ("synthetic-mlp", "mnist-mlp/data=digits", "mnist-mlp/data=mnist-6k"):
            found: dict[str, dict[float, str]] = {}
            for norm in ("bn", "none"):
                found[norm] = self._by_number(f"train/lr-sweep/{norm}/net={net}/lr=")
                if net == "synthetic-mlp":  # two of its rates are a workload of their own
                    found[norm] |= self._by_number(f"train/synthetic-mlp/{norm}/lr=")
            yield net.replace("/", " "), found

    def initial_scales(self) -> dict[str, dict[float, str]]:
        """The trainings of the sweep of initial weights with and without BN, by scale."""
        found = {}
        for norm in ("bn", "none"):
            found[norm] = self._by_number(f"train/init-sweep/{norm}/scale=")
            usual = f"train/synthetic-mlp/{norm}/lr=0.01"
            if found[norm] and self.has(usual):
                found[norm][1.0] = usual
        return found

    def _by_number(self, prefix: str) -> dict[float, str]:
        """The trainings whose ids go on with a number, and nothing else, after `prefix`."""
        found = {}
        for case in self._trainings:
            rest = case.removeprefix(prefix)
            if rest != case and re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", rest):
                found[float(rest)] = case
        return found

    def final_loss(self, case: str) -> Seeds:
        """The natural logarithm of the final validation loss; a training that diverged counts with its worst one."""
        return self._of_curves(case, lambda curve: math.log(max(_last(curve.val_loss), 1e-9)))

    def accuracy(self, case: str) -> Seeds:
        """The final accuracy on the validation set, in evaluation mode."""
        return self._of_curves(case, lambda curve: curve.val_accuracy[-1] if curve.val_accuracy else None)

    def gap(self, case: str) -> Seeds:
        """How far the final validation loss is above the training loss of the last epoch; none above is 0."""

        def of(curve: Curve) -> float | None:
            validation, training = curve.val_loss[-1], curve.train_loss[-1]
            return None if validation is None or training is None else max(0.0, validation - training)

        return self._of_curves(case, of)

    def epochs(self, case: str) -> Seeds:
        """Epochs to the target; a training that never met it counts with all its epochs, which is too few."""
        target = self._trainings[case].case.target
        if target is None:
            return {}

        def of(curve: Curve) -> float:
            met = epochs_to_target(curve, target)
            return len(curve.train_loss) if met is None else met

        return self._of_curves(case, of)

    def meeting(self, *cases: str) -> set[int]:
        """The seeds on which at least one of the trainings met the target: on the others there is nothing to see."""
        return {
            curve.seed
            for case in cases
            for curve in self._trainings[case].curves
            if epochs_to_target(curve, self._trainings[case].case.target or 0.0) is not None
        }

    def modes(self, case: str) -> Seeds:
        """The final accuracy in evaluation mode minus that in training mode."""
        return self._of_details(
            case,
            lambda one: one.eval_mode.overall - one.train_mode.overall if one.eval_mode and one.train_mode else None,
        )

    def stopped(self, case: str) -> Seeds:
        """The share of units that have stopped to answer at the end, the mean over the layers."""
        return self._of_details(
            case, lambda one: sum(units.share[-1] for units in one.units) / len(one.units) if one.units else None
        )

    def _of_curves(self, case: str, number: Callable[[Curve], float | None]) -> Seeds:
        return _numbers(self._trainings[case].curves, number)

    def _of_details(self, case: str, number: Callable[[Detail], float | None]) -> Seeds:
        return _numbers(self.details.get(case, ()), number)


def _last(losses: Iterable[float | None]) -> float:
    """The last loss, or where it is not finite the worst of those that are."""
    known = list(losses)
    last = known[-1]
    return last if last is not None else max((loss for loss in known if loss is not None), default=LOST)


def _numbers(ones: Iterable[Curve] | Iterable[Detail], number: Callable[..., float | None]) -> dict[int, float]:
    return {one.seed: value for one in ones if (value := number(one)) is not None}


def minus(one: Seeds, other: Seeds) -> Seeds:
    """The differences on the seeds that both have."""
    return {seed: one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())}
