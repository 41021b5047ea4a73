"""The pictures: one for each thing that was measured, whole files of the kind they are named for."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from bnsuite.articles.evidence import Evidence
from bnsuite.articles.figures import curves, draw, style, sweeps
from bnsuite.cases import TrainCase, catalogue
from bnsuite.measure import devices
from bnsuite.measure.training_recorder import record
from bnsuite.record import details, store
from bnsuite.record.details import Detail
from bnsuite.record.schema import Curve
from conftest import Command, curve, make_run, result

KINDS = ("svg", "png")
CASES = (
    *(f"train/bad-init-regression/{norm}/act=tanh" for norm in ("bn", "none")),
    *(f"train/cnn/{norm}/data=digits" for norm in ("bn", "none", "gn")),
    *(f"train/mnist-mlp-sgd/{norm}/data=digits" for norm in ("bn", "none")),
    *(f"train/init-sweep/{norm}/scale={scale}" for norm in ("bn", "none") for scale in (0.1, 10)),
    *(f"train/batch-size/{norm}/batch={batch}" for norm in ("bn", "gn") for batch in (64, 128)),
    *(f"train/lr-sweep/{norm}/net=synthetic-mlp/lr={lr}" for norm in ("bn", "none") for lr in ("0.001", "1")),
)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Real trainings, of two epochs and two seeds."""
    results, seen = [], {}
    for name in CASES:
        case = catalogue.case(name)
        assert isinstance(case, TrainCase)
        recorded = [record(replace(case, epochs=2), devices.get("cpu"), seed) for seed in range(2)]
        learnt = tuple(Curve.model_validate(asdict(curve), strict=False) for curve, _ in recorded)
        results.append(result(name, curves=learnt))
        seen[name] = tuple(Detail.model_validate(asdict(detail), strict=False) for _, detail in recorded)
    return Evidence(make_run(*results), seen)


@pytest.fixture(scope="module")
def drawn(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures")
    written = list(draw(evidence, folder))
    assert sorted(written) == sorted(folder.iterdir())
    return {path.name: path for path in written}


@pytest.mark.slow
def test_everything_that_was_measured_is_drawn(drawn: dict[str, Path]) -> None:
    """Each picture as SVG and PNG, the layers also as an animation."""
    assert {path.stem for path in drawn.values() if path.suffix == ".png"} == {
        *("loss-bad-init-regression-act=tanh", "loss-cnn-data=digits", "loss-mnist-mlp-sgd-data=digits"),
        *("lr-sweep-synthetic-mlp", "init-sweep", "batch-size"),
        *("accuracy-by-class-digits", "fit-bad-init-regression"),
        *("layers-bad-init-regression-act=tanh", "layers-cnn-data=digits"),
        *("units-bad-init-regression-act=tanh", "units-cnn-data=digits"),
    }
    pictures = [path for path in drawn.values() if path.suffix == ".png"]
    assert {path.with_suffix(".svg").name for path in pictures} <= drawn.keys()
    assert {path.name for path in drawn.values() if path.suffix == ".gif"} == {
        "layers-bad-init-regression-act=tanh.gif",
        "layers-cnn-data=digits.gif",
    }


@pytest.mark.slow
def test_pictures_are_whole_and_say_what_they_show(drawn: dict[str, Path]) -> None:
    """Each can be decoded and is not blank; the SVGs have a title, axes with units, a legend."""
    for path in drawn.values():
        if path.suffix != ".svg":
            with Image.open(path) as image:
                image.load()
                lowest, highest = image.convert("L").getextrema()
            assert (lowest, highest) != (255, 255), path
    text = drawn["loss-cnn-data=digits.svg"].read_text(encoding="utf-8")
    for said in ("CNN, data=digits", "2 seeds", "epoch", "loss (nats)", "batch norm", "group norm", "no norm"):
        assert f"<!-- {said}" in text or f"{said}" in text, said


def test_a_normalization_of_ones_own_is_drawn() -> None:
    """One that has no style here comes last, in a neutral one, in curves as in sweeps."""
    names = (
        *(f"train/cnn/{norm}/data=digits" for norm in ("rms", "bn", "apex")),
        *(f"train/batch-size/{norm}/batch={batch}" for norm in ("rms", "bn") for batch in (64, 128)),
    )
    run = make_run(*(result(name, curves=(curve(0), curve(1))) for name in names))
    pictures = dict([*curves.losses(Evidence(run)), *sweeps.batch_sizes(Evidence(run))])
    assert pictures.keys() == {f"{name}.{kind}" for name in ("loss-cnn-data=digits", "batch-size") for kind in KINDS}
    assert "rms" in pictures["loss-cnn-data=digits.svg"].decode()
    assert style.in_order(["rms", "none", "apex", "bn"]) == ["bn", "none", "apex", "rms"]


@pytest.mark.slow
def test_the_animation_has_a_frame_an_epoch(drawn: dict[str, Path]) -> None:
    """Before the first epoch, and after each of two."""
    with Image.open(drawn["layers-cnn-data=digits.gif"]) as image:
        assert getattr(image, "n_frames", 1) == 3


@pytest.mark.slow
def test_the_same_run_gives_the_same_pictures(evidence: Evidence, drawn: dict[str, Path]) -> None:
    """To the byte: a picture in a repository changes when what it shows does."""
    for name, content in sweeps.batch_sizes(evidence):
        assert content == drawn[name].read_bytes()


def test_a_band_survives_what_is_not_finite() -> None:
    """A diverged seed counts as infinitely bad, and half the seeds being fine still gives a median."""
    lower, middle, upper = style.quartiles([[1.0, None], [2.0, 3.0], [3.0, None]])
    assert (lower[0], middle[0], upper[0]) == (1.0, 2.0, 3.0) or middle[0] == 2.0
    assert middle[1] == float("inf")


def test_colours_tell_apart_in_grey_too() -> None:
    """No two variants of one picture share colour and marker."""
    assert len({(style.COLOURS[one], style.MARKERS[one]) for one in ("bn", "none", "ln", "gn", "in")}) == 5


@pytest.mark.slow
def test_the_verb(bnsuite: Command, evidence: Evidence, tmp_path: Path) -> None:
    """Pictures in RUN/figures or where --out says; one line with status 3 for a run without trainings."""
    sgd = [one for one in CASES if "mnist-mlp-sgd" in one]
    (tmp_path / "run").mkdir()
    kept = tuple(one for one in evidence.run.cases if one.id in sgd)
    store.save(evidence.run.model_copy(update={"cases": kept}), tmp_path / "run")
    for name in sgd:
        details.save(result(name).case, evidence.details[name], tmp_path / "run")
    done = bnsuite("figures", "run")
    assert done.status == 0, done.err
    assert "run/figures/accuracy-by-class-digits.svg" in done.out
    assert (tmp_path / "run" / "figures" / "loss-mnist-mlp-sgd-data=digits.png").exists()
    (tmp_path / "empty").mkdir()
    store.save(make_run(result("op/a")), tmp_path / "empty")
    done = bnsuite("figures", "empty", "--out", "pictures")
    assert (done.status, done.err.count("\n")) == (3, 1)
    assert not (tmp_path / "pictures").exists()
