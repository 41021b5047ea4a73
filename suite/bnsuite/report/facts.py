"""The recorded facts of an environment that people ask for first, and their names in words."""

from __future__ import annotations

from bnsuite.record.functions import ROLES

#: Facts that are named first, in this order, and by these words.
FACTS = {
    "environment": "environment",
    "implementation": "implementation",
    **{role.name: role.title for role in ROLES.values()},
    "injected": "injected fault",
    "packages.torch": "torch",
    "torch_git": "torch revision",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "python": "Python",
    "gpu.driver": "GPU driver",
    "gpu.name": "GPU",
    "gpu.capability": "GPU capability",
    "cpu": "CPU",
    "cpu_capability": "CPU capability",
    "cpu_features": "CPU features",
    "cores_given": "cores",
    "threads": "threads",
    "system": "system",
    "libc": "C library",
}
