"""The fixes of a host's disturbances in words, by their codes; where a setting is changed, how to put it back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

_NO_TURBO = "/sys/devices/system/cpu/intel_pstate/no_turbo"
_BOOST = "/sys/devices/system/cpu/cpufreq/boost"

FIXES = {
    "more-cores": "give it another core (taskset, docker run --cpuset-cpus, a larger machine)",
    "end-other-work": "end other work, or wait until it is done",
    "dedicated-host": "use a machine with dedicated cores, or measure at another time",
    "performance-governor": "sudo cpupower frequency-set -g performance (back: -g {governors})",
    "no-turbo-intel": f"echo 1 | sudo tee {_NO_TURBO} (back: echo 0)",
    "no-turbo-boost": f"echo 0 | sudo tee {_BOOST} (back: echo 1)",
    "no-turbo-core": "echo 0 | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/boost (back: echo 1)",
    "other-core": "give it a core that is no sibling (lscpu -e shows them)",
    "one-node": "keep to one node: numactl --cpunodebind=0 --membind=0 bnsuite ...",
    "madvise": "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled (back: echo never)",
    "raise-quota": "raise the quota (docker run --cpus, limits.cpu of a pod, CPUQuota of a unit), or leave it out",
    "raise-memory-limit": "raise the limit (docker run --memory, limits.memory of a pod)",
    "free-memory": "end what holds memory; at least 2 GiB must be available",
    "stop-swapping": "end what holds memory, then sudo swapoff -a && sudo swapon -a",
    "free-results": "free at least 1 GiB there, or name another folder with --out",
    "free-scratch": "free at least 1 GiB there, or set TMPDIR to another folder",
    "exec-scratch": "mount it with exec (docker run --tmpfs /tmp:exec), or set TMPDIR to another folder",
    "writable-results": "make it writable for this user, or name another folder with --out",
    "writable-scratch": "make it writable for this user, or set TMPDIR to another folder",
    "install-driver": "install or load NVIDIA's driver; in a container: docker run --gpus all",
    "reload-driver": "the driver was updated beneath a loaded module; reboot, or unload and load the nvidia modules",
    "no-gpu": "choose --device cpu, or a machine with a GPU",
    "name-gpu": "name one that is there by --device cuda:N or CUDA_VISIBLE_DEVICES; `nvidia-smi -L` lists them",
    "allow-compute": "sudo nvidia-smi -c DEFAULT",
    "newer-driver": "install a driver for that CUDA, or a torch built for the driver's",
    "torch-for-gpu": "install a torch that is built for the compute capability of this GPU",
    "fabric-manager": "sudo systemctl start nvidia-fabricmanager",
    "free-gpu-memory": "end the processes that hold its memory; `nvidia-smi` names them",
    "look-at-gpu": "look at `nvidia-smi` and the kernel's log (dmesg) for the cause",
    "cuda-wheel": "this torch is built for CPUs only; install one for CUDA, or choose --device cpu",
    "image-libraries": "take the image's CUDA out of LD_LIBRARY_PATH",
    "persistence-mode": "sudo nvidia-smi -pm 1 (back: -pm 0), or start nvidia-persistenced",
    "lock-clocks": "sudo nvidia-smi -lgc MHZ,MHZ with a clock it can hold (back: sudo nvidia-smi -rgc)",
    "cool-gpu": "cool it, or check its power supply; nvidia-smi -q -d PERFORMANCE,TEMPERATURE shows more",
    "restart-container": "start the container again: its host has taken the GPU from it (systemctl daemon-reload)",
    "reset-gpu": "end all work on it, then sudo nvidia-smi --gpu-reset -i N",
    "replace-gpu": "watch it: nvidia-smi -q -d ECC,ROW_REMAPPER; if the numbers grow, have it replaced",
    "end-gpu-processes": "end them; `nvidia-smi` names them",
    "one-slice": "make one slice, or turn MIG off: sudo nvidia-smi -i N -mig 0 (back: -mig 1)",
    "stop-mps": "echo quit | nvidia-cuda-mps-control (back: nvidia-cuda-mps-control -d)",
    "start-engine": "needed for docker: environments only; leave it out with --ignore docker-engine",
    "install-toolkit": "install the NVIDIA Container Toolkit",
    "configure-toolkit": "sudo nvidia-ctk runtime configure --runtime=docker, then restart the engine",
    "renew-cdi": "sudo nvidia-ctk cdi generate --output={specs}",
    "get-data": "name a folder that has them with --data-dir; else they are downloaded when first needed",
    "accept": "accept a good run: `bnsuite`, then `bnsuite accept`",
    "accept-again": "accept new runs with `bnsuite accept`",
    "restore-baseline": "restore the file, or remove it and accept a run",
    "quieter-host": "end other work, or use a quieter host",
}


def fix_of(code: str, observed: Mapping[str, Any]) -> str:
    """Returns the fix of a code in words; an unknown code as it is.

    Values that were observed are quoted for a shell: a damaged file must not make a command of its own.
    """
    words = FIXES.get(code, code)
    for name in ("governors", "specs"):
        if f"{{{name}}}" in words:
            values = observed.get(name)
            first = shlex.quote(str(values[0])[:80]) if isinstance(values, list | tuple) and values else "..."
            words = words.replace(f"{{{name}}}", first)
    return words
