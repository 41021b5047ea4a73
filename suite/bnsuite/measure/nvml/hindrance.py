"""What keeps a process from using a GPU, by the driver's own account, in one line with the fix."""

from __future__ import annotations

import os

from bnsuite.measure.nvml.survey import GpuCondition, survey

#: NVML's numbers of the compute modes in which no process, or a single one, may use a GPU.
PROHIBITED, EXCLUSIVE_PROCESS = 2, 3


def hindrance(index: int = 0, built_for: str | None = None) -> str | None:
    """Why the GPU that CUDA numbers `index` can't be used; None where the driver sees no reason. Never raises.

    `built_for` is the CUDA of torch, such as "13.0": a driver runs those of its own major version and older ones.
    """
    seen = survey(index)
    if seen.driver is None or seen.gpu is None:
        return seen.trouble
    if seen.cuda and built_for and _major(built_for) > _major(seen.cuda):
        return (
            f"the driver {seen.driver} offers CUDA {seen.cuda}, and torch is built for {built_for}: update the driver, "
            f"or install a torch for CUDA {_major(seen.cuda)}"
        )
    return _mode(seen.gpu) or seen.trouble or seen.gpu.trouble


def _mode(gpu: GpuCondition) -> str | None:
    """Why the compute mode keeps this process out, if it does."""
    set_free = f"`sudo nvidia-smi -i {gpu.uuid} -c DEFAULT`"
    if gpu.compute_mode == PROHIBITED:
        return f"its compute mode lets no process use it: {set_free}"
    others = [number for number in gpu.processes or () if number != os.getpid()]
    if gpu.compute_mode == EXCLUSIVE_PROCESS and others:
        shown = ", ".join(map(str, others[:4]))
        return f"it is in exclusive-process mode, and process {shown} is on it: end that one, or {set_free}"
    return None


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdigit() else 0
