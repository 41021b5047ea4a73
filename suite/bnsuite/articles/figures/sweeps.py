"""Final loss over a swept hyperparameter: learning rate, scale of the initial weights, batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib import rc_context

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import style
from bnsuite.articles.figures.style import Pictures

#: By normalization, the training at each value of the swept setting.
Sweep = Mapping[str, Mapping[float, str]]


def learning_rates(evidence: Evidence) -> Pictures:
    """Draws a picture for each network of the sweep."""
    for where, nets in evidence.learning_rates():
        name = style.file_name("lr-sweep", where)
        yield from _sweep(evidence, nets, name=name, title=f"Learning rates, {where}", label="learning rate")


def initial_weights(evidence: Evidence) -> Pictures:
    """Draws one picture."""
    yield from _sweep(
        evidence,
        evidence.initial_scales(),
        name="init-sweep",
        title="Scale of the initial weights, synthetic-mlp",
        label="initial weights, times torch's own",
    )


def batch_sizes(evidence: Evidence) -> Pictures:
    """Draws one picture."""
    norms = {evidence.labels(case).get("norm", "") for case in evidence.trainings("batch-size")}
    sweep = {norm: evidence.by_number("batch-size", norm, "batch") for norm in norms}
    title = "Batch size, CNN on digits, equal samples seen, learning rate in proportion"
    yield from _sweep(evidence, sweep, name="batch-size", title=title, label="batch size", base=2)


def _sweep(evidence: Evidence, sweep: Sweep, *, name: str, title: str, label: str, base: int = 10) -> Pictures:
    if not any(len(cases) > 1 for cases in sweep.values()):
        return
    with rc_context(style.SETTINGS):
        drawn = (len(evidence.training(case).curves) for cases in sweep.values() for case in cases.values())
        where = style.where(evidence.run, drawn)
        picture = style.figure(6, 3.8, f"{title}\n({where}; median and middle half of the seeds)")
        axes = picture.subplots()
        for norm in style.in_order(sweep):
            values = sorted(sweep[norm])
            if not values:
                continue
            by_seed = [evidence.final_loss(sweep[norm][value]) for value in values]
            seeds = sorted(set.intersection(*(set(one) for one in by_seed)))
            if not seeds:
                continue
            style.band(axes, values, [[math.exp(one[seed]) for one in by_seed] for seed in seeds], norm)
        axes.set_xscale("log", base=base)
        axes.set_yscale("log")
        if base == 2:
            ticks = sorted({value for cases in sweep.values() for value in cases})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(label)
        axes.set_ylabel("final validation loss (nats)")
        axes.legend()
    yield from style.save(picture, name)
