"""The data sets by name, and the functions that make their arrays.

A set is (x_train, y_train, x_val, y_val). Pixels stay bytes here; :func:`bnsuite.cases.data.load` makes them float32
in [0, 1], as torchvision's ToTensor does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cases.data import signals
from bnsuite.cases.data.images import CLASSES, archives, default_folder, pictures

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]
    Arrays: TypeAlias = tuple[Array, Array, Array, Array]

#: The split of the first article.
SPLIT_SEED = 42
VALIDATION_SHARE = 0.2


def _synthetic(_: Path) -> Arrays:
    """Article 0: 800 + 200 standardised samples of 20 features, two classes."""
    from sklearn.datasets import make_classification
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = make_classification(
        n_samples=1000, n_features=20, n_informative=10, n_redundant=5, n_classes=2, random_state=42
    )
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=VALIDATION_SHARE, random_state=SPLIT_SEED)
    scaler = StandardScaler().fit(x_train)
    return (
        scaler.transform(x_train).astype("<f4"),
        y_train.astype("<f4"),
        scaler.transform(x_val).astype("<f4"),
        y_val.astype("<f4"),
    )


def _regression(_: Path) -> Arrays:
    """Article 3: y = x² - 5 + N(0, 2) at 2,000 points of [-7, 10], and at 200 to test; (N, 1) each."""
    import numpy as np

    noise = np.random.default_rng(SPLIT_SEED)

    def sample(count: int) -> tuple[Array, Array]:
        x = np.linspace(-7, 10, count)[:, np.newaxis]
        y = np.square(x) - 5 + noise.normal(0, 2, x.shape)
        return x.astype("<f4"), y.astype("<f4")

    return *sample(2000), *sample(200)


def _digits(_: Path) -> Arrays:
    """The 1,797 real 8x8 digits that scikit-learn carries, as (N, 1, 8, 8) in [0, 1], ten classes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 1, 8, 8).astype("<f4")
    x_train, x_val, y_train, y_val = train_test_split(
        x, y.astype("<i8"), test_size=VALIDATION_SHARE, random_state=SPLIT_SEED, stratify=y
    )
    return x_train, y_train, x_val, y_val


def _pictures(name: str, folder: Path, *, train: int = 60_000, test: int = 10_000) -> Arrays:
    """The first `train` and `test` images, (N, 1, 28, 28) bytes, ten classes."""
    x_train, y_train, x_test, y_test = pictures(name, folder)
    return x_train[:train, None], y_train[:train], x_test[:test, None], y_test[:test]


def _held_out(whole: Callable[[Path], Arrays], folder: Path) -> Arrays:
    """The training part alone, its last fifth for validation: what Keras's ``validation_split=0.2`` takes."""
    x, y, _, _ = whole(folder)
    train = math.floor(len(x) * (1 - VALIDATION_SHARE))
    return x[:train], y[:train], x[train:], y[train:]


def _as_colour(arrays: Arrays) -> Arrays:
    """(N, 1, 28, 28) as (N, 3, 32, 32): a black border of two pixels, the grey in every channel."""
    import numpy as np

    def widen(x: Array) -> Array:
        return np.repeat(np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))), 3, axis=1)

    x_train, y_train, x_val, y_val = arrays
    return widen(x_train), y_train, widen(x_val), y_val


def _noise_images(size: int, train: int, val: int) -> Arrays:
    """Synthetic images (N, 3, size, size): a class is a fixed coarse pattern under noise, ten of them."""
    import numpy as np

    chance = np.random.default_rng(SPLIT_SEED)
    patterns = np.kron(chance.integers(64, 192, (10, 3, 4, 4)), np.ones((1, 1, size // 4, size // 4)))

    def sample(count: int) -> tuple[Array, Array]:
        y = np.arange(count) % 10
        x = patterns[y] + chance.normal(0, 64, (count, 3, size, size))
        return x.clip(0, 255).astype("u1"), y.astype("<i8")

    return *sample(train), *sample(val)


SETS: dict[str, Callable[[Path], Arrays]] = {
    "synthetic": _synthetic,
    "regression": _regression,
    "digits": _digits,
    "digits-held-out": partial(_held_out, _digits),
    "mnist": partial(_pictures, "mnist"),
    "mnist-held-out": partial(_held_out, partial(_pictures, "mnist")),
    "mnist-6k": partial(_pictures, "mnist", train=6_000, test=1_000),
    "fashion-6k": partial(_pictures, "fashion", train=6_000, test=1_000),
    "fashion-32": lambda folder: _as_colour(_pictures("fashion", folder, train=256, test=128)),
    "waveforms": lambda _: signals.waveforms(),
    "volumes": lambda _: signals.volumes(),
    "images-32": lambda _: _noise_images(32, 64, 64),
    "images-224": lambda _: _noise_images(224, 256, 64),
}


#: The examples that each set trains on (a test makes the sets and counts).
TRAINED_ON = {
    "synthetic": 800,
    "regression": 2_000,
    "digits": 1_437,
    "digits-held-out": 1_149,
    "mnist": 60_000,
    "mnist-held-out": 48_000,
    "mnist-6k": 6_000,
    "fashion-6k": 6_000,
    "fashion-32": 256,
    "waveforms": 1536,
    "volumes": 768,
    "images-32": 64,
    "images-224": 256,
}


def to_download(name: str | None, folder: Path | None = None) -> bool:
    """Returns True if the data set `name` is made of images that are not in `folder` yet."""
    if name is None:
        return False
    images = next((kind for kind in CLASSES if name.startswith(kind)), None)
    return images is not None and not archives(images, folder or default_folder())


def make(name: str, folder: Path | None = None) -> Arrays:
    """Returns the arrays of the data set `name`, with images from `folder`. Raises DataError."""
    return SETS[name](folder or default_folder())
