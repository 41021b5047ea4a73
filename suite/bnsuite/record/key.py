"""The machine key: the properties that must be equal before two timings are compared.

torch, CUDA, cuDNN and the image are the subject of a comparison: they stand beside the key and are free to
differ. The host's name is neither.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from bnsuite.record.schema import Run, Value

#: Flags that every release of torch has: one that only newer ones have would tell releases apart, not machines.
FLAGS = (
    "cudnn_benchmark",
    "cudnn_deterministic",
    "cudnn_enabled",
    "cudnn_tf32",
    "deterministic_algorithms",
    "matmul_bf16_reduced",
    "matmul_fp16_reduced",
    "matmul_tf32",
)

#: Fields that earlier keys lack; the name of a file does not depend on them where they are not known.
LATE_FIELDS = ("ecc", "persistence", "compute_mode", "sm_clock_mhz_set")
#: Power limits are the same if they differ by no more than this share. A file's name has them in steps.
POWER_TOLERANCE, POWER_STEP_W = 0.01, 10

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
    # Of a GPU, from 0.6.0 on; None where they are not known.
    ecc: bool | None = None
    persistence: bool | None = None
    compute_mode: int | None = None
    sm_clock_mhz_set: int | None = None

    @model_serializer(mode="wrap")
    def _without_unknown(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key that has none of the late fields is that of earlier releases, which can read it."""
        plain: dict[str, Any] = serialize(self)
        return {name: one for name, one in plain.items() if one is not None or name not in LATE_FIELDS}

    @property
    def name(self) -> str:
        """A file name that a person recognises and that no other key has."""
        return self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of a file of such a machine, its own first: of limits of power that hardly differ there are two."""
        subject = self.gpu or f"{self.cpu} {self.cores_given} cores {self.threads} threads"
        known = self.model_dump(mode="json")
        limits: tuple[float | None, ...] = (None,)
        if self.power_limit_w is not None:
            room = POWER_TOLERANCE * self.power_limit_w
            near = (self.power_limit_w, self.power_limit_w - room, self.power_limit_w + room)
            limits = tuple(dict.fromkeys(POWER_STEP_W * round(limit / POWER_STEP_W) for limit in near))
        texts = [
            json.dumps(known | {"power_limit_w": one}, separators=(",", ":"), ensure_ascii=False) for one in limits
        ]
        return tuple(f"{self.device}-{slug(subject)}-{_digest(text)}" for text in texts)


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
    facts = gpu.nvml if gpu is not None else None
    # cuDNN and TF32 flags steer a GPU only; leaving them out keeps CPU baselines comparable across their defaults.
    flags = {name: value for name, value in sorted(environment.flags.items()) if gpu is not None and name in FLAGS}
    return MachineKey(
        device=run.device.partition(":")[0],
        cpu=environment.cpu,
        cores_given=environment.cores_given,
        threads=environment.threads,
        gpu=gpu.name if gpu else None,
        gpu_count=gpu.count if gpu else None,
        mig=facts.mig if facts else None,
        power_limit_w=facts.power_limit_w if facts else None,
        driver_major=gpu.driver.partition(".")[0] if gpu and gpu.driver else None,
        flags=flags,
        ecc=facts.ecc if facts else None,
        persistence=facts.persistence if facts else None,
        compute_mode=facts.compute_mode if facts else None,
        sm_clock_mhz_set=facts.sm_clock_mhz_set if facts else None,
    )


def differences(one: MachineKey, other: MachineKey) -> list[str]:
    """Returns the differences of two keys, such as "threads 1, not 2"."""
    mine, theirs = one.model_dump(), other.model_dump()
    apart = [name for name in mine if not _same(name, mine[name], theirs[name])]
    return [f"{name} {mine[name]}, not {theirs[name]}" for name in apart]


def _same(name: str, one: Any, other: Any) -> bool:
    """Returns True if two values of a field don't tell machines apart: power limits may differ by a little."""
    if name == "power_limit_w" and one is not None and other is not None:
        return bool(abs(one - other) <= POWER_TOLERANCE * max(one, other))
    return bool(one == other)
