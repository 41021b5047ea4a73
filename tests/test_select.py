"""-k: words, and, or, not, parentheses."""

from __future__ import annotations

import pytest

from bnsuite.record.errors import InputError
from bnsuite.record.select import expression, matcher

IDS = ["op/batch_norm2d/fwd+bwd/f32/nhwc/2x3", "op/batch_norm2d/fwd-eval/f32/nchw/2x3", "train/cnn/bn/lr=0.01"]


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("batch_norm2d", [0, 1]),
        ("BATCH_norm2d and not nhwc", [1]),
        ("fwd+bwd or lr=0.01", [0, 2]),
        ("not (nhwc or nchw)", [2]),
        ("not not train", [2]),
        ("op and nhwc or train", [0, 2]),
        ("op and (nhwc or train)", [0]),
    ],
)
def test_chooses(expression: str, chosen: list[int]) -> None:
    """An expression chooses as pytest's own -k would, ids being plain text."""
    match = matcher(expression)
    assert [place for place, name in enumerate(IDS) if match(name)] == chosen


@pytest.mark.parametrize(
    "expression",
    ["", "  ", "and", "a and", "a or or b", "(a", "a)", "not", "a b", "()", "(" * 3000, "not " * 3000 + "a"],
)
def test_refuses(expression: str) -> None:
    """What is not an expression is refused in one line that names the option."""
    with pytest.raises(InputError, match=r"^-k"):
        matcher(expression)


def test_ids_make_an_expression() -> None:
    """Which chooses them; where there are none, or too many, there is none."""
    made = expression([IDS[2], IDS[0], IDS[0]])
    assert made is not None
    assert [matcher(made)(name) for name in IDS] == [True, False, True]
    assert expression([]) is None
    assert expression(f"op/{number}" for number in range(101)) is None
