"""torch.cuda and torch.accelerator as they are with GPUs: every public name is answered here, or raises."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch

from fakecuda import faults, graphs, mode, random_state, streams
from fakecuda.marks import LEDGER, total_bytes

#: The UUIDs that the NVML stub knows, without their prefix.
UUIDS = ("1234", "1299")
NAME = "NVIDIA Stub 1"
CLOCK_MHZ = 1980
#: So few that the compute-bound control is a product that a CPU computes in milliseconds.
MULTIPROCESSORS = 2


class NotRehearsedError(NotImplementedError):
    """A part of torch.cuda that this package does not know."""


class State:
    """The number of GPUs and the current one."""

    gpus = 1
    current = 0
    #: What touched a GPU first: "set_device", or what else.
    touched: ClassVar[list[str]] = []


class device:  # noqa: N801  # torch's name
    """Makes a GPU the current one inside."""

    def __init__(self, which: Any) -> None:
        self.idx = random_state.index(which)
        self._before = 0

    def __enter__(self) -> None:
        self._before, State.current = State.current, self.idx

    def __exit__(self, *_: object) -> None:
        State.current = self._before


def _index(which: Any = None) -> int:
    return State.current if which is None else random_state.index(which)


def set_device(which: Any) -> None:
    """Makes a GPU the current one, and its context."""
    _touched("set_device")
    if _index(which) >= State.gpus:
        raise faults.error("invalid device ordinal", 101)
    State.current = _index(which)


def synchronize(which: Any = None) -> None:
    _touched("synchronize")
    streams.wait("synchronize")


def empty_cache() -> None:
    LEDGER.empty_cache()


def _touched(how: str) -> None:
    faults.touch()
    State.touched.append(how)
    del State.touched[100:]


def get_device_properties(which: Any = None) -> types.SimpleNamespace:
    _touched("get_device_properties")
    return types.SimpleNamespace(
        name=NAME,
        uuid=UUIDS[_index(which)],
        major=9,
        minor=0,
        total_memory=total_bytes(),
        multi_processor_count=MULTIPROCESSORS,
        L2_cache_size=60 << 20,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=65536,
        shared_memory_per_block_optin=232448,
        shared_memory_per_multiprocessor=233472,
        clock_rate=CLOCK_MHZ * 1000,
        memory_clock_rate=2619000,
        memory_bus_width=5120,
        is_integrated=0,
        is_multi_gpu_board=0,
        pci_bus_id=1 + _index(which),
        pci_device_id=0,
        pci_domain_id=0,
        gcnArchName="",
    )


def mem_get_info(which: Any = None) -> tuple[int, int]:
    _touched("mem_get_info")
    return total_bytes() - LEDGER.reserved_bytes(_index(which)), total_bytes()


def memory_allocated(which: Any = None) -> int:
    return LEDGER.live_bytes(_index(which))


def max_memory_allocated(which: Any = None) -> int:
    return LEDGER.peak_bytes(_index(which))


def memory_reserved(which: Any = None) -> int:
    return LEDGER.reserved_bytes(_index(which))


def reset_peak_memory_stats(which: Any = None) -> None:
    LEDGER.reset_peak(_index(which))


def memory_stats(which: Any = None) -> dict[str, int]:
    gpu = _index(which)
    return {
        "allocated_bytes.all.current": LEDGER.live_bytes(gpu),
        "allocated_bytes.all.peak": LEDGER.peak_bytes(gpu),
        "reserved_bytes.all.current": LEDGER.reserved_bytes(gpu),
        "reserved_bytes.all.peak": LEDGER.reserved_bytes(gpu),
        "num_alloc_retries": 0,
        "num_ooms": 0,
    }


def _sleep(cycles: int) -> None:
    """Holds the queue back until the host waits, however many cycles: no time of it is a GPU's."""
    faults.check("kernel")
    streams.State.held = True


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


@contextlib.contextmanager
def _plain_context(*_: Any, **__: Any) -> Iterator[None]:
    yield


#: Every public name of torch.cuda that may be used.
FAKES: dict[str, Any] = {
    "is_available": lambda: True,
    "is_initialized": lambda: bool(State.touched),
    "init": lambda: _touched("init"),
    "_lazy_init": lambda: _touched("_lazy_init"),
    "_lazy_call": lambda call, **_: call(),
    "_sleep": _sleep,
    "device_count": lambda: State.gpus,
    "current_device": lambda: State.current,
    "set_device": set_device,
    "device": device,
    "device_of": _plain_context,
    "synchronize": synchronize,
    "get_device_name": lambda which=None: NAME,
    "get_device_capability": lambda which=None: (9, 0),
    "get_device_properties": get_device_properties,
    "get_arch_list": lambda: ["sm_90"],
    "is_bf16_supported": lambda including_emulation=True: True,
    "is_tf32_supported": lambda: True,
    "can_device_access_peer": lambda one, other: True,
    "clock_rate": lambda which=None: CLOCK_MHZ,
    "temperature": lambda which=None: 45,
    "power_draw": lambda which=None: 650500,
    "utilization": lambda which=None: 0,
    "mem_get_info": mem_get_info,
    "empty_cache": empty_cache,
    "memory_allocated": memory_allocated,
    "max_memory_allocated": max_memory_allocated,
    "memory_reserved": memory_reserved,
    "max_memory_reserved": memory_reserved,
    "reset_peak_memory_stats": reset_peak_memory_stats,
    "reset_accumulated_memory_stats": _nothing,
    "memory_stats": memory_stats,
    "get_allocator_backend": lambda: "native",
    "ipc_collect": _nothing,
    "Event": streams.Event,
    "Stream": streams.Stream,
    "stream": streams.stream,
    "current_stream": streams.current_stream,
    "default_stream": streams.default_stream,
    "set_stream": streams.set_stream,
    "set_sync_debug_mode": streams.set_sync_debug_mode,
    "get_sync_debug_mode": streams.get_sync_debug_mode,
    "CUDAGraph": graphs.CUDAGraph,
    "graph": graphs.graph,
    "make_graphed_callables": graphs.make_graphed_callables,
    "graph_pool_handle": graphs.graph_pool_handle,
    "is_current_stream_capturing": graphs.is_current_stream_capturing,
    "get_rng_state": random_state.get_rng_state,
    "set_rng_state": random_state.set_rng_state,
    "get_rng_state_all": lambda: [random_state.get_rng_state(gpu) for gpu in range(State.gpus)],
    "manual_seed": random_state.manual_seed,
    "manual_seed_all": random_state.manual_seed_all,
    "seed": lambda: random_state.manual_seed(torch.seed()),
    "initial_seed": lambda: random_state.DEFAULT_SEED,
}
ACCELERATOR: dict[str, Any] = {
    "is_available": lambda: True,
    "device_count": lambda: State.gpus,
    "current_device_index": lambda: State.current,
    "current_accelerator": lambda check_available=False: torch.device("cuda"),
    "current_stream": streams.current_stream,
    "synchronize": synchronize,
    "set_device_index": set_device,
    "empty_cache": empty_cache,
    "memory_allocated": memory_allocated,
    "max_memory_allocated": max_memory_allocated,
    "memory_reserved": memory_reserved,
    "max_memory_reserved": memory_reserved,
    "reset_peak_memory_stats": reset_peak_memory_stats,
}


def _unknown(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotRehearsedError(f"{name} is not part of the rehearsal: give it an answer in tests/fakecuda/runtime.py")

    refuse.__name__ = name.rpartition(".")[2]
    refuse.__wrapped__ = refuse  # torch._dynamo looks at what some names wrap
    return refuse


def install(gpus: int) -> None:
    """Replaces torch.cuda and torch.accelerator, and lays the modes over this thread."""
    State.gpus = gpus
    for module, fakes in ((torch.cuda, FAKES), (torch.accelerator, ACCELERATOR)):
        for name in dir(module):
            found = getattr(module, name)
            public = not name.startswith("_") and isinstance(found, types.FunctionType)
            if public and name not in fakes and getattr(found, "__module__", "").startswith("torch."):
                setattr(module, name, _unknown(f"{module.__name__}.{name}"))
        for name, fake in fakes.items():
            setattr(module, name, fake)
    torch.cuda.REHEARSAL = True
    _patch_autocast()
    _patch_load()
    mode.enter()


def _patch_autocast() -> None:
    """Has `autocast("cuda")` cast on the CPU; its list of operators is another one."""
    from torch.amp import autocast_mode

    plain = autocast_mode.autocast.__init__

    def init(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        plain(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    autocast_mode.autocast.__init__ = init  # type: ignore[method-assign]


def _patch_load() -> None:
    """Has a file that is loaded land where `map_location` says."""
    plain = torch.load

    def load(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
        gpu = mode.gpu_named(map_location)
        out = plain(*args, map_location="cpu" if gpu is not None else map_location, **kwargs)
        return out if gpu is None else mode._made(out, gpu)

    torch.load = load
