"""The machine key: the properties that must be equal before two timings are compared.

torch, CUDA, cuDNN and the image are the subject of a comparison: they stand beside the key and are free to
differ. The host's name is neither.
"""

from __future__ import annotations

import hashlib
import re

from bnsuite.record.schema import Run, Value

#: Letters of a file's name, which may be 255 long.
MAX_SLUG = 120


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
        return f"{self.device}-{slug(subject)}-{_digest(self.model_dump_json())}"


def slug(subject: str) -> str:
    """Returns a part of a file name that a person recognises; of a long one the beginning, and a digest."""
    plain = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")
    return plain if len(plain) <= MAX_SLUG else f"{plain[:MAX_SLUG]}-{_digest(subject)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def machine_key(run: Run) -> MachineKey:
    """Returns the key of the machine a run was measured on."""
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
    """Returns the differences of two keys, such as "threads 1, not 2"."""
    mine, theirs = one.model_dump(), other.model_dump()
    return [f"{name} {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]
