"""The driver's handle of torch's GPU: by its UUID, or else by CUDA_VISIBLE_DEVICES and the order of GPUs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bnsuite.measure.nvml.binding import NvmlError, UnavailableError, call, text


@dataclass(frozen=True)
class Handle:
    """A GPU, or a MIG slice and the GPU it is cut from: a slice has memory and processes, no clocks of its own."""

    uuid: str
    own: Any
    board: Any

    @property
    def is_slice(self) -> bool:
        return self.own is not self.board


def find(uuid: str | None, index: int = 0) -> tuple[Handle | None, str]:
    """The GPU that torch calls cuda:`index`, or None and the reason why it can't be identified.

    `uuid` is torch's, with or without "GPU-"; without it (torch 2.4) CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER
    have to say.
    """
    try:
        if uuid is None:
            return _visible(index), ""
        found = by_uuid(uuid)
        if not found.is_slice and slices_of(found):  # CUDA may name a slice by its whole GPU
            visible, _ = find(None, index)
            if visible and text("nvmlDeviceGetUUID", visible.board) == found.uuid:
                return visible, ""
        return found, ""
    except NvmlError as error:
        return None, str(error)


def by_uuid(uuid: str) -> Handle:
    """The GPU or the MIG slice of this UUID, with or without its prefix."""
    names = [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]
    if uuid.startswith("GPU-"):
        names.append(f"MIG-{uuid.removeprefix('GPU-')}")
    troubles = []
    for name in names:
        try:
            return _handle(call("nvmlDeviceGetHandleByUUID", name.encode()))
        except NvmlError as error:
            troubles.append(error)
    raise troubles[0]


def everything() -> Iterator[Handle]:
    """Every GPU that may be used here, each with its MIG slices after it."""
    for board in _boards():
        yield board
        yield from slices_of(board)


def _handle(own: Any) -> Handle:
    try:
        answer = call("nvmlDeviceIsMigDeviceHandle", own)
        is_slice = bool(getattr(answer, "value", answer))
    except NvmlError:  # a driver from before there were slices
        is_slice = False
    board = call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", own) if is_slice else own
    return Handle(text("nvmlDeviceGetUUID", own), own, board)


def _boards() -> list[Handle]:
    """The GPUs in the order of their PCI addresses, without those that this process may not use, or that are lost.

    Raises NvmlError if none is left because of an error.
    """
    found, troubles = [], []
    for index in range(call("nvmlDeviceGetCount")):
        try:
            found.append(_handle(call("nvmlDeviceGetHandleByIndex", index)))
        except UnavailableError:  # it is another container's
            continue
        except NvmlError as error:
            troubles.append(error)
    if troubles and not found:
        raise troubles[0]
    return found


def slices_of(board: Handle) -> list[Handle]:
    """Returns the MIG slices of a GPU; none where there are no such."""
    try:
        if not call("nvmlDeviceGetMigMode", board.own)[0]:
            return []
        count = call("nvmlDeviceGetMaxMigDeviceCount", board.own)
    except NvmlError:
        return []
    found = []
    for index in range(count):
        try:
            found.append(_handle(call("nvmlDeviceGetMigDeviceHandleByIndex", board.own, index)))
        except NvmlError:
            continue
    return found


def _visible(index: int) -> Handle:
    """The GPU that CUDA numbers `index`. As for CUDA, one bad entry hides itself and all after it."""
    boards = _boards()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    entries = [str(number) for number in range(len(boards))] if shown is None else shown.split(",")
    if index >= len(entries):
        raise NvmlError(f"there is no GPU {index} among the {len(entries)} that CUDA is shown")
    found = [_entry(entry.strip(), boards) for entry in entries[: index + 1]]
    if len({handle.uuid for handle in found}) < len(found):
        raise NvmlError(f"CUDA_VISIBLE_DEVICES={shown} names a GPU twice, so CUDA sees none")
    return found[index]


def _entry(entry: str, boards: list[Handle]) -> Handle:
    """The GPU or slice that an entry of CUDA_VISIBLE_DEVICES names: a number, or the beginning of a UUID."""
    if entry.startswith("MIG-"):
        try:
            return by_uuid(entry)
        except NvmlError:
            slices = [one for board in boards for one in slices_of(board)]
            return _only([one for one in slices if one.uuid.startswith(entry)], entry)
    if entry.startswith("GPU-"):
        return _whole(_only([board for board in boards if board.uuid.startswith(entry)], entry))
    number = re.match(r"\+?(\d+)", entry)
    if number is None or int(number[1]) >= len(boards):
        raise NvmlError(f"CUDA_VISIBLE_DEVICES: no GPU {entry!r} here")
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({_kind(board) for board in boards}) > 1:
        raise NvmlError("these GPUs differ, and CUDA numbers the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID")
    return _whole(boards[int(number[1])])


def _whole(board: Handle) -> Handle:
    """The GPU; where it is cut up, CUDA uses a slice, and only a lone one needs no name."""
    slices = slices_of(board)
    if len(slices) > 1:
        raise NvmlError(f"{board.uuid} has {len(slices)} MIG slices: name one in CUDA_VISIBLE_DEVICES")
    return slices[0] if slices else board


def _only(found: list[Handle], entry: str) -> Handle:
    if len(found) != 1:
        raise NvmlError(f"CUDA_VISIBLE_DEVICES: {len(found)} GPUs here are called {entry}...")
    return found[0]


def _kind(board: Handle) -> tuple[str, int]:
    return text("nvmlDeviceGetName", board.own), call("nvmlDeviceGetMemoryInfo", board.own).total
