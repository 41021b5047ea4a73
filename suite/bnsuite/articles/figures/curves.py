"""Loss curves with and without batch norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rc_context

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import style
from bnsuite.articles.figures.style import Pictures
from bnsuite.record.schema import CaseResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Workloads whose normalizations are drawn over one another, and their titles.
WORKLOADS = {
    "synthetic-mlp": "MLP on synthetic data",
    "mnist-mlp": "MLP 128-64",
    "mnist-mlp-keras": "MLP 128-64 in Keras and in torch",
    "mnist-mlp-sgd": "MLP 256-256, SGD",
    "bad-init-regression": "regression with bad initial weights",
    "cnn": "CNN",
    "recurrent": "LSTM over image rows",
    "vgg11": "VGG-11",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
}


def losses(evidence: Evidence) -> Pictures:
    """Draws training and validation loss by epoch for each workload and setting, a line per normalization."""
    for workload, name in WORKLOADS.items():
        groups: dict[tuple[str, ...], dict[str, CaseResult]] = {}
        for case in evidence.trainings(workload):
            norm = evidence.labels(case).get("norm", "")
            groups.setdefault(evidence.settings(case), {})[norm] = evidence.training(case)
        for settings, norms in groups.items():
            picture = _losses(evidence, f"{name}, {', '.join(settings)}", norms, regression="regression" in workload)
            yield from style.save(picture, style.file_name("loss", workload, *settings))


def _losses(evidence: Evidence, title: str, norms: dict[str, CaseResult], *, regression: bool) -> Figure:
    with rc_context(style.SETTINGS):
        where = style.where(evidence.run, (len(result.curves) for result in norms.values()))
        picture = style.figure(8, 3.4, f"{title}\n({where}; median and middle half of the seeds)")
        train, validation = picture.subplots(1, 2, sharey=True)
        for norm in style.in_order(norms):
            result = norms[norm]
            epochs = range(len(result.curves[0].val_loss))
            style.band(train, list(epochs)[1:], [curve.train_loss for curve in result.curves], norm)
            style.band(validation, list(epochs), [curve.val_loss for curve in result.curves], norm)
        for axes, what in ((train, "training"), (validation, "validation")):
            axes.set_yscale("log")
            axes.set_xlabel("epoch")
            axes.set_title(f"{what} loss", fontsize=9)
        train.set_ylabel("mean squared error" if regression else "loss (nats)")
        target = next(iter(norms.values())).case.target
        if target is not None:
            validation.axhline(target, color="#777777", linewidth=0.8, linestyle=":")
            validation.annotate("target", (0, target), color="#777777", fontsize=8, va="bottom")
        validation.legend()
    return picture
