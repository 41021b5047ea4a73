"""The checks of a workload: values against float64, the same again, nothing left behind.

The tolerance of :func:`float64` follows Higham, "Accuracy and Stability of Numerical Algorithms" (2nd ed., section
1.6): the error of a result is about its condition times the error of a backward stable computation. The condition is
measured: the module in float64 is moved by inputs and parameters that are off by :data:`NUDGE` roundings, at random.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases.allocations import held, operators
from bnsuite.cases.checks.case import BOUNDLESS, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import same_bits
from bnsuite.cases.checks.material.growth import GROWTH, resident_per_step, without_collection
from bnsuite.cases.workload import material
from bnsuite.cases.workload.declared import Kind, Workload
from bnsuite.cases.workload.state import SideEffectError, WorkloadError
from bnsuite.cases.workload.steps import FactoryStep, ModuleStep
from bnsuite.cases.workload.training import WorkloadTraining

if TYPE_CHECKING:
    import torch
    from torch import nn

FLOAT64 = "outputs and gradients are as close to float64 as the dtype and the module's own conditioning allow"
OUTPUTS = "outputs and gradients of fixed inputs are those that were accepted, or A's"
SIDE_EFFECTS = "a step computes its outputs anew, and leaves inputs and all that others share alone"
DETERMINISM = "two runs from the same seed are equal to the bit"
MEMORY_LEAKS = "300 steps leave no memory allocated"

#: Inputs and parameters are moved by so many roundings of their dtype, so often.
NUDGE, NUDGES = 16.0, 4
#: The most an error may be, in changes by such a move.
LIMIT = 4.0


def float64(subject: Subject, *, workload: Workload) -> Iterator[Observation]:
    module, inputs = material.make(workload, subject.device), material.draw(workload, subject.device, 0)
    _without_dropout(module.train())
    if _is_random(workload, module, inputs) and _is_random(workload, module.eval(), inputs):
        raise CheckNotApplicableError(f"workload {workload}: its outputs are random, with dropout off as well")
    start = copy.deepcopy(module.state_dict())
    seen = _step(workload, module, inputs)
    module.load_state_dict(start)
    try:
        exact_module, exact_inputs = copy.deepcopy(module).double(), material.tree_map(_lift, inputs)
        exact = _step(workload, exact_module, exact_inputs)
    except WorkloadError as error:
        raise CheckNotApplicableError(f"does not run in float64: {error}") from error
    if [name for name, _ in exact_module.named_parameters()] != [name for name, _ in module.named_parameters()]:
        raise CheckNotApplicableError(f"workload {workload}: a copy of it, for float64, has parameters of other names")
    changes = [_moved(workload, module, inputs, exact, number) for number in range(NUDGES)]
    worst: dict[str, float] = {}
    for name, one in seen.items():
        group = name if name.startswith(("y", "d(input")) else f"d({name.split('.')[0]})"
        ratio = _ratio(one, exact.get(name), max(change.get(name, 0.0) for change in changes))
        worst[group] = max(worst.get(group, 0.0), ratio)
    for group, ratio in worst.items():
        yield Observation(group, ratio, LIMIT)


def _ratio(seen: torch.Tensor, exact: torch.Tensor | None, change: float) -> float:
    import torch

    if exact is None or seen.shape != exact.shape:
        return BOUNDLESS
    if not seen.is_floating_point():
        return 0.0
    one, truth = seen.double(), exact.double()
    if not torch.isfinite(one[torch.isfinite(truth)]).all():
        return BOUNDLESS
    error = material.rms((one - truth).nan_to_num(0.0, 0.0, 0.0))
    rounding = torch.finfo(seen.dtype).eps / 2
    return error / max(change, rounding * material.rms(truth), torch.finfo(seen.dtype).tiny)


def _lift(one: torch.Tensor) -> torch.Tensor:
    import torch

    return one.detach().to(torch.float64) if one.is_floating_point() else one.detach().clone()


def _moved(
    workload: Workload, module: nn.Module, inputs: Any, exact: dict[str, torch.Tensor], number: int
) -> dict[str, float]:
    """Returns how far each result in float64 moves if inputs and parameters are off by some roundings."""
    import torch

    generator = torch.Generator().manual_seed(number)

    def nudged(one: torch.Tensor) -> torch.Tensor:
        if not one.is_floating_point():
            return one.detach().clone()
        noise = torch.rand(one.shape, generator=generator, dtype=torch.float64).mul_(2).sub_(1).to(one.device)
        return one.detach().double() * (1 + NUDGE * torch.finfo(one.dtype).eps / 2 * noise)

    moved = copy.deepcopy(module).double()
    with torch.no_grad():
        for one, before in zip(moved.parameters(), module.parameters(), strict=True):
            one.copy_(nudged(before))
    results = _step(workload, moved, material.tree_map(nudged, inputs))
    if _are_rounded(list(results.values()), torch.float32):
        raise CheckNotApplicableError(f"workload {workload}: computes in float32 though it was moved to float64")
    return {
        name: material.rms((one.double() - exact[name].double()).nan_to_num(0.0, 0.0, 0.0))
        for name, one in results.items()
    }


def _are_rounded(results: list[torch.Tensor], dtype: torch.dtype) -> bool:
    """Returns True if the values that are no whole numbers are all values of a lower precision."""
    telling = [one for one in results if one.is_floating_point() and (one != one.round()).any()]
    return bool(telling) and all(same_bits(one, one.to(dtype).to(one.dtype)) for one in telling)


def _step(workload: Workload, module: nn.Module, inputs: Any) -> dict[str, torch.Tensor]:
    """Returns outputs and gradients by name, in the module's precision, with respect to inputs and parameters."""
    import torch

    leaves = material.tree_map(lambda one: one.detach().clone().requires_grad_(one.is_floating_point()), inputs)
    wanted = {f"d(input {name or 0})": one for name, one in material.tensors(leaves) if one.requires_grad}
    wanted |= {name: one for name, one in module.named_parameters() if one.requires_grad}

    def run() -> dict[str, torch.Tensor]:
        # a copy of each: a module may change what it is given, if that is no leaf
        given = material.tree_map(lambda one: one.clone(), leaves)
        result = material.apply(module, given)
        named = [(f"y{'.' if name else ''}{name}", one) for name, one in material.outputs(workload, result)]
        found = {name: one.detach() for name, one in named}
        ends = [one for _, one in named if one.requires_grad]
        if ends and wanted:
            weights = material.weights_like(ends)
            slopes = torch.autograd.grad(ends, [*wanted.values()], weights, allow_unused=True)
            found |= {name: one for name, one in zip(wanted, slopes, strict=True) if one is not None}
        return found

    return material.call(workload, run, 0)  # type: ignore[no-any-return]


def _without_dropout(module: nn.Module) -> None:
    for one in module.modules():
        if "dropout" in type(one).__name__.lower():
            one.eval()
        if isinstance(getattr(one, "dropout", None), float):
            one.dropout = 0.0  # type: ignore[assignment]  # of attention, whose flag is its layer's


def _is_random(workload: Workload, module: nn.Module, inputs: Any) -> bool:
    """Returns True if outputs depend on the seed."""
    import torch

    start = copy.deepcopy(module.state_dict())
    found = []
    for seed in (1, 2):
        with torch.no_grad():
            given = material.tree_map(lambda one: one.detach().clone(), inputs)
            result = material.call(workload, partial(material.apply, module, given), seed)
        found.append([one for _, one in material.outputs(workload, result)])
        module.load_state_dict(start)
    return not all(map(material.is_near, *found))


def outputs(subject: Subject, *, workload: Workload) -> Iterator[Observation]:
    import torch

    module, inputs = material.make(workload, subject.device), material.draw(workload, subject.device, 0)
    _without_dropout(module.train())
    yield from _projections("input", [(name, one) for name, one in material.tensors(inputs)])
    if _is_random(workload, module, inputs):
        return
    seen = _step(workload, module, inputs)
    yield from _projections("", [(name, one) for name, one in seen.items() if name.startswith("y")])
    slopes = [one.double().square().sum() for name, one in seen.items() if not name.startswith("y")]
    if slopes:
        yield from _from_both_sides("norm of all gradients", float(torch.stack(slopes).sum().sqrt()))


def _from_both_sides(name: str, value: float) -> Iterator[Observation]:
    """Yields a number that must not become less either: what was accepted is judged by what is above it."""
    yield Observation(name, value)
    yield Observation(f"{name}, negated", -value)


def _projections(prefix: str, named: list[tuple[str, torch.Tensor]]) -> Iterator[Observation]:
    """Yields shape and dtype of each tensor, and its product with fixed random numbers: another tensor has another."""
    for name, one in named:
        place = f"{prefix} {name}".strip() or "0"
        yield Observation(place, f"{str(one.dtype).removeprefix('torch.')} {'x'.join(map(str, one.shape)) or 'scalar'}")
        lifted = one.detach().cpu().double()
        (weights,) = material.weights_like([lifted])
        yield from _from_both_sides(f"{place} projected", float((lifted * weights.abs()).sum()))


def _built(subject: Subject, workload: Workload, *, seed: int = 0) -> ModuleStep | FactoryStep | WorkloadTraining:
    if workload.kind is Kind.TRAINING:
        return WorkloadTraining(workload, subject.device, seed)
    if workload.kind is Kind.STEP:
        return FactoryStep(workload, subject.device, seed=seed)
    try:
        return ModuleStep(workload, subject.device, training=True, seed=seed)
    except CheckNotApplicableError:
        return ModuleStep(workload, subject.device, training=False, seed=seed)


def side_effects(subject: Subject, *, workload: Workload) -> Iterator[Observation]:
    try:
        step = _built(subject, workload)
        for number in range(3):
            if isinstance(step, WorkloadTraining):
                step.next_batch()
            else:
                step()
                step.renew(number + 1)
        step.verify()
    except SideEffectError as error:
        yield Observation("step", str(error).removeprefix(f"workload {workload}: "), expected="no side effects")
        return
    yield Observation("step", "no side effects", expected="no side effects")
    if isinstance(step, ModuleStep):
        yield from _work(step)
        yield Observation("held output", _held_output(step), expected="left alone")


def _work(step: ModuleStep) -> Iterator[Observation]:
    """Compares the operators of calls on inputs that were seen before with those of calls on fresh ones."""
    less = 0
    for number in range(3):
        step.renew(100 + number)
        fresh, again = (len(operators(step.fixed)) for _ in range(2))
        less += again < fresh
    yield Observation("inputs seen before", "less work" if less == 3 else "as much work", expected="as much work")


def _held_output(step: ModuleStep) -> str:
    """Returns what becomes of an output that its caller holds while other inputs are computed on."""
    import torch

    with torch.no_grad():
        first = [one for _, one in material.tensors(step.apply(step.inputs))]
        kept = [one.clone() for one in first]
        step.apply(material.draw(step.workload, step.device, 7))
    return "left alone" if all(map(same_bits, first, kept)) else "overwritten"


def determinism(subject: Subject, *, workload: Workload) -> Iterator[Observation]:
    runs = [_built(subject, workload).results() for _ in range(3)]
    if not runs[0]:
        raise CheckNotApplicableError(f"workload {workload}: its step returns no tensor that could be compared")
    same = all(len(one) == len(runs[0]) and all(map(same_bits, runs[0], one)) for one in runs[1:])
    yield Observation("results", "same" if same else "different", expected="same")


def memory_leaks(subject: Subject, *, workload: Workload) -> Iterator[Observation]:
    step = _built(subject, workload)
    # of a training the same batch again and again: the last one of an epoch may be smaller
    again: Callable[[], Any] = partial(step.step, step.first_batch()) if isinstance(step, WorkloadTraining) else step

    def run(count: int, one: Callable[[], Any] = again) -> None:
        with without_collection():
            for _ in range(count):
                one()

    _, short, long = (held(partial(run, count), subject.device).net for count in (3, 3, 13))
    yield Observation("bytes/step", abs(long - short) / 10, 0.0)
    on = step.next_batch if isinstance(step, WorkloadTraining) else step
    yield Observation("resident bytes/step", resident_per_step(partial(run, one=on)), GROWTH)
