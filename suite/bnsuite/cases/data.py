"""The data sets the trainings use, made once and handed over as files.

:func:`make` needs scikit-learn; reading a staged file needs torch and the standard library only, so a measured
process neither pays for scikit-learn nor has to hold it. Staged files have the safetensors layout: eight bytes
of header length, a JSON header, raw little-endian values.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    import numpy as np
    import torch

    Arrays: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

#: Where staged files lie; unset, a process makes what it needs by itself.
STAGE_VARIABLE = "BNSUITE_STAGE"

#: The split of the first article.
SPLIT_SEED = 42
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """A data set on its device: inputs (N, ...) float32, targets (N,) float32 for two classes, else int64."""

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_val: torch.Tensor
    y_val: torch.Tensor


def _synthetic() -> Arrays:
    """The first article's data: 800 + 200 standardised samples of 20 features, two classes."""
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


def _digits() -> Arrays:
    """The 1,797 real 8x8 digits that scikit-learn carries, as (N, 1, 8, 8) in [0, 1], ten classes."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 1, 8, 8).astype("<f4")
    x_train, x_val, y_train, y_val = train_test_split(
        x, y.astype("<i8"), test_size=VALIDATION_SHARE, random_state=SPLIT_SEED, stratify=y
    )
    return x_train, y_train, x_val, y_val


SETS: dict[str, Callable[[], Arrays]] = {
    "synthetic": _synthetic,
    "digits": _digits,
}
_FIELDS = ("x_train", "y_train", "x_val", "y_val")
_DTYPES = {"<f4": "F32", "<i8": "I64"}


def make(name: str) -> bytes:
    """The data set `name` as the bytes of a staged file."""
    header: dict[str, object] = {}
    body = b""
    for field, array in zip(_FIELDS, SETS[name](), strict=True):
        raw = array.tobytes()
        header[field] = {
            "dtype": _DTYPES[array.dtype.newbyteorder("<").str],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def stage(names: list[str], folder: Path) -> None:
    """Make the data sets `names` into `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(make(name))
        Path(temporary).replace(folder / f"{name}.safetensors")


def load(name: str, device: str) -> Split:
    """The data set `name` on `device`, from the staged file if there is one, else made here."""
    import torch

    folder = os.environ.get(STAGE_VARIABLE)
    raw = Path(folder, f"{name}.safetensors").read_bytes() if folder else make(name)
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    dtypes = {"F32": torch.float32, "I64": torch.int64}
    body = bytearray(raw[8 + length :])  # writable: what torch asks of a buffer it shares

    def tensor(field: str) -> torch.Tensor:
        entry = header[field]
        begin, end = entry["data_offsets"]
        dtype = dtypes[entry["dtype"]]
        flat = torch.frombuffer(body, dtype=dtype, offset=begin, count=(end - begin) // dtype.itemsize)
        return flat.reshape(entry["shape"]).clone().to(device)

    return Split(*(tensor(field) for field in _FIELDS))
