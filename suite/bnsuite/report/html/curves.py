"""Training curves, one small picture per seed: the loss per epoch of the run and of what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from bnsuite.record.schema import Curve
from bnsuite.report.html import svg
from bnsuite.report.html.svg import Svg

WIDTH, HEIGHT = 240, 110
#: A loss that fell to less than this share of its largest value is drawn on a logarithmic axis.
LOG_BELOW = 0.1


@dataclass(frozen=True)
class SeedPlot:
    """The picture of one seed."""

    seed: int
    plot: Svg
    #: The ends of the loss's axis, and the number of epochs.
    top: str
    bottom: str
    epochs: int
    #: The last validation loss, here and in the reference.
    final: str
    final_before: str | None
    identical: bool


def seed_plots(curves: Sequence[Curve], before: Iterable[Curve], most: int) -> list[SeedPlot]:
    """Returns the pictures of at most `most` seeds, those that changed first."""
    accepted = {curve.seed: curve for curve in before}
    ordered = sorted(curves, key=lambda one: (one == accepted.get(one.seed), one.seed))
    return [_plot(curve, accepted.get(curve.seed)) for curve in ordered[:most]]


def _plot(curve: Curve, before: Curve | None) -> SeedPlot:
    sides = [curve] if before is None else [before, curve]
    known = [loss for one in sides for loss in (*one.val_loss, *one.train_loss) if loss is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    logarithmic = low > 0 and low < LOG_BELOW * high
    epochs = len(curve.train_loss)

    def place(epoch: float, loss: float) -> tuple[float, float]:
        share = (log(loss / low) / log(high / low)) if logarithmic else (loss - low) / ((high - low) or 1.0)
        return 2 + (WIDTH - 4) * epoch / max(1, epochs), HEIGHT - 3 - (HEIGHT - 6) * share

    def path(losses: Sequence[float | None], first: int, style: str) -> Svg:
        points = [None if loss is None else place(epoch, loss) for epoch, loss in enumerate(losses, start=first)]
        return svg.element("path", class_=style, d=svg.line(points))

    lines = [] if before is None else [path(before.train_loss, 1, "t-a"), path(before.val_loss, 0, "v-a")]
    lines += [path(curve.train_loss, 1, "t-b"), path(curve.val_loss, 0, "v-b")]
    final, old = _number(curve.val_loss[-1]), None if before is None else _number(before.val_loss[-1])
    return SeedPlot(
        seed=curve.seed,
        plot=svg.element(
            "svg",
            *lines,
            role="img",
            aria_label=f"loss of seed {curve.seed} over {epochs} epochs, at the end {final}",
            class_="curve",
            view_box=f"0 0 {WIDTH} {HEIGHT}",
            preserve_aspect_ratio="none",
        ),
        top=_number(high),
        bottom=_number(low) + (" (log)" if logarithmic else ""),
        epochs=epochs,
        final=final,
        final_before=old,
        identical=curve == before,
    )


def _number(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3g}"
