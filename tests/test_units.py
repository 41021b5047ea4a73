"""Units are scaled in one place, to three digits."""

from __future__ import annotations

import pytest

from bnsuite.report import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.50 s"),
        (0.99999, "1.00 s"),
        (0.004586, "4.59 ms"),
        (0.0999, "99.9 ms"),
        (0.09996, "100 ms"),
        (1.5e-5, "15.0 µs"),
        (9.9996e-7, "1.00 µs"),
        (3.2e-8, "32.0 ns"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (1024, "1.00 KiB"), (9634816, "9.19 MiB"), (3 << 30, "3.00 GiB")]
)
def test_bytes(value: float, text: str) -> None:
    assert units.nbytes(value) == text


def test_changes_and_durations() -> None:
    assert units.change(0.0321) == "+3.2 %"
    assert units.change(-0.5) == "-50.0 %"
    assert units.spread(0.012) == "± 1.2 %"
    assert units.duration(41.6) == "42 s"
    assert units.duration(59.7) == "1 min 00 s"
    assert units.duration(200) == "3 min 20 s"
    assert units.duration(3600 * 2 + 300) == "2 h 05 min"
    assert units.duration(784.5 * 60) == "13 h 04 min"


def test_counts_have_their_plural() -> None:
    assert [units.count(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert units.count(2, "launch", "launches") == "2 launches"
