"""The machine key: what must be equal before two timings are compared.

torch, CUDA, cuDNN and the image are the subject of a comparison: they stand beside the key and are free to
differ. The host's name is neither.
"""

from __future__ import annotations

import hashlib
import re

from bnsuite.record.schema import Run, Value


class MachineKey(Value):
    """One kind of machine, used in one way."""

    device: str
    cpu: str
    cores_given: int
    threads: int
    gpu: str | None
    gpu_count: int | None
    mig: bool | None
    power_limit_w: float | None
    driver_major: str | None
    flags: dict[str, bool]

    @property
    def name(self) -> str:
        """A file name that a person recognises and that no other key has."""
        subject = self.gpu or f"{self.cpu} {self.cores_given} cores {self.threads} threads"
        slug = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]
        return f"{self.device}-{slug}-{digest}"


def machine_key(run: Run) -> MachineKey:
    """The key of the machine a run was measured on."""
    environment = run.environment
    gpu = environment.gpu
    # cuDNN and TF32 flags steer a GPU only; leaving them out keeps CPU baselines comparable across their defaults.
    flags = {name: value for name, value in sorted(environment.flags.items()) if gpu is not None}
    return MachineKey(
        device=run.device.partition(":")[0],
        cpu=environment.cpu,
        cores_given=environment.cores_given,
        threads=environment.threads,
        gpu=gpu.name if gpu else None,
        gpu_count=gpu.count if gpu else None,
        mig=gpu.nvml.mig if gpu and gpu.nvml else None,
        power_limit_w=gpu.nvml.power_limit_w if gpu and gpu.nvml else None,
        driver_major=gpu.driver.partition(".")[0] if gpu and gpu.driver else None,
        flags=flags,
    )


def differences(one: MachineKey, other: MachineKey) -> list[str]:
    """Where two keys differ, such as "threads 1, not 2"."""
    mine, theirs = one.model_dump(), other.model_dump()
    return [f"{name} {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]
