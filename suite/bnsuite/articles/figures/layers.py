"""The values in every layer over the epochs: histograms, as pictures and as an animation, and dead units."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.colors import PowerNorm

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import style
from bnsuite.articles.figures.style import Pictures
from bnsuite.record.details import Detail, Histogram

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.patches import StepPatch

    Array = np.ndarray[Any, Any]

#: Milliseconds an epoch is shown.
FRAME_MS = 700
GIF_DPI = 80
WHATS = ("pre-activation", "input")


def _pairs(evidence: Evidence) -> Iterator[tuple[str, dict[str, tuple[Detail, ...]]]]:
    """Yields the probed trainings with and without batch norm: workload and setting, and the details of both."""
    for workload in ("bad-init-regression", "cnn"):
        for none in evidence.trainings(workload, "none"):
            rest = {name: one for name, one in evidence.labels(none).items() if name not in {"workload", "norm"}}
            bn = evidence.find(workload, "bn", **rest)
            found = {"none": evidence.details.get(none, ()), "bn": evidence.details.get(bn or "", ())}
            known = {norm: details for norm, details in found.items() if any(one.histograms for one in details)}
            if known:
                yield evidence.place(none), known


def _summed(details: Sequence[Detail], what: str) -> dict[str, tuple[Histogram, Array]]:
    """Returns one of each layer's histograms, and the shares of all seeds together, (epochs, bins)."""
    import numpy as np

    found: dict[str, tuple[Histogram, Array]] = {}
    for detail in details:
        for one in detail.histograms:
            if one.what == what:
                before = found[one.layer][1] if one.layer in found else 0
                found[one.layer] = one, np.array(one.counts, dtype=float) + before
    return {
        layer: (one, counts / np.maximum(counts.sum(1, keepdims=True), 1)) for layer, (one, counts) in found.items()
    }


def over_epochs(evidence: Evidence) -> Pictures:
    """Draws a column per layer, and rows for pre-activations and inputs, with and without BN."""
    for where, known in _pairs(evidence):
        rows = [(variant, what, _summed(details, what)) for variant, details in known.items() for what in WHATS]
        columns = max(len(one) for _, _, one in rows)
        with rc_context({**style.SETTINGS, "axes.grid": False, "font.size": 7}):
            title = (
                f"What every layer sees over the epochs, {where}\n"
                f"({style.where(evidence.run, map(len, known.values()))}, all together; darker: more of the values)"
            )
            picture = style.figure(1.25 * columns + 1, 1.35 * len(rows) + 0.8, title)
            grid = picture.subplots(len(rows), columns, squeeze=False)
            for place, (variant, what, layers) in enumerate(rows):
                axes_row = grid[place]
                for axes, layer in zip(axes_row, range(columns), strict=True):
                    if str(layer) not in layers:
                        axes.axis("off")
                        continue
                    one, shares = layers[str(layer)]
                    axes.imshow(
                        shares.T,
                        origin="lower",
                        aspect="auto",
                        cmap="Blues",
                        norm=PowerNorm(0.4, 0, 1),
                        extent=(-0.5, len(shares) - 0.5, one.low, one.high),
                        interpolation="nearest",
                    )
                    axes.set_title("" if place else f"layer {layer}", fontsize=7)
                    axes.tick_params(labelbottom=place == len(rows) - 1)
                axes_row[0].set_ylabel(f"{style.NAMES[variant]}\n{what}")
            for axes in grid[-1]:
                axes.set_xlabel("epoch")
        yield from style.save(picture, style.file_name("layers", where))


def stopped_units(evidence: Evidence) -> Pictures:
    """Draws the share of saturated tanh values or dead ReLU units in every layer, by epoch."""
    from matplotlib import colormaps

    for where, known in _pairs(evidence):
        units = {variant: [one.units for one in details if one.units] for variant, details in known.items()}
        tanh = next(iter(units.values()))[0][0].activation == "tanh"
        with rc_context(style.SETTINGS):
            what = "saturated tanh values" if tanh else "dead ReLU units"
            seen = style.where(evidence.run, map(len, units.values()))
            picture = style.figure(
                3.8 * len(units) + 0.6,
                3.3,
                f"Share of {what}, {where}\n({seen}; mean over the seeds)",
            )
            panels = picture.subplots(1, len(units), sharey=True, squeeze=False)[0]
            for axes, (variant, seeds) in zip(panels, units.items(), strict=True):
                layers = len(seeds[0])
                for layer in range(layers):
                    shares = [one[layer].share for one in seeds]
                    mean = [100 * sum(column) / len(column) for column in zip(*shares, strict=True)]
                    colour = colormaps["viridis"](0.9 * layer / max(1, layers - 1))
                    axes.plot(mean, color=colour, marker=".", linewidth=1.2, label=f"layer {layer}")
                axes.set_title(style.NAMES[variant], fontsize=9)
                axes.set_xlabel("epoch")
                axes.set_ylim(-3, 103)
            panels[0].set_ylabel(f"{what} (%)")
            picture.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        yield from style.save(picture, style.file_name("units", where))


def animated(evidence: Evidence) -> Pictures:
    """Draws the histograms as bars that move from epoch to epoch: a GIF for each pair."""
    for where, known in _pairs(evidence):
        yield f"{style.file_name('layers', where)}.gif", _gif(evidence, where, known)


def _gif(evidence: Evidence, where: str, known: dict[str, tuple[Detail, ...]]) -> bytes:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    layers = {what: {variant: _summed(details, what) for variant, details in known.items()} for what in WHATS}
    found = [one for by_variant in layers.values() for one in by_variant.values()]
    columns = max(map(len, found))
    epochs = max(len(shares) for one in found for _, shares in one.values())

    def title(epoch: int) -> str:
        seeds = style.where(evidence.run, map(len, known.values()))
        return f"What every layer sees, {where}, epoch {epoch} of {epochs - 1}\n({seeds}, all together)"

    frames = []
    with rc_context({**style.SETTINGS, "axes.grid": False, "font.size": 7}):
        picture = style.figure(1.25 * columns + 1, 4.2, title(0))
        bars: list[tuple[StepPatch, Array]] = []
        grid = picture.subplots(2, columns, squeeze=False)
        for axes_row, (what, by_variant) in zip(grid, layers.items(), strict=True):
            for layer, axes in enumerate(axes_row):
                bars += _bars(axes, layer, by_variant)
                axes.set_title(f"layer {layer}" if what == WHATS[0] else "", fontsize=7)
                axes.tick_params(labelleft=layer == 0)
            axes_row[0].set_ylabel(f"{what}\nshare of values (%)")
        picture.legend(*picture.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        picture.set_dpi(GIF_DPI)
        canvas = FigureCanvasAgg(picture)
        for epoch in range(epochs):
            picture.suptitle(title(epoch), fontsize=11)
            for patch, shares in bars:
                patch.set_data(100 * shares[min(epoch, len(shares) - 1)])
            canvas.draw()
            picture.set_layout_engine("none")
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return buffer.getvalue()


def _bars(
    axes: Axes, layer: int, by_variant: dict[str, dict[str, tuple[Histogram, Array]]]
) -> Iterator[tuple[StepPatch, Array]]:
    """Yields one layer's bars, with their heights at each epoch; its panel is hidden if it has none."""
    import numpy as np

    for variant, found in by_variant.items():
        if str(layer) not in found:
            continue
        one, shares = found[str(layer)]
        edges = np.linspace(one.low, one.high, shares.shape[1] + 1)
        colour, label = style.COLOURS[variant], style.NAMES[variant]
        yield axes.stairs(100 * shares[0], edges, fill=True, alpha=0.5, color=colour, label=label), shares
    axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 10, 50, 100])
    if not axes.patches:
        axes.axis("off")
