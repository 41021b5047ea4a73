"""What torch's functions are told of a GPU, and what they answer.

Two modes lie over torch: `Functions` sees calls from Python, where a device is an argument or an answer; `Kernels` sees
what is computed, backward passes too, where tensors of two devices meet, and where the host waits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fakecuda import faults, graphs, random_state, streams, sync_norm
from fakecuda.marks import LEDGER, gpus_of, same_storage, tensors

aten = torch.ops.aten

#: Kernels that take tensors of two devices.
CROSSING = {
    aten.copy_,
    aten._to_copy,
    aten.set_,
    aten.index,
    aten.index_put,
    aten.index_put_,
    aten._index_put_impl_,
    aten._has_compatible_shallow_copy_type,
}
#: Kernels that make the host wait for their result.
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.equal,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.is_nonzero,
}
#: Functions of Python that wait and are no kernel of their own.
WAITING_FUNCTIONS = {"tolist", "numpy", "__array__", "cpu"}
#: Functions that read a device and are left alone.
LEFT_ALONE = {"__repr__", "__format__", "_parse_to"}


def gpu_named(value: Any) -> int | None:
    """Returns the number of the GPU that an argument names, without a number the current one; None for no GPU."""
    if isinstance(value, torch.device):
        return _or_current(value.index) if value.type == "cuda" else None
    if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")):
        number = value.partition(":")[2]
        return _or_current(int(number) if number else None)
    return None


def _or_current(index: int | None) -> int:
    return torch.cuda.current_device() if index is None else index


def _names_cpu(value: Any) -> bool:
    return value == "cpu" if isinstance(value, str) else isinstance(value, torch.device) and value.type == "cpu"


class _ToGpu(torch.autograd.Function):
    """A copy on a GPU, whose gradient comes back to where the tensor was."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gpu: int) -> torch.Tensor:
        ctx.before = LEDGER.where(x)
        y = x.clone()
        LEDGER.unmark(y)
        LEDGER.mark(y, gpu)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _moved(dy, ctx.before), None


class _ToCpu(torch.autograd.Function):
    """A copy on the CPU, whose gradient goes back to the GPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.before = LEDGER.where(x)
        y = x.clone()
        LEDGER.unmark(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor]:
        return (_moved(dy, ctx.before),)


def _moved(x: torch.Tensor, gpu: int | None) -> torch.Tensor:
    """Returns a tensor on a GPU, or on the CPU: itself, or a copy."""
    before = LEDGER.where(x)
    if before == gpu:
        return x
    if gpu is None:
        streams.implicit_wait("copy to the host")
        return _ToCpu.apply(x)
    faults.touch()
    return _ToGpu.apply(x, gpu)


class Functions(TorchFunctionMode):
    """Calls from Python: a device that is named, and one that is asked for."""

    def __torch_function__(  # noqa: PLR0911  # one line for each kind of call
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return _property(func, args, kwargs)
        if name in LEFT_ALONE or func is torch.device:
            return func(*args, **kwargs)
        if name == "get_device" and args and (gpu := LEDGER.where(args[0])) is not None:
            return gpu
        if name == "cuda":
            target = next((gpu_named(one) for one in (*args[1:], *kwargs.values()) if gpu_named(one) is not None), None)
            return _moved(args[0], _or_current(target))
        if (
            name in WAITING_FUNCTIONS
            and args
            and isinstance(args[0], torch.Tensor)
            and LEDGER.where(args[0]) is not None
        ):
            if name in {"numpy", "__array__"}:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
            streams.implicit_wait(name)
            return _ToCpu.apply(args[0]) if name == "cpu" else func(*args, **kwargs)
        if name == "__deepcopy__":  # it copies the storage, which no kernel sees
            return _made(func(*args, **kwargs), LEDGER.where(args[0]))
        return _with_device(func, name, args, kwargs)


def _property(func: Any, args: Any, kwargs: Any) -> Any:
    """Returns a property of a tensor; those that tell its device are answered."""
    owner = getattr(func, "__self__", None)
    asked = getattr(owner, "__name__", "")
    if asked in {"device", "is_cuda", "is_cpu"}:
        gpu = LEDGER.where(args[0])
        if asked == "device":
            return func(*args, **kwargs) if gpu is None else torch.device("cuda", gpu)
        return (gpu is not None) is (asked == "is_cuda") if func(*args, **kwargs) is not None else None
    return func(*args, **kwargs)


def _with_device(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """Calls a function whose arguments may name a device: it works on the CPU, and its result is marked."""
    named = [*args, kwargs.get("device")]
    gpu = next((found for one in named if (found := gpu_named(one)) is not None), None)
    to_cpu = gpu is None and name in {"to", "to_empty"} and any(map(_names_cpu, named))
    to_cpu = to_cpu or (gpu is None and _names_cpu(kwargs.get("device")))
    if gpu is None and not to_cpu:
        if name == "to" and len(args) > 1 and isinstance(args[1], torch.Tensor):  # as another tensor is
            out = func(*args, **kwargs)
            return _moved(out, LEDGER.where(args[1]))
        return func(*args, **kwargs)
    if gpu is not None:
        faults.touch()
        if gpu >= torch.cuda.device_count():
            raise faults.error("invalid device ordinal", 101)
    args = tuple("cpu" if gpu_named(one) is not None else one for one in args)
    if gpu_named(kwargs.get("device")) is not None:
        kwargs["device"] = "cpu"
    if isinstance(kwargs.get("generator"), torch.Generator) and gpu is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    source = next(tensors(list(args)), None)
    if gpu is not None and source is None:  # it makes a tensor
        with random_state.drawing(gpu):
            return _made(func(*args, **kwargs), gpu)
    before = None if source is None else LEDGER.where(source)
    if source is not None and before != gpu and name == "to":
        moved = _moved(source, gpu)
        out = func(moved, *args[1:], **kwargs)
        return out if gpu is None else _made(out, gpu)
    out = func(*args, **kwargs)
    return _made(out, gpu)


def _made(out: Any, gpu: int | None) -> Any:
    """Puts what was made where it was to be made."""
    for one in tensors(out):
        if LEDGER.where(one) != gpu:
            LEDGER.unmark(one)
            if gpu is not None:
                LEDGER.mark(one, gpu)
    return out


class Kernels(TorchDispatchMode):
    """Everything that is computed: results are where the arguments are."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Returns False: to be skipped, torch would import all of torch._dynamo with the first kernel."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [*tensors(list(args)), *tensors(kwargs)]
        on = gpus_of(given)
        if not on:
            return func(*args, **kwargs)
        packet = func.overloadpacket
        faults.check("kernel")
        if (
            func._overloadname == "out"
            and isinstance(kwargs.get("out"), torch.Tensor)
            and LEDGER.where(kwargs["out"]) is None
        ):
            LEDGER.mark(kwargs["out"], min(on))  # a bucket of DDP, which C++ has made
        if packet not in CROSSING:
            _require_one_device(func, given, on)
        if packet in WAITING:
            streams.implicit_wait(func.name())
        if packet is aten.copy_ and LEDGER.where(args[0]) is None:
            streams.implicit_wait("copy to the host")
            return func(*args, **kwargs)
        gpu = min(on)
        compute = sync_norm.KERNELS.get(packet, func)
        if streams.State.captures:
            out = streams.State.captures[-1].run(func, compute, args, kwargs)
        elif torch.Tag.nondeterministic_seeded in func.tags:
            with random_state.drawing(gpu):
                out = compute(*args, **kwargs)
        else:
            out = compute(*args, **kwargs)
        for one in tensors(out):
            if not any(same_storage(one, old) for old in given):
                LEDGER.mark(one, gpu)
        return out


def _require_one_device(func: Any, given: list[torch.Tensor], on: set[int]) -> None:
    """Raises as torch does where tensors of two devices meet; a number on the CPU may be anywhere."""
    stray = [one for one in given if one.dim() > 0 and LEDGER.where(one) is None]
    if stray or len(on) > 1:
        names = [*(f"cuda:{gpu}" for gpu in sorted(on)), *(["cpu"] if stray else [])]
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(names[:2])}! (when checking an argument of {func.name()})"
        )


def enter() -> None:
    """Lays both modes over this thread, for good."""
    graphs.learn(tensors)
    Kernels().__enter__()
    Functions().__enter__()
