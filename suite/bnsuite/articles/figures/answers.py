"""The answers of trained networks: accuracy class by class in both modes, and the fitted curve."""

from __future__ import annotations

from matplotlib import rc_context

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import style
from bnsuite.articles.figures.style import Pictures
from bnsuite.record.details import Accuracy, Detail

MODES = (("evaluation", "eval_mode", "#0072B2", ""), ("training", "train_mode", "#E69F00", "//"))


def _details(evidence: Evidence, workload: str, **settings: str) -> dict[str, tuple[Detail, ...]]:
    """Returns the details of a training with and without batch norm, as far as they are known."""
    cases = {norm: evidence.find(workload, norm, **settings) for norm in ("bn", "none")}
    found = {norm: evidence.details.get(case, ()) for norm, case in cases.items() if case is not None}
    return {norm: details for norm, details in found.items() if details}


def by_class(evidence: Evidence) -> Pictures:
    """Draws the second article's bars: accuracy of each class in both modes, a panel per normalization."""
    for data in ("mnist", "digits"):
        if known := _details(evidence, "mnist-mlp-sgd", data=data):
            yield from _by_class(evidence, data, known)


def _by_class(evidence: Evidence, data: str, known: dict[str, tuple[Detail, ...]]) -> Pictures:
    with rc_context(style.SETTINGS):
        title = f"Accuracy by class, mnist-mlp-sgd on {data}"
        where = style.where(evidence.run, map(len, known.values()))
        picture = style.figure(
            8,
            3.4,
            f"{title}\n({where}; mean, whiskers from worst to best seed)",
        )
        panels = picture.subplots(1, len(known), sharey=True, squeeze=False)[0]
        lowest = 1.0
        for axes, (variant, details) in zip(panels, known.items(), strict=True):
            for place, (mode, attribute, colour, hatch) in enumerate(MODES):
                seeds: list[Accuracy] = [one for detail in details if (one := getattr(detail, attribute)) is not None]
                if not seeds:
                    continue
                rows = list(zip(*((one.overall, *one.per_class) for one in seeds), strict=True))
                means = [sum(row) / len(row) for row in rows]
                errors = [
                    [m - min(r) for m, r in zip(means, rows, strict=True)],
                    [max(r) - m for m, r in zip(means, rows, strict=True)],
                ]
                lowest = min(lowest, *(min(row) for row in rows))
                x = [i + (place - 0.5) * 0.4 for i in range(len(means))]
                axes.bar(
                    x,
                    means,
                    0.38,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    label=f"{mode} mode",
                    yerr=errors,
                    error_kw={"linewidth": 0.8, "ecolor": "#333333"},
                )
            axes.set_xticks(range(len(means)), ["all", *map(str, range(len(means) - 1))])
            axes.set_xlabel("class")
            axes.set_title(style.NAMES[variant], fontsize=9)
        panels[0].set_ylabel("share of right answers")
        panels[0].set_ylim(max(0.0, lowest - 0.05), 1.0)
        picture.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    yield from style.save(picture, f"accuracy-by-class-{data}")


def fitted(evidence: Evidence) -> Pictures:
    """Draws the third article's fit: test points, and predictions with and without batch norm."""
    panels = {}
    for activation in ("tanh", "relu"):
        details = _details(evidence, "bad-init-regression", act=activation)
        known = {norm: fits for norm, some in details.items() if (fits := [one.fitted for one in some if one.fitted])}
        if known:
            panels[activation] = known
    if not panels:
        return
    with rc_context(style.SETTINGS):
        title = "Regression with bad initial weights, after the last epoch"
        seeds = style.where(evidence.run, (len(fits) for known in panels.values() for fits in known.values()))
        picture = style.figure(
            max(6.5, 4.2 * len(panels)),
            3.6,
            f"{title}\n({seeds}; median and middle half of the seeds)",
        )
        for axes, (activation, known) in zip(
            picture.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
        ):
            points = next(iter(known.values()))[0]
            axes.scatter(points.x, points.y, s=5, color="#999999", label="test points")
            for variant, fits in known.items():
                style.band(axes, points.x, [fit.prediction for fit in fits], variant)
            for line in axes.lines:
                line.set_marker("")
            axes.set_title(activation, fontsize=9)
            axes.set_xlabel("x")
            axes.set_ylim(min(points.y) - 5, max(points.y) + 5)
        picture.axes[0].set_ylabel("y")
        picture.axes[0].legend()
    yield from style.save(picture, "fit-bad-init-regression")
