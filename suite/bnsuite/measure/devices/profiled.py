"""A profiled step: the operators that a CPU ran or the kernels that a GPU launched, by name, and how often each.

Everything but :func:`events_of` works on plain events, so that lists made by hand can be judged as well. The form of
a GPU's events follows Kineto's source; this part has not run on a GPU.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsuite.cases import Step

#: Letters of a kernel's name; of a longer one the beginning is kept, and a digest of the whole.
MAX_NAME = 160

#: Operators that only make room or look at a tensor; they are recorded by torch and do no work.
_IDLE = re.compile(
    r"aten::(empty|new_empty|_empty|resize|result_type|can_cast|is_same_size|broadcast_tensors|_has_compatible|size|stride)"
)
#: What torch.compile calls on a CPU shows as a range of this name, with a digest of the compiled graph.
_COMPILED = re.compile(r"## Call CompiledFxGraph \w+ ##")

#: The backend of batch norm by the beginnings of names: of operators first, then of kernels alone (in a replayed graph
#: or a compiled step nothing else is seen).
_BY_OPERATOR = {
    "aten::cudnn_batch_norm": "cudnn",
    "aten::miopen_batch_norm": "miopen",
    "aten::mkldnn_batch_norm": "mkldnn",
    "aten::native_batch_norm": "native",
    "aten::_native_batch_norm": "native",
    "aten::batch_norm_stats": "native",
    "aten::batch_norm_elemt": "native",
}
#: Operators that choose the backend themselves, and call none of the above for their own kernels.
_CHOOSING = ("aten::_batch_norm_with_update", "aten::_batch_norm_no_update", "aten::batch_norm_backward")
_BY_KERNEL = (
    (re.compile(r"cudnn.*(bn_|batch_?norm|_bn)", re.IGNORECASE), "cudnn"),
    (re.compile(r"miopen.*batch_?norm", re.IGNORECASE), "miopen"),
    (re.compile(r"^triton_.*batch_norm"), "compiled"),
    (re.compile(r"^batch_norm_"), "native"),
)


class ProfilerUnavailableError(Exception):
    """The profiler can't record here; the message is one line."""


class Role(Enum):
    """What becomes of an operator in the list of those that do work."""

    #: A view, or room for a tensor: left out.
    IDLE = "idle"
    #: It has code of its own for the CPU.
    WORKER = "worker"
    #: It calls others; it counts where it calls none that counts.
    WRAPPER = "wrapper"


@dataclass(frozen=True)
class Event:
    """One event of the profiler; times are in nanoseconds."""

    name: str
    start_ns: int
    end_ns: int
    thread: int = 0
    #: It ran on the device, not on the host.
    on_device: bool = False
    #: A named range that covers what ran within it, and no work by itself.
    annotation: bool = False


@dataclass(frozen=True, kw_only=True)
class LaunchedKernels:
    """What one step launched, in the order in which each name came first, as ``LaunchedKernels`` in JSON."""

    #: "operators" on a CPU, "kernels" on a GPU.
    of: str
    launched: dict[str, int]
    #: The backend that ran batch norm, such as "native" or "cudnn"; None where none was seen.
    batch_norm: str | None


def events_of(step: Step, device: str | None = None) -> list[Event]:
    """The events of one call of `step`, on the host and, if `device` is named ("cuda"), on the device as well.

    Raises ProfilerUnavailableError if the profiler can't be started or stopped, and whatever `step` raises.
    ``torch.profiler`` around the same profiler would import torch._inductor first, 2 s in every process.
    """
    from torch.autograd.profiler import profile

    raised: list[BaseException] = []
    try:
        with profile(use_kineto=True, use_device=device) as profiler:
            try:
                step()
            except BaseException as error:
                raised.append(error)
                raise
        results = profiler.kineto_results
        found = [] if results is None else [_event(one) for one in results.events()]
    except Exception as error:
        if raised:
            raise
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ProfilerUnavailableError(f"torch's profiler can't record here: {said}") from error
    return found


def _event(one: Any) -> Event:
    from torch._C._autograd import DeviceType

    annotation = getattr(one, "is_user_annotation", bool)  # a torch too old to say has none on the device
    start_ns = one.start_ns()
    return Event(
        name=one.name(),
        start_ns=start_ns,
        end_ns=start_ns + one.duration_ns(),
        thread=one.start_thread_id(),
        on_device=one.device_type() != DeviceType.CPU,
        annotation=bool(annotation()),
    )


def operators(events: Iterable[Event], role_of: Callable[[str], Role | None]) -> dict[str, int]:
    """The operators that do work, by name without "aten::", and how often each was called.

    An operator counts if it has code of its own for the CPU, or if nothing within it counts: ``conv2d`` calls
    ``convolution``, which calls ``mkldnn_convolution``, the only one of the three that works. `role_of` returns None
    for what is no operator.
    """
    roles = {name: role_of(name) for name in {one.name for one in events if not one.on_device}}
    there = [one for one in events if not one.on_device and roles[one.name] not in {None, Role.IDLE}]
    there.sort(key=lambda one: (one.start_ns, -one.end_ns))
    open_: dict[int, list[int]] = {}
    outer = set()
    for place, one in enumerate(there):
        around = open_.setdefault(one.thread, [])
        while around and there[around[-1]].end_ns <= one.start_ns:
            around.pop()
        outer.update(around)
        around.append(place)
    names = [
        _COMPILED.sub("compiled graph", one.name).removeprefix("aten::")
        for place, one in enumerate(there)
        if roles[one.name] is Role.WORKER or place not in outer
    ]
    return _counted(names)


@cache
def role_in_torch(name: str) -> Role | None:
    """The role of an operator of this torch by its name, such as "aten::addmm"; None for what is no operator.

    A view is recognised by its schema: what it returns is its argument, and is not written to.
    """
    import torch

    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001  # there is no public way
    if _COMPILED.fullmatch(name):
        return Role.WORKER
    space, colons, plain = name.partition("::")
    if not colons or not plain.isidentifier() or not space.isidentifier():
        return None
    packet = getattr(getattr(torch.ops, space), plain, None)
    if packet is None:
        return None
    if _IDLE.match(name):
        return Role.IDLE
    if plain.endswith("_backward"):  # convolution_backward also calls a sum, and works itself
        return Role.WORKER
    own = idle = False
    for overload in packet.overloads():
        try:
            one = getattr(packet, overload)
            own = own or ("out" not in overload and has_kernel(one.name(), "CPU"))
        except (AttributeError, RuntimeError):  # an overload of TorchScript alone, which the dispatcher does not know
            continue
        alias = [returned.alias_info for returned in one._schema.returns]  # noqa: SLF001  # there is no public way
        view = bool(alias) and all(info is not None and not info.is_write for info in alias)
        idle = idle or view or torch.Tag.inplace_view in one.tags
    return Role.IDLE if idle else Role.WORKER if own else Role.WRAPPER


def kernels(events: Iterable[Event]) -> dict[str, int]:
    """The kernels, copies and fills that ran on a device, by their normalised names, and how often each was launched.

    Named ranges that are shown over the device's time line launch nothing.
    """
    there = sorted((one for one in events if one.on_device and not one.annotation), key=lambda one: one.start_ns)
    return _counted(kernel_name(one.name) for one in there)


def _counted(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def kernel_name(name: str) -> str:
    """A kernel's name without what says nothing or differs from build to build.

    Return type, arguments, common namespaces and the numbers of lambdas go; template arguments stay, since they tell a
    product from a sum. Numbers that Triton's compiler appends, digests of cuDNN's generated kernels and of nvcc's
    anonymous namespaces go as well.
    """
    name = re.sub(r"_GLOBAL__N__[0-9a-f]+_\d+_\w+?_cu_[0-9a-f]+(_\d+)?::", "", name.strip())
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    before = None
    while before != name:  # lambdas stand within lambdas
        before = name
        name = re.sub(r"\{lambda\([^(){}]*\)#\d+\}", "lambda", name)
        name = re.sub(r"::operator\(\)\([^()]*\)( const)?(::lambda)?", "", name)
    name = _without_arguments(name)
    name = re.sub(r"\b(at::native::|at::cuda::|at::|std::__1::|std::|c10::)", "", name)
    if name.startswith("triton_"):
        name = re.sub(r"(_\d[\dcde]*)+$", "", name)
    name = re.sub(r"_(?=[0-9a-f]*\d)[0-9a-f]{8,}(?![0-9A-Za-z])", "_#", name)
    name = re.sub(r"\s*,\s*", ",", re.sub(r"\s+", " ", name))
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}~{digest}"


def _without_arguments(name: str) -> str:
    """A demangled name up to its arguments: the first bracket outside of template arguments."""
    if re.match(r"Mem(cpy|set) ", name):
        return name
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and place > 0:
            return name[:place].rstrip()
    return name


def batch_norm_backend(events: Iterable[Event]) -> str | None:
    """The backend that ran batch norm, several joined by "+"; None if no batch norm was seen."""
    events = list(events)
    host = {one.name for one in events if not one.on_device}
    found = {backend for name in host for start, backend in _BY_OPERATOR.items() if name.startswith(start)}
    if not found and any(name.startswith(_CHOOSING) for name in host):
        found = {"native"}
    if not found:
        device = {kernel_name(one.name) for one in events if one.on_device and not one.annotation}
        found = {backend for name in device for backend in _of_kernel(name)}
    return "+".join(sorted(found)) or None


def _of_kernel(name: str) -> list[str]:
    return [backend for pattern, backend in _BY_KERNEL if pattern.search(name)][:1]
