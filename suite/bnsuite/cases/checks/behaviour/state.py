"""Family ``state``: states that are saved, loaded and copied, also of older versions; lazy layers."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import layer_step, randomize_state, step_against_float64
from bnsuite.cases.checks.material.outcomes import outcome_of
from bnsuite.cases.checks.material.states import same_state, same_steps, snapshot

if TYPE_CHECKING:
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5), 2: (6, 5, 3, 4), 3: (4, 5, 2, 3, 2)}
KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
FLAGS = {
    f"affine={'on' if affine else 'off'}/tracking={'on' if tracked else 'off'}": {
        "affine": affine,
        "track_running_stats": tracked,
    }
    for affine, tracked in product((True, False), repeat=2)
}
#: Batches that the layers have counted.
COUNTED = 736839


def _used(subject: Subject, dimensions: int, *, seed: int = 7, **options: Any) -> nn.Module:
    """Returns a layer that has counted batches, with nothing left at its default."""
    layer = randomize_state(subject.batch_norm(dimensions, 5, **options), seed)
    for counter in (one for name, one in layer.named_buffers() if name == KEYS[-1]):
        counter.fill_(COUNTED + seed)
    return layer


def _through_bytes(state: dict[str, Any]) -> Any:
    import torch

    stream = io.BytesIO()
    torch.save(state, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=True)


def load(layer: nn.Module, state: Any, *, strict: bool = True, **options: Any) -> str:
    """Returns the outcome of ``load_state_dict``: "loaded", with missing and unexpected keys, or an error."""
    try:
        answer = layer.load_state_dict(state, strict=strict, **options)
    except Exception as error:  # noqa: BLE001  # an error is what is looked at
        gpu_errors.note(error)
        return type(error).__name__
    told = [f"{word} {'+'.join(keys)}" for word, keys in zip(("missing", "unexpected"), answer, strict=True) if keys]
    return " ".join(("loaded", *told))


def _round_trip(subject: Subject, *, dimensions: int, options: dict[str, bool], dtype: str) -> Iterator[Observation]:
    import torch

    layer = _used(subject, dimensions, **options).to(getattr(torch, dtype))
    saved = layer.state_dict()
    kept = [name for name in KEYS if options["affine" if name in {"weight", "bias"} else "track_running_stats"]]
    yield Observation("keys", "+".join(saved) or "none", expected="+".join(kept) or "none")
    own = getattr(torch, dtype)
    reference_step = all(one.dtype == (torch.int64 if name == KEYS[-1] else own) for name, one in saved.items())
    yield Observation("dtypes", "the layer's" if reference_step else "other", expected="the layer's")
    shapes = {tuple(value.shape) for name, value in saved.items() if name != KEYS[-1]}
    yield Observation("shapes", "one a channel" if shapes <= {(5,)} else str(shapes), expected="one a channel")
    for how, through in (("itself", dict), ("copied", copy.deepcopy), ("saved", _through_bytes)):
        other = _used(subject, dimensions, seed=8, **options).to(getattr(torch, dtype))
        given: Any = through(saved)
        before = {name: value.clone() for name, value in given.items()}
        yield Observation(f"{how}/load", load(other, given), expected="loaded")
        yield Observation(f"{how}/state", same_state(snapshot(other), before), expected="same")
        other.train()
        layer_step(
            other, subject.randn(*SHAPES[dimensions], dtype=dtype), subject.randn(*SHAPES[dimensions], dtype=dtype)
        )
        yield Observation(f"{how}/what was loaded from", same_state(given, before), expected="same")
        load(other, given)
        steps = same_steps(subject, copy.deepcopy(layer), other, dimensions)
        yield Observation(f"{how}/steps", steps, expected="same")


def _version_1(subject: Subject, *, dimensions: int, nested: bool, tracked: bool) -> Iterator[Observation]:
    """States without a counter, which torch wrote before 0.4.1: it keeps what it counted."""
    from torch import nn

    for name, metadata in {"1": {"version": 1}, "absent": None, "empty": {}}.items():
        source, layer = (_used(subject, dimensions, seed=seed, track_running_stats=tracked) for seed in (7, 8))
        prefix, net = ("0.", nn.Sequential(layer)) if nested else ("", layer)
        without = {key: value for key, value in snapshot(source).items() if key != KEYS[-1]}
        state: Any = OrderedDict((prefix + key, value) for key, value in without.items())
        if metadata is not None:
            state._metadata = OrderedDict({"": metadata, prefix.removesuffix("."): metadata})  # noqa: SLF001
        yield Observation(f"version {name}/load", load(net, state), expected="loaded")
        now = snapshot(layer)
        yield Observation(f"version {name}/state", same_state(now, {**now, **without}), expected="same")
        word = str(int(now[KEYS[-1]])) if tracked else "none"
        yield Observation(f"version {name}/counted", word, expected=str(COUNTED + 8) if tracked else "none")


def _partial(subject: Subject, *, dimensions: int, nested: bool) -> Iterator[Observation]:
    """States that lack something or have too much."""
    import torch
    from torch import nn

    def made(seed: int) -> tuple[nn.Module, nn.Module]:
        layer = _used(subject, dimensions, seed=seed)
        return layer, nn.Sequential(layer) if nested else layer

    full = made(7)[1].state_dict()
    prefix = "0." if nested else ""
    empty: Any = OrderedDict()
    versioned: Any = OrderedDict()
    versioned._metadata = getattr(full, "_metadata", None)  # noqa: SLF001
    odd: dict[str, Any] = {"{}": {}, "empty": empty, "empty with metadata": versioned}
    for name, state in odd.items():
        layer, net = made(8)
        before = snapshot(layer)
        yield Observation(f"{name}/strict", load(net, state), expected="RuntimeError")
        yield Observation(f"{name}/strict/state", same_state(snapshot(layer), before), expected="same")
        outcome = load(net, copy.copy(state), strict=False)
        yield Observation(f"{name}/not strict", outcome.split()[0], expected="loaded")
        yield Observation(f"{name}/not strict/state", same_state(snapshot(layer), before), expected="same")
    for key in KEYS:
        without = copy.copy(full)
        del without[prefix + key]
        layer, net = made(8)
        before = snapshot(layer)
        yield Observation(f"without {key}/strict", load(net, without), expected="RuntimeError")
        layer, net = made(8)
        told = f"loaded missing {prefix}{key}"
        yield Observation(f"without {key}/not strict", load(net, without, strict=False), expected=told)
        word = "kept" if torch.equal(snapshot(layer)[key], before[key]) else "overwritten"
        yield Observation(f"without {key}/not strict/{key}", word, expected="kept")
        layer, net = made(8)
        short = {**full, prefix + key: torch.ones(4)}
        yield Observation(f"short {key}", load(net, short, strict=False), expected="RuntimeError")
    layer, net = made(8)
    more = {**full, f"{prefix}other": torch.ones(5)}
    yield Observation("more/strict", load(net, more), expected="RuntimeError")
    yield Observation("more/not strict", load(net, more, strict=False), expected=f"loaded unexpected {prefix}other")


def _other_flags(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """States of layers with other flags: what is not there is missing, what has no place is too much."""
    for (name, given), (other, taken) in product(FLAGS.items(), repeat=2):
        state = _used(subject, dimensions, **given).state_dict()
        layer = _used(subject, dimensions, seed=8, **taken)
        due = "loaded" if given == taken else "RuntimeError"
        yield Observation(f"{name} into {other}/strict", load(layer, state), expected=due)
        loose = load(layer, state, strict=False).split()[0]
        yield Observation(f"{name} into {other}/not strict", loose, expected="loaded")


def _dtypes(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Checks that the precision is the layer's, unless loaded tensors replace it; the counter stays an integer."""
    import torch

    names = ("float64", "float32", "bfloat16", "float16")
    for stored, own in product(names, repeat=2):
        state = _used(subject, dimensions).to(getattr(torch, stored)).state_dict()
        for assign in (False, True):
            layer = _used(subject, dimensions, seed=8).to(getattr(torch, own))
            yield Observation(
                f"{stored} into {own}/assign={assign}", load(layer, state, assign=assign), expected="loaded"
            )
            found = sorted({str(value.dtype).removeprefix("torch.") for value in layer.state_dict().values()})
            due = sorted({stored if assign else own, "int64"})
            yield Observation(f"{stored} into {own}/assign={assign}/dtypes", "+".join(found), expected="+".join(due))
            counted = str(int(layer.state_dict()[KEYS[-1]]))
            yield Observation(f"{stored} into {own}/assign={assign}/counted", counted, expected=str(COUNTED + 7))


def _copies(subject: Subject, *, dimensions: int, options: dict[str, bool], training: bool) -> Iterator[Observation]:
    """Compares copies with the layer, and checks that they share no state."""
    layer = _used(subject, dimensions, **options).train(training)

    ways: dict[str, Callable[[], Any]] = {
        "deepcopy": lambda: copy.deepcopy(layer),
        "pickle": lambda: pickle.loads(pickle.dumps(layer)),  # noqa: S301
        "deepcopy after a step": lambda: copy.deepcopy(stepped()),
    }

    def stepped() -> nn.Module:
        layer_step(layer, subject.randn(*SHAPES[dimensions]), subject.randn(*SHAPES[dimensions], seed=1))
        return layer

    for name, way in ways.items():
        try:
            other = way()
        except (pickle.PicklingError, AttributeError) as error:  # a class made inside a function has no name
            yield Observation(f"{name}/outcome", type(error).__name__, expected="copied")
            continue
        yield Observation(f"{name}/outcome", "copied", expected="copied")
        yield Observation(f"{name}/state", same_state(snapshot(other), snapshot(layer)), expected="same")
        yield Observation(f"{name}/training", str(other.training), expected=str(training))
        shared = {t.data_ptr() for t in layer.state_dict().values()} & {
            t.data_ptr() for t in other.state_dict().values()
        }
        yield Observation(f"{name}/tensors", "shared" if shared else "its own", expected="its own")
        before = snapshot(layer)
        other.train()
        layer_step(other, subject.randn(*SHAPES[dimensions]), subject.randn(*SHAPES[dimensions], seed=1))
        yield Observation(f"{name}/after a step", same_state(snapshot(layer), before), expected="same")
        other = way()
        steps = same_steps(subject, copy.deepcopy(layer), other, dimensions)
        yield Observation(f"{name}/steps", steps, expected="same")


def _reset(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    import torch

    layer: Any = _used(subject, dimensions)
    kept = snapshot(layer)
    fresh = dict(zip(KEYS, (1.0, 0.0, 0.0, 1.0, 0), strict=True))
    for method, names in (("reset_running_stats", KEYS[2:]), ("reset_parameters", KEYS)):
        if not hasattr(layer, method):
            raise CheckNotApplicableError(f"the implementation has no {method}")
        getattr(layer, method)()
        for name, value in snapshot(layer).items():
            default = torch.full_like(value, fresh[name])
            word = "default" if torch.equal(value, default) else "kept" if torch.equal(value, kept[name]) else "other"
            yield Observation(f"{method}/{name}", word, expected="default" if name in names else "kept")


def _lazy(subject: Subject, *, dimensions: int, call: str, training: bool, tracked: bool) -> Iterator[Observation]:
    """Lazy layers take their size from what they are first called with; in inference mode by design for that alone."""
    import torch
    from torch import nn

    lazy: Any = (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d)[dimensions - 1]
    options: dict[str, Any] = {"momentum": 0.3, "track_running_stats": tracked}
    layer: Any = lazy(**options, device=subject.device).train(training)
    keys = "+".join(KEYS[: 5 if tracked else 2])
    yield Observation("keys before", "+".join(layer.state_dict()), expected=keys)
    x = subject.randn(*SHAPES[dimensions])
    plain = _used(subject, dimensions, **options)

    def copied() -> None:
        nonlocal layer
        layer = copy.deepcopy(layer)

    first: dict[str, Callable[[], Any]] = {
        "positional": lambda: layer(x),
        "keyword": lambda: layer(input=x),
        "no-grad": lambda: torch.no_grad()(layer)(x),
        "inference-mode": lambda: torch.inference_mode()(layer)(x),
        "loaded": lambda: layer.load_state_dict(plain.state_dict()),
        "copied": copied,
    }
    outcome = outcome_of(lambda: (first[call](), layer(x)))
    yield Observation("outcome", outcome, expected=None if call == "inference-mode" else "returned")
    if outcome != "returned":
        return
    yield Observation("class", type(layer).__name__, expected=f"BatchNorm{dimensions}d")
    yield Observation("keys", "+".join(layer.state_dict()), expected=keys)
    if tracked:
        due = (1 if call in {"loaded", "copied"} else 2) * training + (COUNTED + 7) * (call == "loaded")
        yield Observation("counted", str(int(layer.num_batches_tracked)), expected=str(due))
    yield from step_against_float64(layer, x, subject.randn(*x.shape, seed=1), momentum=0.3)


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="state")
    for dimensions, (flags, options) in product(SHAPES, FLAGS.items()):
        where = f"batch_norm{dimensions}d"
        for dtype in ("float32", "float64", "bfloat16"):
            yield case(
                name=f"{where}/round-trip/{flags}/{dtype}",
                observe=partial(_round_trip, dimensions=dimensions, options=options, dtype=dtype),
                rule="a layer that is saved and loaded continues as the original",
                quick=dimensions == 2 and dtype == "float32",
            )
        for training in (True, False):
            yield case(
                name=f"{where}/copies/{flags}/{'train' if training else 'eval'}",
                observe=partial(_copies, dimensions=dimensions, options=options, training=training),
                rule="a copy continues as the layer does, and shares no state with it",
                quick=dimensions == 1 and flags == "affine=on/tracking=on",
            )
    for dimensions, nested in product(SHAPES, (False, True)):
        where = f"batch_norm{dimensions}d{'/nested' if nested else ''}"
        for tracked in (True, False):
            yield case(
                name=f"{where}/version-1/tracking={'on' if tracked else 'off'}",
                observe=partial(_version_1, dimensions=dimensions, nested=nested, tracked=tracked),
                rule="states without a counter load strictly, and do not change it",
                rows=("A01",) if tracked else (),
                quick=dimensions == 2,
            )
        yield case(
            name=f"{where}/partial",
            observe=partial(_partial, dimensions=dimensions, nested=nested),
            rule="missing keys of a state are reported, and their values are not changed",
            rows=("A02",),
            quick=dimensions == 2,
        )
    for dimensions in SHAPES:
        observers = {
            "other-flags": (_other_flags, "states of layers with other flags load only if strict=False"),
            "dtypes": (_dtypes, "loaded values take the precision of the layer, and the counter stays an integer"),
            "reset": (_reset, "resetting restores the defaults"),
        }
        for name, (observe, rule) in observers.items():
            yield case(
                name=f"batch_norm{dimensions}d/{name}", observe=partial(observe, dimensions=dimensions), rule=rule
            )
    calls = ("positional", "keyword", "no-grad", "inference-mode", "loaded", "copied")
    for dimensions, call, training, tracked in product(SHAPES, calls, (True, False), (True, False)):
        if call in {"copied", "inference-mode"} and not training:
            continue
        flags = f"{'train' if training else 'eval'}/tracking={'on' if tracked else 'off'}"
        yield case(
            name=f"lazy{dimensions}d/{call}/{flags}",
            observe=partial(_lazy, dimensions=dimensions, call=call, training=training, tracked=tracked),
            rule="a lazy layer is the plain one after its first call",
            rows=("A37",) if call == "keyword" else (),
            torch_only=True,
        )
