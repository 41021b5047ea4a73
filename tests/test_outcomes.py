"""The word for what a call did."""

from __future__ import annotations

import warnings

import pytest
import torch

from bnsuite.cases.checks.material.outcomes import outcome_in_words


def test_a_call_that_returns_is_accepted_or_warned_of() -> None:
    """A warning to the user counts; a deprecation says nothing of the arguments."""
    assert outcome_in_words(lambda: None).word == "accepted"
    warned = outcome_in_words(lambda: warnings.warn("6 channels do not match", stacklevel=1))
    assert (warned.word, warned.warnings) == ("warned", ("6 channels do not match",))
    assert outcome_in_words(lambda: warnings.warn("old", DeprecationWarning, stacklevel=1)).word == "accepted"


def test_an_assertion_of_torch_is_no_refusal() -> None:
    """An error that torch's own check of an argument raises is one, and a failed assertion inside torch is not."""
    assert outcome_in_words(lambda: torch.nn.BatchNorm1d(5)(torch.ones(2, 4))).word == "refused"

    def says() -> None:
        raise RuntimeError(
            'running_mean.defined() INTERNAL ASSERT FAILED at "Normalization.cpp":1, please report a bug'
        )

    assert outcome_in_words(says).word == "internal assertion"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("should contain 8 elements not 12", True),
        ("expected 8D input", True),
        ("input of shape [4, 8, 3]", True),
        ("got: 8.", True),
        ("should contain 32 elements not 48", False),
        ("eps is 0.8", False),
        ("eps is 8.5", False),
    ],
)
def test_an_error_names_a_number(error: str, named: bool) -> None:
    """The number itself, and not its digits in another one."""

    def fails() -> None:
        raise ValueError(error)

    assert outcome_in_words(fails).names(8) is named
