"""The diagnosis of an implementation, as it stands in ``run.json``: how its results differ from batch norm."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bnsuite.record.value import Value

#: The stages of a batch norm step; the most basic comes first.
Stage = Literal["shape", "value", "gradient", "statistics", "state", "mode"]
#: Words of a measured process.
Words = Annotated[str, Field(max_length=1000)]
Number = Annotated[float, Field(gt=-1e100, lt=1e100)]


class Refusal(Value):
    """A kind of input or layer on which the implementation raises and torch's own layer does not."""

    #: The kind in words, such as "1-dimensional input".
    what: Words
    #: The exception in one line.
    error: Words


class Deviation(Value):
    """One way in which an implementation differs from batch norm, found by comparing it with closed forms.

    `code` and `data` are worded in ``report/diagnosis.py``; `cases/diagnosis/` finds them.
    """

    stage: Stage
    code: Words
    data: dict[Words, Words | Number] = Field(default_factory=dict)


class Diagnosis(Value):
    """The result of a few tiny steps of an implementation, made before its cases are measured."""

    #: The kind of input that was looked at; None if every input is refused.
    looked_at: Words | None
    refusals: tuple[Refusal, ...] = Field(max_length=100)
    #: The most basic comes first.
    deviations: tuple[Deviation, ...] = Field(max_length=100)
    #: Why there is none, where the process that should make it failed.
    failed: Words | None = None
