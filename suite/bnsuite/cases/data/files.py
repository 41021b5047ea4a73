"""Data sets as files: staged once by a process that has scikit-learn and torchvision, read with torch alone.

Staged files have the safetensors layout: eight bytes of header length, a JSON header, raw little-endian values. A
measured process neither pays for the makers of the data nor has to hold them.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cases.data.images import DataError
from bnsuite.cases.data.sets import make

if TYPE_CHECKING:
    import torch

#: The folder of staged files; unset, a process makes its data by itself.
STAGE_VARIABLE = "BNSUITE_STAGE"
#: The folder of MNIST and Fashion-MNIST, for a process that makes its data by itself.
DATA_VARIABLE = "BNSUITE_DATA"

_FIELDS = ("x_train", "y_train", "x_val", "y_val")
_DTYPES = {"<f4": "F32", "<i8": "I64", "|u1": "U8"}


@dataclass(frozen=True)
class Split:
    """A data set on its device: inputs (N, ...) float32; targets (N,) int64 of classes, float32 otherwise.

    It is shared by the trainings of a process, and nobody writes into it.
    """

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_val: torch.Tensor
    y_val: torch.Tensor


def pack(name: str, folder: Path | None) -> bytes:
    """The data set `name` as the bytes of a staged file."""
    header: dict[str, object] = {}
    body = []
    length = 0
    for field, array in sorted(
        zip(_FIELDS, make(name, folder), strict=True), key=lambda one: -one[1].itemsize
    ):  # the wide values first, so that every one stands where its type wants it
        raw = array.tobytes()
        header[field] = {
            "dtype": _DTYPES[array.dtype.newbyteorder("<").str],
            "shape": list(array.shape),
            "data_offsets": [length, length + len(raw)],
        }
        body.append(raw)
        length += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *body])


def stage(names: Iterable[str], folder: Path, data_folder: Path | None = None) -> dict[str, str]:
    """Make the data sets `names` into `folder`, each whole or not at all; returns those that can't be had, and why."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for name in names:
        try:
            raw = pack(name, data_folder)
        except DataError as error:
            missing[name] = str(error)
            continue
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        Path(temporary).replace(folder / f"{name}.safetensors")
    return missing


@cache
def load(name: str, device: str) -> Split:
    """The data set `name` on `device`, from the staged file if there is one, else made here."""
    import torch

    staged, own = os.environ.get(STAGE_VARIABLE), os.environ.get(DATA_VARIABLE)
    raw = Path(staged, f"{name}.safetensors").read_bytes() if staged else pack(name, Path(own) if own else None)
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    dtypes = {"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}
    body = bytearray(raw[8 + length :])  # writable: what torch asks of a buffer it shares

    def tensor(field: str) -> torch.Tensor:
        entry = header[field]
        begin, end = entry["data_offsets"]
        dtype = dtypes[entry["dtype"]]
        flat = torch.frombuffer(body, dtype=dtype, offset=begin, count=(end - begin) // dtype.itemsize)
        values = flat.reshape(entry["shape"]).clone().to(device)
        return values.float().div_(255) if dtype is torch.uint8 else values

    return Split(*(tensor(field) for field in _FIELDS))
