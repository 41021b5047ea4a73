"""Seconds, bytes and shares as a person reads them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Three significant digits in the unit that fits: ``4.59 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{_three_digits(value / 1e-9)} ns"


def nbytes(value: float) -> str:
    """Three significant digits in powers of 1024: ``9.19 MiB``."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def change(share: float) -> str:
    """A relative change with its sign: ``+3.2 %``."""
    return f"{100 * share:+.1f} %"


def spread(share: float) -> str:
    """A relative spread: ``± 1.2 %``."""
    return f"± {100 * share:.1f} %"


def duration(value: float) -> str:
    """A wall time: ``42 s`` or ``3 min 20 s``."""
    if value < 60:
        return f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
