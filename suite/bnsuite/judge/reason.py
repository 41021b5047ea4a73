"""Reasons of findings as data: a code and its numbers. Sentences are made in ``report/reasons.py`` alone."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TypeVar

from pydantic import Field, JsonValue

from bnsuite.record.schema import Value

T = TypeVar("T")
#: A record of plain JSON.
Record = dict[str, JsonValue]


class ReasonCode(str, Enum):
    """The kinds of reasons; the comment beside each names its data."""

    #: `text`: in the words of whatever stopped the measurement, or null if it gave none.
    TEXT = "text"
    RUN_ENDED = "run-ended"
    NOT_MEASURED = "not-measured"

    #: `reason` that the finding would have if the numbers were a GPU's.
    REHEARSED = "rehearsed"

    # The reference has nothing to compare with.
    #: `reference`; `acceptable` if `bnsuite accept` can add it.
    NOT_IN_REFERENCE = "not-in-reference"
    #: `reference`, `cause` (see ``record.reference.Absence``), `details`, `acceptable`.
    NO_REFERENCE = "no-reference"
    #: `baseline` and `run`: their versions of the case.
    OTHER_VERSION = "other-version"
    OTHER_CONTROLS = "other-controls"
    #: `reference`.
    MISSING_CASE = "missing-case"

    # Launches.
    #: `kind` ("core", "gpu-throttled", "gpu-shared", "gpu-faulty", "gpu-busy-before" or "other"), `by`, `launches`,
    #: `of`.
    DISTURBED = "disturbed"
    #: `launches`.
    FEW_LAUNCHES = "few-launches"
    #: `launches`, and the `reason` of the failure.
    FAILED_AFTER_LAUNCHES = "failed-after-launches"
    #: `share`, `nbytes`.
    FASTER_THAN_COPY = "faster-than-copy"

    # Time against a stored baseline; `controls` are relative changes by name. `gpu`, if there is anything to say of it:
    # `clock` (the relative change of a median SM clock that explains a slowdown), `capped` (the share of the time that
    # the power cap held it), `blind` (why other processes may have been there unseen).
    #: `change`, `limit`, `beyond_controls`, `controls`, `gpu`; `confirm` (`case`, `environment`, `implementation`).
    SLOWER = "slower"
    #: `change`, `controls`.
    FASTER = "faster"
    #: `limit`.
    WITHIN_LIMIT = "within-limit"
    #: `limit`, `controls`, `gpu`.
    NOT_WITHIN_LIMIT = "not-within-limit"
    #: `controls`.
    CONTROLS_CHANGED = "controls-changed"

    # Ratios: `ratio`, `bound`.
    #: Also `rule`, `threads`.
    RATIO_ABOVE = "ratio-above"
    RATIO_BELOW = "ratio-below"
    RATIO_UNDECIDED = "ratio-undecided"
    #: `ratio`, `assumed` (the bound that is shipped, which nobody measured; null if there is none), `calibrated` if
    #: other cases are.
    RATIO_NOT_CALIBRATED = "ratio-not-calibrated"
    #: `ratio`, a figure: no bound is shipped, as for scaling, and none can be calibrated on this device.
    RATIO_WITHOUT_BOUND = "ratio-without-bound"

    # Time of two environments, interleaved: `change`, `low`, `high` (relative), `launches`.
    #: Also `confirming` (launches), `controls`, `gpu`.
    SLOWDOWN_CONFIRMED = "slowdown-confirmed"
    TIME_COMPARED = "time-compared"
    #: Also `flagged`, `confirming`, `needs` (launches), `gpu`.
    TIME_UNDECIDED = "time-undecided"
    #: `needs` alone.
    NEEDS_LAUNCHES = "needs-launches"
    #: `by` ("budget" or "measuring"), `launches`, `reason`.
    ENDED_AFTER_LAUNCHES = "ended-after-launches"
    BUDGET_ENDED = "budget-ended"
    FEW_TO_JUDGE = "few-to-judge"
    #: `seeds`, `of`, `reason`.
    BUDGET_ENDED_AFTER_SEEDS = "budget-ended-after-seeds"

    # CPU time: `change` of it and of the `wall` time (relative), `cores` kept busy before and now, `limit`,
    # `launches`.
    CPU_TIME_ABOVE = "cpu-time-above"
    CPU_TIME_BELOW = "cpu-time-below"
    CPU_TIME_WITHIN = "cpu-time-within"
    CPU_TIME_UNDECIDED = "cpu-time-undecided"

    # Memory, in bytes.
    NO_PEAK = "no-peak"
    #: `peak`, `baseline`.
    PEAK_WITHIN = "peak-within"
    PEAK_ABOVE = "peak-above"
    PEAK_BELOW = "peak-below"
    #: `used`, `baseline`.
    GPU_USE_ABOVE = "gpu-use-above"
    #: `low`, `high`.
    PEAKS_DIFFER = "peaks-differ"

    # What a step launches; `of` is "operators" or "kernels".
    #: `of`, `launched` (a number), `batch_norm` (its backend, or null).
    KERNELS_SAME = "kernels-same"
    #: `change` (`of`, `before` and `now`: numbers; `gone` and `new`: "2 zero_"; `more_gone`, `more_new`; `batch_norm`:
    #: both backends, or null), `causes` (what explains it), `acceptable`. A reason of a time may have the change too,
    #: as `kernels`.
    KERNELS_CHANGED = "kernels-changed"

    # Curves of trainings; `metrics` are relative changes by name.
    #: `seeds`.
    CURVES_EQUAL = "curves-equal"
    NO_COMMON_SEED = "no-common-seed"
    FEW_SEEDS = "few-seeds"
    #: `metric`, `missing` ("never", "not finite" or "absent"), `seeds` (their numbers).
    METRIC_LOST = "metric-lost"
    #: `metrics`.
    METRICS_WORSE = "metrics-worse"
    METRICS_BETTER = "metrics-better"
    METRICS_WITHIN = "metrics-within"
    #: `metrics` (the better ones), `seeds`, `open` (names).
    METRICS_UNDECIDED = "metrics-undecided"
    #: `reason`, and `also`: a second one.
    WITH_FAILURE = "with-failure"

    # Observations of checks; of many a few are named, and `more` counts the rest.
    #: `deviations` (`what`, `value`, and `expected`, `limit` or `accepted`), `rule`, `threads`.
    DEVIATIONS = "deviations"
    #: `deviations`.
    BETTER_THAN_ACCEPTED = "better-than-accepted"
    #: `names`, `reference`, `acceptable`.
    OBSERVATIONS_GONE = "observations-gone"
    #: `names`, `reason`; on a GPU `calibrated` if that was, and null on a CPU.
    OBSERVATIONS_UNKNOWN = "observations-unknown"
    #: `deviations` from limits that were found on CPUs, `calibrated` if the GPU was, by other cases.
    LIMITS_NOT_CALIBRATED = "limits-not-calibrated"
    #: `pinned`: `what`, and the pin's `reason` or the environment it is `shared_with`.
    AS_EXPECTED = "as-expected"
    #: `reason`, and the reasons of the `pins`.
    WITH_PINS = "with-pins"

    # Two environments: what the trusted one says; `reference` is its name, `reason` a second one.
    SKIPPED_IN_REFERENCE = "skipped-in-reference"
    FAILED_IN_BOTH = "failed-in-both"
    FAILED_IN_REFERENCE = "failed-in-reference"
    #: Also `environment`, which is judged.
    ONLY_IN_REFERENCE = "only-in-reference"

    # A finding against a stored baseline, measured again by an interleaved comparison; `stored` is its first reason.
    #: `against`, `reason`, `reference`, `stored`.
    CONFIRMATION = "confirmation"
    #: `reference`, `stored`, `why`; `verdict` if that is of a comparison's finding.
    NOT_CONFIRMED = "not-confirmed"


class Reason(Value):
    """The reason of a finding; `data` is plain JSON, and a reason within it is a record of `code` and `data`."""

    code: ReasonCode
    data: Record = Field(default_factory=dict)

    def without(self, *names: str) -> Reason:
        """Returns the reason without some of its data."""
        return Reason(code=self.code, data={name: one for name, one in self.data.items() if name not in names})


def reason(code: ReasonCode, **data: JsonValue | Reason) -> Reason:
    """Returns a reason; one that is given as data becomes plain JSON."""
    plain = {name: one.model_dump(mode="json") if isinstance(one, Reason) else one for name, one in data.items()}
    return Reason(code=code, data=plain)


def text(words: str | None) -> Reason:
    """Returns the reason that a measurement gave itself."""
    return reason(ReasonCode.TEXT, text=words)


def first_of(items: Collection[T], most: int) -> tuple[list[T], int]:
    """Returns the first `most` of `items`, and how many more there are."""
    return list(items)[:most], max(0, len(items) - most)
