"""Loss curves with and without batch norm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib import rc_context

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import style
from bnsuite.record.schema import CaseResult

#: Workloads whose variants are drawn over one another, and the article they are from.
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


def losses(evidence: Evidence, folder: Path) -> Iterator[Path]:
    """For each workload and setting: training and validation loss by epoch, a line a variant."""
    for workload, name in WORKLOADS.items():
        groups: dict[str, dict[str, CaseResult]] = {}
        for case in evidence.trainings(workload):
            _, _, variant, setting = case.split("/", 3)
            groups.setdefault(setting, {})[variant] = evidence.training(case)
        for setting, variants in groups.items():
            yield from _losses(
                evidence, folder, f"{name}, {setting.replace('/', ', ')}", f"loss-{workload}-{setting}", variants
            )


def _losses(evidence: Evidence, folder: Path, title: str, name: str, variants: dict[str, CaseResult]) -> Iterator[Path]:
    with rc_context(style.SETTINGS):
        where = style.where(evidence.run, (len(result.curves) for result in variants.values()))
        picture = style.figure(8, 3.4, f"{title}\n({where}; median and middle half of the seeds)")
        train, validation = picture.subplots(1, 2, sharey=True)
        for variant in sorted(variants, key=style.ORDER.index):
            result = variants[variant]
            epochs = range(len(result.curves[0].val_loss))
            style.band(train, list(epochs)[1:], [curve.train_loss for curve in result.curves], variant)
            style.band(validation, list(epochs), [curve.val_loss for curve in result.curves], variant)
        regression = "bad-init" in name
        for axes, what in ((train, "training"), (validation, "validation")):
            axes.set_yscale("log")
            axes.set_xlabel("epoch")
            axes.set_title(f"{what} loss", fontsize=9)
        train.set_ylabel("mean squared error" if regression else "loss (nats)")
        target = next(iter(variants.values())).case.target
        if target is not None:
            validation.axhline(target, color="#777777", linewidth=0.8, linestyle=":")
            validation.annotate("target", (0, target), color="#777777", fontsize=8, va="bottom")
        validation.legend()
    yield from style.save(picture, folder, name.replace("/", "-"))
