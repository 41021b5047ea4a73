"""Checks of the GPU: driver and CUDA, persistence, clocks, throttling, memory errors, other processes, MIG and MPS."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bnsuite.doctor.host import DoctorRequest, Host, TorchPackage
from bnsuite.doctor.result import Result, Subject, disturbs, fine, judged, not_applicable, unknown
from bnsuite.launch.process.messages import GpuAnswer, GpuCondition

#: NVIDIA's number on the PCI bus; the class of a display or a 3D controller begins so.
VENDOR, DISPLAY = "0x10de", "0x03"
#: Reasons for lower clocks that spoil a measurement, as the watch over a measurement counts them.
THROTTLING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
#: An idle GPU lets its clocks fall far below this share of their maximum, unless they are locked.
LOCKED_SHARE = 0.9
#: A few errors that were corrected since the driver was loaded cost nothing; many are a sign of failing memory.
MAX_CORRECTED = 100
#: The value of NVML's compute mode in which no process may use the GPU.
PROHIBITED = 2
#: Those in which one process or thread has the GPU for itself; a comparison needs two.
EXCLUSIVE = (1, 3)
#: Room for the largest timed case and its controls; checks of huge tensors ask for theirs themselves.
MIN_FREE_BYTES = 4 << 30


@dataclass(frozen=True)
class GpuFacts:
    """The host's NVIDIA devices, the answer of NVML (None where there is nothing to ask about), and torch."""

    host: Host
    signs: tuple[str, ...]
    answer: GpuAnswer | None
    torch: TorchPackage | None


def signs_of_gpu(host: Host) -> list[str]:
    """Returns the signs of an NVIDIA GPU: its device files, and its numbers on the PCI bus."""
    found = [f"/{path}" for path in host.names("dev", "nvidia[0-9]*")]
    for path in host.names("sys/bus/pci/devices", "*"):
        vendor, kind = ((host.text(f"{path}/{name}") or "").strip() for name in ("vendor", "class"))
        if vendor == VENDOR and kind.startswith(DISPLAY):
            found.append(f"PCI {path.rpartition('/')[2]}")
    return found


def has_gpu(host: Host, request: DoctorRequest) -> bool:
    """Returns True if a GPU is there or was asked for, and the CPU was not."""
    return request.device != "cpu" and (request.device.startswith("cuda") or bool(signs_of_gpu(host)))


def loaded_driver(host: Host) -> str | None:
    """Returns the version of the kernel module that is loaded, such as "580.65.06"."""
    found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", host.text("proc/driver/nvidia/version") or "")
    return found[0] if found else None


def probe(host: Host, request: DoctorRequest) -> GpuFacts:
    """Asks NVML about the GPU that would be measured."""
    signs = tuple(signs_of_gpu(host))
    if not has_gpu(host, request):
        return GpuFacts(host, signs, None, None)
    index = int(request.device.partition(":")[2] or 0)
    return GpuFacts(host, signs, host.gpu(index), host.torch())


def driver(facts: GpuFacts) -> Result:
    """A GPU needs a driver that answers, and CUDA must be able to tell which GPU is meant."""
    answer = facts.answer
    if answer is None:
        return not_applicable("no-gpu")
    if answer.driver is None:
        fix = "install-driver" if facts.signs else "no-gpu"
        trouble = (answer.trouble or "").lower()
        if "mismatch" in trouble:
            fix = "reload-driver"
        elif "unknown error" in trouble:  # a container's devices are taken away when its host reloads its units
            fix = "restart-container"
        return disturbs(fix, error=answer.trouble, signs=[*facts.signs[:4]], loaded=loaded_driver(facts.host))
    if answer.gpu is None:
        return disturbs(
            _fix_of_gpu(answer.trouble or ""), error=answer.trouble, driver=answer.driver, count=answer.count
        )
    if answer.gpu.compute_mode == PROHIBITED:
        return disturbs("allow-compute", driver=answer.driver, gpu=answer.gpu.name, prohibited=True)
    return fine(driver=answer.driver, gpu=answer.gpu.name, count=answer.count)


def _fix_of_gpu(trouble: str) -> str:
    """Returns the code of the fix for a GPU that the driver can't say anything of."""
    if trouble.startswith("NVML: Unknown Error"):
        return "restart-container"
    return "reset-gpu" if trouble.startswith("NVML: GPU") else "name-gpu"


def cuda(facts: GpuFacts) -> Result:
    """The driver must offer the CUDA that torch was built with, and the image's if it has one."""
    if facts.answer is None or facts.answer.cuda is None:
        return not_applicable("no-gpu" if facts.answer is None else "no-driver")
    wheel = facts.torch.cuda if facts.torch else None
    image = _image_cuda(facts.host)
    observed = {"driver_cuda": facts.answer.cuda, "torch_cuda": wheel, "image_cuda": image}
    if facts.torch is not None and wheel is None:
        return disturbs("cuda-wheel", **observed)
    offered = _major(facts.answer.cuda)
    if any(_major(one) > offered for one in (wheel, image) if one is not None):
        return disturbs("newer-driver", **observed)
    if wheel is not None and image is not None and _major(wheel) != _major(image) and _loads_image(facts.host):
        return disturbs("image-libraries", **observed)
    return fine(**observed)


def _major(version: str) -> int:
    """Returns the major version: a driver runs all minor ones of it, and older ones."""
    return int(version.partition(".")[0])


def _image_cuda(host: Host) -> str | None:
    """Returns the CUDA of the image this runs in, as NVIDIA's images name it, or of the toolkit on the host."""
    named = host.environ.get("CUDA_VERSION") or ""
    if not named:
        found = re.search(
            r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([^"]*)"', host.text("usr/local/cuda/version.json") or ""
        )
        named = found[1] if found else ""
    return named if re.match(r"\d+\.\d+", named) else None


def _loads_image(host: Host) -> bool:
    """Returns True if the image's libraries come before those of the wheel."""
    return "cuda" in host.environ.get("LD_LIBRARY_PATH", "").lower()


def _of_gpu(check: Callable[[GpuCondition], Result]) -> Callable[[GpuFacts], Result]:
    """Returns a check of the GPU itself, which needs one that answers."""

    def of(facts: GpuFacts) -> Result:
        if facts.answer is None:
            return not_applicable("no-gpu")
        if facts.answer.gpu is None:
            return not_applicable("no-driver")
        return check(facts.answer.gpu)

    return of


def _silent(gpu: GpuCondition) -> Result:
    """Returns the result where the driver does not say: an error, or a question that it does not know."""
    return unknown(gpu.trouble) if gpu.trouble else not_applicable("not-told")


def persistence(gpu: GpuCondition) -> Result:
    """Without persistence mode the driver unloads its state, and the clocks, after each process."""
    if gpu.persistence is None:
        return _silent(gpu)
    return judged("persistence-mode", disturbed=not gpu.persistence, persistence=gpu.persistence)


def compute_mode(gpu: GpuCondition) -> Result:
    """Two processes must be able to use the GPU at once: those of a comparison."""
    if gpu.compute_mode is None:
        return _silent(gpu)
    exclusive = gpu.compute_mode in EXCLUSIVE
    return judged("allow-compute", disturbed=exclusive, mode=gpu.compute_mode, exclusive=exclusive)


def memory(gpu: GpuCondition) -> Result:
    """There must be room for the cases."""
    if gpu.used_bytes is None or gpu.total_bytes is None:
        return _silent(gpu)
    free = gpu.total_bytes - gpu.used_bytes
    return judged("free-gpu-memory", disturbed=free < MIN_FREE_BYTES, free_bytes=free, total_bytes=gpu.total_bytes)


def clocks(gpu: GpuCondition) -> Result:
    """The clocks must not follow load, heat and power. NVML has no question for locked ones: idle clocks tell."""
    now, most, reasons = gpu.sm_clock_mhz, gpu.sm_clock_mhz_max, gpu.reasons
    if now is None or not most or reasons is None:
        return _silent(gpu)
    observed = {"sm_clock_mhz": now, "sm_clock_mhz_max": most}
    if "applications_clocks_setting" in reasons or now >= LOCKED_SHARE * most:
        return fine(**observed, locked=True)
    if gpu.processes:
        return unknown("the GPU is in use, and shows its locked clocks only when it is idle")
    return disturbs("lock-clocks", **observed, locked=False)


def throttling(gpu: GpuCondition) -> Result:
    """Nothing may hold the clocks down: heat, or a power brake."""
    if gpu.reasons is None:
        return _silent(gpu)
    held = [one for one in THROTTLING if one in gpu.reasons]
    return judged("cool-gpu", disturbed=bool(held), reasons=held, temperature_c=gpu.temperature_c)


def ecc(gpu: GpuCondition) -> Result:
    """Memory that fails ends a process, or corrects more and more errors."""
    if gpu.ecc_corrected is None and gpu.ecc_uncorrected is None:
        return _silent(gpu)
    count = {"corrected": gpu.ecc_corrected, "uncorrected": gpu.ecc_uncorrected}
    disturbed = bool(gpu.ecc_uncorrected) or (gpu.ecc_corrected or 0) > MAX_CORRECTED
    return judged("replace-gpu", disturbed=disturbed, **count)


def rows(gpu: GpuCondition) -> Result:
    """Memory that is to be taken out of use is used until the GPU is reset."""
    if gpu.remap_pending is None and gpu.pages_pending is None:
        return _silent(gpu)
    observed = {
        "correctable": gpu.remapped_correctable,
        "uncorrectable": gpu.remapped_uncorrectable,
        "pending": bool(gpu.remap_pending or gpu.pages_pending),
        "failed": bool(gpu.remap_failed),
    }
    if gpu.remap_failed:
        return disturbs("replace-gpu", **observed)
    return judged("reset-gpu", disturbed=bool(observed["pending"]), **observed)


def processes(gpu: GpuCondition) -> Result:
    """No other process may compute on the GPU; a window system that rests is only named."""
    if gpu.processes is None:
        return _silent(gpu)
    computing = [one for one in gpu.processes if one not in (gpu.drawing or ())]
    count = len(computing)
    drawing = {"drawing": len(gpu.drawing)} if gpu.drawing else {}
    return judged("end-gpu-processes", disturbed=count > 0, count=count, ids=[*computing[:8]], **drawing)


def mig(gpu: GpuCondition) -> Result:
    """Slices of one GPU share its power and clocks."""
    if gpu.mig is None:
        return _silent(gpu)
    slices = gpu.mig_slices or 0
    return judged("one-slice", disturbed=gpu.mig and slices != 1, mig=gpu.mig, slices=slices)


def mps(facts: GpuFacts) -> Result:
    """A server of MPS shares the GPU among its clients."""
    if facts.answer is None:
        return not_applicable("no-gpu")
    folder = facts.host.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps"  # noqa: S108  # MPS's own default
    server = facts.host.there(f"{folder.strip('/')}/control")
    clients = facts.answer.gpu.mps_processes if facts.answer.gpu else None
    return judged("stop-mps", disturbed=server or bool(clients), server=server, clients=clients)


SUBJECT = Subject(
    "gpu",
    probe,
    {
        "gpu-driver": driver,
        "gpu-cuda": cuda,
        "gpu-compute-mode": _of_gpu(compute_mode),
        "gpu-memory": _of_gpu(memory),
        "gpu-persistence": _of_gpu(persistence),
        "gpu-clocks": _of_gpu(clocks),
        "gpu-throttling": _of_gpu(throttling),
        "gpu-ecc": _of_gpu(ecc),
        "gpu-remapped-rows": _of_gpu(rows),
        "gpu-processes": _of_gpu(processes),
        "gpu-mig": _of_gpu(mig),
        "gpu-mps": mps,
    },
)
