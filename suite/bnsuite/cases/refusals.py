"""Kinds of input that an implementation refuses: found by one forward pass of each, and the reason of a skipped case.

Nothing is tried before a case fails. A kind counts as refused if the layer raises on a tiny, healthy input of it that
torch's own layer accepts; the cases of that kind are SKIPPED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from bnsuite.cases import support
from bnsuite.cases.support import PLACES, RANKS, Declaration, Kind, kind_of

if TYPE_CHECKING:
    import torch
    from torch import nn

Factory = Callable[..., "nn.Module"]

CHANNELS = 4
#: Inputs of every rank. All sizes are even: a layer that fails on an odd number of samples is faulty.
SHAPES: dict[int, tuple[int, ...]] = {
    2: (8, CHANNELS),
    3: (4, CHANNELS, 6),
    4: (4, CHANNELS, 2, 6),
    5: (4, CHANNELS, 2, 2, 4),
}
#: Arguments that are tried, each alone.
FLAGS: tuple[tuple[str, Any], ...] = (
    ("affine", False),
    ("track_running_stats", False),
    ("momentum", None),
    ("momentum", 0.3),
    ("eps", 1e-3),
)
#: The words for an implementation that accepts nothing.
EVERYTHING = "every input"
#: Letters of an exception's message that a reason shows.
MAX_SAID = 200


@dataclass(frozen=True)
class Refusal:
    """A kind that is refused, in words, and the exception in one line."""

    what: str
    error: str

    @property
    def reason(self) -> str:
        """The reason of a skipped case."""
        return f"refuses {self.what}: {self.error}"


def said(error: BaseException) -> str:
    """Returns an exception in one line."""
    first = next(iter(str(error).strip().splitlines()), "")[:MAX_SAID]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def tiny(kind: Kind, device: str) -> torch.Tensor:
    """Returns an input of a kind with shape SHAPES[kind.rank], neither centred nor of unit variance."""
    import torch

    shape = SHAPES[kind.rank]
    made = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 0.5
    return laid_out(made.to(device, getattr(torch, kind.dtype)), kind.layout)


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """Returns `x`, (N, C, ...), contiguous, with channels last, or as a part of a larger tensor."""
    if layout == "channels-last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "strided":
        wide = x.new_zeros(*x.shape[:-1], x.shape[-1] + 1)
        wide[..., 1:] = x
        return wide[..., 1:]
    return x.contiguous()


class Probes:
    """Forward passes of an implementation on a device, each made once."""

    def __init__(self, make: Factory, device: str, own: Callable[..., nn.Module]) -> None:
        self._make, self._device, self._own = make, device, own
        self.error_of = cache(self._error_of)

    def _error_of(self, kind: Kind) -> str | None:
        """Returns the exception that the implementation raises on a kind which torch's layer accepts, or None."""
        error = self._outcome(self._make, kind)
        if error is None or self._outcome(lambda *given, **named: self._own(kind.dims, *given, **named), kind):
            return None
        return error

    def _outcome(self, make: Factory, kind: Kind) -> str | None:
        """Returns the exception of a forward pass, or None; parameters are float32, or of the input's type."""
        errors = [self._forward(make, kind, "float32"), self._forward(make, kind, kind.dtype)]
        return None if None in errors else errors[0]

    def _forward(self, make: Factory, kind: Kind, parameters: str) -> str | None:
        import torch

        try:
            layer = make(CHANNELS, **dict(kind.flags)).to(self._device, getattr(torch, parameters)).train()
            with torch.no_grad():
                layer(tiny(kind, self._device))
        except Exception as error:  # noqa: BLE001  # whatever the implementation refuses by
            return said(error)
        return None

    @cached_property
    def base(self) -> Kind | None:
        """The plainest kind that is accepted, or None if every kind is refused."""
        return self.plainest(Declaration())

    def plainest(self, declared: Declaration) -> Kind | None:
        """Returns the plainest kind that is declared and accepted, or None if there is none."""
        ranks, dtypes, layouts = (4, 2, 3, 5), ("float32", "float64", "float16", "bfloat16"), support.WORDS["layouts"]
        kinds = (Kind(rank=r, dtype=d, layout=one) for one, d, r in product(layouts, dtypes, ranks))
        return next((kind for kind in kinds if declared.lacks(kind) is None and self.takes(kind)), None)

    def takes(self, kind: Kind) -> bool:
        """Returns True if both the implementation and torch's layer accept a kind."""
        return self.error_of(kind) is None and self.torch_takes(kind)

    def torch_takes(self, kind: Kind) -> bool:
        """Returns True if torch's own layer accepts a kind."""
        return self._outcome(lambda *given, **named: self._own(kind.dims, *given, **named), kind) is None

    def refusal(self, kind: Kind) -> Refusal | None:
        """Returns the refusal that a kind falls under, in the plainest terms; None if it is accepted, or by no layer.

        First comes what alone is refused (a rank, a type, a layout, an argument), then the kind as a whole.
        """
        error = self.error_of(kind) if kind.rank in SHAPES else None
        if error is None:
            return None
        base = self.base
        if base is None:
            return Refusal(EVERYTHING, self.error_of(Kind()) or error)
        for what, alone in self._parts(base, kind):
            if found := self.error_of(alone):
                return Refusal(what, found)
        flags = "".join(f" with {name}={value}" for name, value in kind.flags)
        return Refusal(f"{PLACES[kind.rank]} {kind.layout} {kind.dtype} input{flags}", error)

    def _parts(self, base: Kind, kind: Kind) -> Iterator[tuple[str, Kind]]:
        """Yields the words of each way in which `kind` differs from `base`, and `base` with that alone."""
        whole = all(self.error_of(replace(base, rank=rank)) for rank in RANKS[kind.dims])
        yield (
            f"{kind.dims}-dimensional" * whole + PLACES[kind.rank] * (not whole) + " input",
            replace(base, rank=kind.rank),
        )
        yield f"{kind.dtype} input", replace(base, dtype=kind.dtype)
        yield f"{kind.layout} input", replace(base, layout=kind.layout)
        for flag in kind.flags:
            yield f"{flag[0]}={flag[1]}", replace(base, flags=(flag,))

    def all(self, declared: Declaration) -> tuple[Refusal, ...]:
        """Returns the refusals of declared ranks, types, layouts and arguments, each alone.

        It is one if everything is refused.
        """
        base = self.plainest(declared)
        if base is None:
            return (Refusal(EVERYTHING, self.error_of(Kind()) or "it is not declared, or torch refuses it as well"),)
        kinds = [
            *(replace(base, rank=rank) for rank in SHAPES),
            *(replace(base, dtype=dtype) for dtype in support.WORDS["dtypes"]),
            *(replace(base, layout=layout) for layout in support.WORDS["layouts"]),
            *(replace(base, flags=(flag,)) for flag in FLAGS),
        ]
        wanted = (kind for kind in kinds if declared.lacks(kind) is None)
        found = filter(None, map(self.refusal, wanted))
        return tuple({one.what: one for one in found}.values())


@dataclass
class Watch:
    """The kinds that layers of an implementation were given, as far as they are refused or not declared."""

    declared: Declaration
    probes: Probes
    reasons: list[str]

    def look(self, kind: Kind) -> None:
        """Notes a kind that cases are skipped for."""
        undeclared = self.declared.lacks(kind)
        if undeclared is not None and self.probes.torch_takes(kind):
            self.reasons.append(undeclared)
        elif found := self.probes.refusal(kind):
            self.reasons.append(found.reason)


@contextmanager
def watched(watch: Watch, made: WeakKeyDictionary[nn.Module, tuple[tuple[str, Any], ...]]) -> Iterator[None]:
    """Has `watch` look at every input of the layers in `made`, and of copies of them, and end the pass at a bad one."""
    import torch
    from torch.nn.modules import module

    types: set[type] = set()

    def look(layer: nn.Module, given: tuple[Any, ...]) -> None:
        types.update(type(one) for one in made)
        if not given or not isinstance(given[0], torch.Tensor) or type(layer) not in types:
            return
        x = given[0].detach()
        if x.numel() == 0 or x.dim() not in SHAPES or not x.is_floating_point():
            return
        watch.look(kind_of(x, made.get(layer, ())))
        if watch.reasons:
            raise support.UndeclaredError(watch.reasons[0])

    handle = module.register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


def first(probes: Probes, kinds: Iterable[Kind]) -> str | None:
    """Returns the reason why a case with these kinds is skipped, if one of them is refused."""
    found = (probes.refusal(kind) for kind in kinds)
    return next((one.reason for one in found if one is not None), None)
