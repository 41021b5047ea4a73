"""Seconds, bytes and shares as a person reads them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Returns three significant digits in the unit that fits: ``4.59 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{_three_digits(value / 1e-9)} ns"


def nbytes(value: float) -> str:
    """Returns three significant digits in powers of 1024: ``9.19 MiB``."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def change(share: float) -> str:
    """Returns a relative change with its sign: ``+3.2 %``."""
    return f"{100 * share:+.1f} %"


def spread(share: float) -> str:
    """Returns a relative spread: ``± 1.2 %``."""
    return f"± {100 * share:.1f} %"


def duration(value: float) -> str:
    """Returns a wall time: ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if value < 59.5:
        return f"{value:.0f} s"
    minutes = round(value) // 60
    if minutes < 60:
        return f"{minutes} min {round(value) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: int, one: str, several: str | None = None) -> str:
    """Returns a number of things: ``1 seed``, ``3 seeds``."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
