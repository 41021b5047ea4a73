"""A check that uses the GPU: one kernel in a process of its own, which the driver's account can't replace."""

from __future__ import annotations

from bnsuite.doctor.gpu import has_gpu
from bnsuite.doctor.host import KERNEL_S, DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, disturbs, fine, not_applicable
from bnsuite.launch.process.messages import KernelAnswer


def probe(host: Host, request: DoctorRequest) -> KernelAnswer | None:
    """Has a process run a kernel on the GPU that would be measured; None where there is none to measure."""
    if not has_gpu(host, request):
        return None
    return host.kernel("cuda" if request.device == "auto" else request.device)


def kernel(answer: KernelAnswer | None) -> Result:
    """This torch must run on the GPU, and compute right."""
    if answer is None:
        return not_applicable("no-gpu")
    observed = answer.model_dump(exclude={"fix"})
    if answer.error is not None or not answer.right:
        return disturbs(answer.fix or "look-at-gpu", **observed)
    return fine(**observed)


def _limit_s(host: Host, request: DoctorRequest) -> float | None:
    """Torch and CUDA have to start first."""
    return KERNEL_S if has_gpu(host, request) else None


SUBJECT = Subject("kernel", probe, {"gpu-kernel": kernel}, _limit_s)
