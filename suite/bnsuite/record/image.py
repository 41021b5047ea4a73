"""The container image of a measurement, as it stands in ``run.json``."""

from __future__ import annotations

from bnsuite.record.value import Value


class ImageInfo(Value):
    """The container image that was measured; None for what neither the engine nor a label of the image tells.

    Of a run inside the image only `base` and `base_digest` are known. `digests` are those of registries, and `gpus` is
    the way in which the engine gave the container the GPUs: "runtime" (as by --gpus) or "cdi".
    """

    name: str | None = None
    id: str | None = None
    digests: tuple[str, ...] = ()
    base: str | None = None
    base_digest: str | None = None
    gpus: str | None = None
