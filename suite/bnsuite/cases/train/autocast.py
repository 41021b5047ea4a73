"""A training under autocast: in bfloat16, or in float16 with a scaled loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnsuite.cases.train.training import Training

if TYPE_CHECKING:
    import torch
    from torch import nn

DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class AutocastTraining(Training):
    """The model runs under autocast, in training and in evaluation; the loss is of float32 logits on every device.

    In float16 the loss is scaled, and gradients are divided by the scale before the optimizer sees them.
    """

    def _build(self) -> nn.Module:
        import torch

        kind = torch.device(self._device).type
        assert self._case.autocast is not None
        self._autocast: Any = torch.autocast(kind, getattr(torch, DTYPES[self._case.autocast]))
        self._scaler = torch.amp.GradScaler(kind) if self._case.autocast == "fp16" else None
        return super()._build()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        with self._autocast:
            outputs = self.model(x)
        loss = self._loss(outputs.float(), y)
        if self._scaler is None:
            loss.backward()
            self._optimizer.step()
        else:
            self._scaler.scale(loss).backward()
            self._scaler.unscale_(self._optimizer)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        detached: torch.Tensor = loss.detach()
        return detached

    def predict(self) -> torch.Tensor:
        with self._autocast:
            return super().predict().float()

    def predict_in_train_mode(self) -> torch.Tensor:
        with self._autocast:
            return super().predict_in_train_mode().float()
