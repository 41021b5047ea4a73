"""The timed steps of a workload, with what is compared before and after they were timed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import CheckNotApplicableError
from bnsuite.cases.checks.material.arithmetic import same_bits
from bnsuite.cases.workload import material
from bnsuite.cases.workload.declared import INPUTS, Workload
from bnsuite.cases.workload.state import Processes, SharedState, SideEffectError, seed_all

if TYPE_CHECKING:
    import torch

#: The seed of inputs that are seen before the rounds and after them, and not in between.
HIDDEN = 1 << 16
#: Calls of a step without inputs whose results are compared.
COMPARED = 3


class ModuleStep:
    """Calls a module on its inputs; forward in evaluation mode, or forward and backward in training mode.

    The inputs stay where they are in memory; :meth:`renew` gives them other values.
    """

    def __init__(self, workload: Workload, device: str, *, training: bool, seed: int = 0) -> None:
        self._shared, self._processes = SharedState(), Processes()
        self.workload, self.device, self.training = workload, device, training
        self._getpid, self._pid = os.getpid, self._processes.pid
        self.module = material.make(workload, device, seed).train(training)
        self._seed = seed
        self.inputs = material.draw(workload, device, seed)
        self._places = list(material.tensors(self.inputs))
        self._wanted = self._of_gradients() if training else []
        self._state = [(one, one.detach().clone()) for one in (*self.module.parameters(), *self.module.buffers())]
        self._weights: list[torch.Tensor] = []
        self._with_gradient: list[int] = []
        first = self.results()
        if training and not self._with_gradient:
            raise CheckNotApplicableError(
                f"workload {workload}: no output has a gradient, so there is no backward pass"
            )
        others = material.draw(workload, device, HIDDEN)
        self._require_same_shapes(others)
        self._expected = [one.detach().cpu() for one in self._results_of(others)]
        self._varied = any(
            not same_bits(one, other)
            for (_, one), (_, other) in zip(self._places, material.tensors(others), strict=False)
        )
        floating = [
            (one, other) for one, other in zip(first, self._expected, strict=False) if other.is_floating_point()
        ]
        if self._varied and floating and all(same_bits(one, other) for one, other in floating):
            raise self._error("returns the same outputs for other inputs; compute them in every call")

    def _error(self, text: str) -> SideEffectError:
        return SideEffectError(f"workload {self.workload}: {text}")

    def _of_gradients(self) -> list[torch.Tensor]:
        """Returns the parameters to be trained, or the inputs of a module that has none."""
        found: list[torch.Tensor] = [one for one in self.module.parameters() if one.requires_grad]
        return found or [one.requires_grad_() for _, one in self._places if one.is_floating_point()]

    def apply(self, inputs: Any) -> Any:
        """Returns what the module returns for `inputs`."""
        return material.apply(self.module, inputs)

    def __call__(self) -> None:
        """One step; nothing of it is kept."""
        if self.training:
            self._gradients(self.apply(self.inputs))
        else:
            import torch

            with torch.no_grad():
                self.apply(self.inputs)
        if self._getpid() != self._pid:
            self._processes.end_child()

    def _gradients(self, result: Any) -> tuple[torch.Tensor | None, ...]:
        import torch

        found = [one for _, one in material.tensors(result)]
        outputs = [found[at] for at in self._with_gradient]
        return torch.autograd.grad(outputs, self._wanted, self._weights, allow_unused=True)

    def results(self) -> list[torch.Tensor]:
        """Returns outputs and gradients of a step from a fixed seed, with the state that the module began with."""
        return self._results_of(self.inputs)

    def fixed(self) -> None:
        """Makes the step of :meth:`results`."""
        self.results()

    def _results_of(self, inputs: Any) -> list[torch.Tensor]:
        import torch

        with torch.no_grad():
            for one, before in self._state:
                one.copy_(before)
        if self.training and not any(one.requires_grad for one in self.module.parameters()):
            inputs = material.tree_map(lambda one: one.requires_grad_(one.is_floating_point()), inputs)
        wanted = self._wanted if inputs is self.inputs else self._of_inputs(inputs)
        found: list[torch.Tensor] = material.call(self.workload, lambda: self._computed(inputs, wanted), self._seed)
        return found

    def _of_inputs(self, inputs: Any) -> list[torch.Tensor]:
        found: list[torch.Tensor] = [one for one in self.module.parameters() if one.requires_grad]
        return found or [one for _, one in material.tensors(inputs) if one.is_floating_point()]

    def _computed(self, inputs: Any, wanted: list[torch.Tensor]) -> list[torch.Tensor]:
        import torch

        with torch.set_grad_enabled(self.training):
            result = self.apply(inputs)
            if torch.is_grad_enabled() != self.training:
                raise self._error("changes the grad mode; use `with torch.no_grad()`")
        if os.getpid() != self._pid:
            self._processes.end_child()
        found = [one for _, one in material.outputs(self.workload, result)]
        if not self.training:
            return [one.clone() for one in found]
        if not self._weights:
            self._with_gradient = [at for at, one in enumerate(found) if one.requires_grad]
            self._weights = material.weights_like([found[at] for at in self._with_gradient])
        self._require_shapes_of(self._weights, [found[at] for at in self._with_gradient if at < len(found)])
        kept = [one.detach().clone() for one in found]
        if not self._with_gradient:
            return kept
        outputs = [found[at] for at in self._with_gradient]
        gradients = torch.autograd.grad(outputs, wanted, self._weights, allow_unused=True)
        return [*kept, *(one for one in gradients if one is not None)]

    def _require_shapes_of(self, before: list[torch.Tensor], now: list[torch.Tensor]) -> None:
        if (shapes := [tuple(one.shape) for one in before]) != (others := [tuple(one.shape) for one in now]):
            raise self._error(f"returns other shapes each time, {shapes} and then {others}; keep them")

    def renew(self, seed: int) -> None:
        """Gives the inputs values that no call has seen; SideEffectError if the last ones were overwritten."""
        self._require_untouched()
        self._fill(seed)

    def _fill(self, seed: int) -> None:
        import torch

        drawn = material.draw(self.workload, self.device, seed)
        self._require_same_shapes(drawn)
        with torch.no_grad():
            for (_, place), (_, one) in zip(self._places, material.tensors(drawn), strict=True):
                place.copy_(one)
        self._seed = seed

    def _require_same_shapes(self, drawn: Any) -> None:
        shapes, now = ([tuple(one.shape) for _, one in some] for some in (self._places, material.tensors(drawn)))
        if shapes != now:
            raise self._error(f"{INPUTS}() returns other shapes each time, {shapes} and then {now}; keep them")

    def _require_untouched(self) -> None:
        drawn = material.tensors(material.draw(self.workload, self.device, self._seed))
        for (name, one), (_, before) in zip(self._places, drawn, strict=False):
            if one.shape == before.shape and not same_bits(one, before):
                raise self._error(f"overwrites its input {name or 0}; copy it before it is changed")

    def verify(self) -> None:
        """Raises SideEffectError if the steps left something behind, or if what they compute now is not what it was."""
        if (trouble := self._shared.changed() or self._processes.trouble()) is not None:
            raise self._error(trouble)
        self._require_untouched()
        before = self._seed
        self._fill(HIDDEN)
        self._seed = 0
        now = self.results()
        self._require_shapes_of(self._expected, now)
        if not all(map(material.is_near, now, self._expected)):
            text = "computes other outputs after it was timed than before, for the same inputs"
            raise self._error(f"{text}; keep no results from one call to the next")
        self._fill(before)


class FactoryStep:
    """Calls the step that a factory made."""

    def __init__(self, workload: Workload, device: str, *, seed: int = 0) -> None:
        self._shared, self._processes = SharedState(), Processes()
        self.workload, self.device, self._seed = workload, device, seed
        self._pid, self._getpid = os.getpid(), os.getpid
        self._expected = self.results()
        self._step: Callable[[], Any] = material.make_step(workload, device, seed)
        material.call(workload, self, seed)

    def results(self) -> list[torch.Tensor]:
        """Returns what the first calls of a new step return; nothing of a step that returns nothing."""
        step = material.make_step(self.workload, self.device, self._seed)
        found: list[torch.Tensor] = []
        for number in range(COMPARED):
            result = material.call(self.workload, step, number)
            if os.getpid() != self._pid:
                self._processes.end_child()
            named = material.outputs(self.workload, result, may_be_none=True)
            found += [one.detach().clone().cpu() for _, one in named]
        return found

    def __call__(self) -> None:
        """One step."""
        self._step()
        if self._getpid() != self._pid:
            self._processes.end_child()

    def renew(self, seed: int) -> None:
        """Seeds what the step draws by itself."""
        seed_all(seed)

    def verify(self) -> None:
        """Raises SideEffectError if the steps left something behind, or a new step returns other values than before."""
        if (trouble := self._shared.changed() or self._processes.trouble()) is not None:
            raise SideEffectError(f"workload {self.workload}: {trouble}")
        now = self.results()
        if len(now) != len(self._expected) or not all(map(material.is_near, now, self._expected)):
            text = "a new step returns other values after it was timed than before, from the same seed"
            raise SideEffectError(f"workload {self.workload}: {text}; keep no results from one call to the next")
