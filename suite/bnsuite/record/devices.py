"""The names of devices, as users write them and as files hold them.

The measured half has the kinds of device themselves (``measure/devices/registry.py``); it imports nothing of ours.
"""

from __future__ import annotations

import re

#: Every GPU of a node, each measured by itself.
ALL = "cuda:all"
#: The names that a user may write for one device, in words and as a pattern; and those of a device that was found.
NAMES = "auto, cpu, cuda or cuda:N"
ASKED = re.compile(r"auto|cpu|cuda(:\d+)?")
FOUND = r"^(cpu|cuda:[0-9]+)$"


def is_asked(text: str) -> bool:
    """Returns True if `text` is a name that a user may write for one device."""
    return ASKED.fullmatch(text) is not None


def folder_name(device: str) -> str:
    """Returns the name of a folder for a device, such as ``cuda-0``."""
    return device.replace(":", "-")
