"""Small pictures as SVG: every name and number in them is escaped, and colours are classes of the page's style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from bnsuite.report.text import one_line

Attribute = str | float | int
#: A picture or a part of one.
Svg = Markup


def element(name: str, *children: Svg, **attributes: Attribute) -> Svg:
    """Returns an element; an underscore at the end of an attribute's name is left out, others become hyphens."""
    parts = [f' {_name(key)}="{escape(_value(one))}"' for key, one in attributes.items()]
    inner = Markup("").join(children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>" if inner else f"<{name}{''.join(parts)}/>")  # noqa: S704


def words(text: str, **attributes: Attribute) -> Svg:
    """Returns a text in a picture."""
    return element("text", escape(one_line(text)), **attributes)


def picture(*children: Svg, title: str, **attributes: Attribute) -> Svg:
    """Returns a picture; `title` says to those who can't see it what it shows."""
    return element("svg", *children, role="img", aria_label=one_line(title), **attributes)


def line(points: Sequence[tuple[float, float] | None]) -> str:
    """Returns the path through `points`, in whole steps from one to the next; a None interrupts it."""
    parts: list[str] = []
    here: tuple[int, int] | None = None
    for point in points:
        if point is None:
            here = None
            continue
        there = round(point[0]), round(point[1])
        if here is None:
            parts.append(f"M{there[0]} {there[1]}h0")
        else:
            parts.append(f"l{_pair(there[0] - here[0], there[1] - here[1])}")
        here = there
    return "".join(parts)


def ticks(places: Iterable[float], top: int, height: int) -> str:
    """Returns the path of upright lines at `places`, each once, from `top` downwards."""
    parts: list[str] = []
    before: int | None = None
    for place in sorted({round(one) for one in places}):
        move = f"M{place} {top}" if before is None else f"m{place - before}-{height}"
        parts.append(f"{move}v{height}")
        before = place
    return "".join(parts)


def dots(points: Iterable[tuple[float, float]]) -> str:
    """Returns the path of points that round ends of lines make into dots."""
    return "".join(f"M{round(x)} {round(y)}h0" for x, y in points)


def percent(share: float) -> str:
    """Returns a place along a picture that is as wide as it may be; one outside is at its edge."""
    return f"{100 * min(1.0, max(0.0, share)):.2f}".rstrip("0").rstrip(".") + "%"


def _pair(x: int, y: int) -> str:
    return f"{x}{y}" if y < 0 else f"{x} {y}"


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-") if key not in _CAMEL else _CAMEL[key]


#: Attributes of SVG that are not written in small letters.
_CAMEL = {"view_box": "viewBox", "preserve_aspect_ratio": "preserveAspectRatio"}


def _value(value: Attribute) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
