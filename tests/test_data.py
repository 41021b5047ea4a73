"""Data sets: made or fetched once, handed over as files, the same bytes either way."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bnsuite.cases import data
from bnsuite.cases.data import files, images
from conftest import IMAGES, ROOT

NEEDS_IMAGES = {name for name in data.SETS if name.startswith(("mnist", "fashion"))}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clears the data that another test loaded."""
    monkeypatch.delenv(data.STAGE_VARIABLE, raising=False)
    monkeypatch.setenv(files.DATA_VARIABLE, str(IMAGES))
    data.load.cache_clear()
    images._try.cache_clear()
    yield
    data.load.cache_clear()


def need_images(name: str) -> None:
    if name in NEEDS_IMAGES and not images.archives("mnist", IMAGES):
        pytest.skip("MNIST and Fashion-MNIST are not in the folder that BNSUITE_DATA names")


def test_synthetic_is_the_articles() -> None:
    """1,000 samples of 20 features, split 80/20, standardised on the training part, two classes."""
    split = data.load("synthetic", "cpu")
    assert split.x_train.shape == (800, 20)
    assert split.x_val.shape == (200, 20)
    assert split.x_train.mean(0).abs().max() < 1e-6
    assert split.x_train.std(0, correction=0) == pytest.approx(torch.ones(20), abs=1e-5)
    assert set(split.y_train.tolist()) == {0.0, 1.0}
    assert split.y_train.dtype == torch.float32


def test_the_regression_is_the_third_articles() -> None:
    """2,000 points of [-7, 10] and 200 to test, y = x² - 5 under noise of deviation 2."""
    split = data.load("regression", "cpu")
    assert (split.x_train.shape, split.x_val.shape) == ((2000, 1), (200, 1))
    assert (split.x_train[0], split.x_train[-1]) == (-7, 10)
    noise = split.y_train - (split.x_train**2 - 5)
    assert abs(noise.mean()) < 0.15
    assert noise.std() == pytest.approx(2, abs=0.15)


def test_digits_are_real_and_whole() -> None:
    """1,797 images of 8x8 in [0, 1], every class in both parts; a fifth of the training part can be held out."""
    split = data.load("digits", "cpu")
    assert len(split.x_train) + len(split.x_val) == 1797
    assert split.x_train.shape[1:] == (1, 8, 8)
    assert (split.x_train.min(), split.x_train.max()) == (0, 1)
    assert set(split.y_val.tolist()) == set(range(10))
    assert split.y_train.dtype == torch.int64
    held = data.load("digits-held-out", "cpu")
    assert torch.equal(torch.cat([held.x_train, held.x_val]), split.x_train)
    assert (len(held.x_train), len(held.x_val)) == (1149, 288)  # as Keras rounds


@pytest.mark.parametrize(
    ("name", "shape", "digest"),
    [("waveforms", (1, 64), "02ec017151a775c6"), ("volumes", (1, 8, 8, 8), "85fcf0624cd847d5")],
)
def test_signals_are_the_same_bytes_everywhere(name: str, shape: tuple[int, ...], digest: str) -> None:
    """Six classes in equal parts, and every byte is the same whatever the release of NumPy."""
    arrays = data.SETS[name](Path())
    assert hashlib.sha256(b"".join(one.tobytes() for one in arrays)).hexdigest()[:16] == digest
    split = data.load(name, "cpu")
    assert split.x_train.shape[1:] == split.x_val.shape[1:] == shape
    for y in (split.y_train, split.y_val):
        assert torch.bincount(y).tolist() == [len(y) // 6] * 6
    assert 0 <= split.x_train.min() < 0.05
    assert 0.95 < split.x_train.max() <= 1


def test_mnist_is_torchvisions() -> None:
    """The same pixels as datasets.MNIST with ToTensor; the small sets are the first of the large one."""
    need_images("mnist")
    split = data.load("mnist", "cpu")
    assert (split.x_train.shape, split.x_val.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert split.x_train.mean() == pytest.approx(0.1307, abs=1e-4)
    assert torch.bincount(split.y_val).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    small = data.load("mnist-6k", "cpu")
    assert torch.equal(small.x_train, split.x_train[:6000])
    fashion = data.load("fashion-32", "cpu")
    assert fashion.x_train.shape[1:] == (3, 32, 32)
    assert fashion.x_train[:, :, :2].max() == 0


@pytest.mark.parametrize("name", [name for name in data.SETS if name != "images-224"])
def test_a_staged_set_is_the_same_to_the_last_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measured process reads what was made elsewhere, and gets what it would have made."""
    need_images(name)
    made = data.load(name, "cpu")
    assert data.stage([name], tmp_path, IMAGES) == {}
    monkeypatch.setenv(data.STAGE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(files, "make", lambda *_: pytest.fail("made, not read"))
    data.load.cache_clear()
    read = data.load(name, "cpu")
    for field in ("x_train", "y_train", "x_val", "y_val"):
        assert torch.equal(getattr(made, field), getattr(read, field))
        assert getattr(made, field).dtype == getattr(read, field).dtype


def test_staging_leaves_nothing_half_made(tmp_path: Path) -> None:
    data.stage(["synthetic"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic.safetensors"]


def test_what_cannot_be_had_is_told_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """No archives and no network: the reason names the folder and the way to get them; the other sets are made."""
    code = (
        "import sys; from pathlib import Path; from bnsuite.cases import data\n"
        "print(data.stage(['mnist', 'synthetic'], Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    (tmp_path / "empty").mkdir()
    no_network = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "stage"), str(tmp_path / "empty")],
        env=no_network,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MNIST/raw lacks 4 of the 4 archives and they can't be downloaded" in done.stdout
    assert "--data-dir" in done.stdout
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["synthetic.safetensors"]
    assert list((tmp_path / "empty").rglob("*.gz")) == []


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """An archive with another md5 is never replaced or used silently."""
    need_images("mnist")
    shutil.copytree(IMAGES / "MNIST", tmp_path / "MNIST")
    damaged = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    missing = data.stage(["mnist-6k"], tmp_path / "stage", tmp_path)
    assert missing["mnist-6k"].startswith(f"{damaged}: is damaged: its md5 is {hashlib.md5(b'damaged').hexdigest()}")  # noqa: S324  # the checksum that torchvision publishes


@pytest.mark.slow
def test_several_processes_may_stage_at_once(tmp_path: Path) -> None:
    """From one read-only source, without a trace in it: four processes, four equal files."""
    need_images("mnist")
    before = sorted(IMAGES.rglob("*"))
    code = (
        "import sys; from pathlib import Path; from bnsuite.cases import data\n"
        "sys.exit(len(data.stage(['mnist-6k'], Path(sys.argv[1]), Path(sys.argv[2]))))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / str(n)), str(IMAGES)], cwd=ROOT) for n in range(4)
    ]
    assert [process.wait() for process in started] == [0] * 4
    staged = [hashlib.sha256((tmp_path / str(n) / "mnist-6k.safetensors").read_bytes()).digest() for n in range(4)]
    assert len(set(staged)) == 1
    assert sorted(IMAGES.rglob("*")) == before
