"""Dynamic loss scaling for fp16 (Micikevicius et al. 2018, arXiv 1710.03740): small gradients survive half precision."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.checkpoint import LossScaleState
from model_trainer.core.contracts.training import Precision
from model_trainer.core.errors import AppError, ErrorCode

_FIRST = 2.0**16
_SMALLEST = 2.0**-10
"""Gradients that overflow even so are no matter of scale."""
_GROWTH_STEPS = 2000


class LossScale:
    """1 for every precision but fp16; there it halves when gradients overflow and doubles after 2,000 good steps."""

    def __init__(self, precision: Precision) -> None:
        self.is_dynamic = precision == "fp16"
        self.state = LossScaleState(scale=_FIRST if self.is_dynamic else 1.0)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to start the backward pass from."""
        return loss * self.state.scale if self.is_dynamic else loss

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divides the gradients by the scale, in place."""
        if self.is_dynamic:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            torch._foreach_mul_(gradients, 1.0 / self.state.scale)

    def accepts(self, gradient_norm: Tensor) -> bool:
        """Whether this step may move the weights; learns from it. Waits for the device, in fp16 only.

        Raises DIVERGED when gradients are not finite at any scale.
        """
        if not self.is_dynamic:
            return True
        if not math.isfinite(gradient_norm.item()):
            self._shrink()
            return False
        good = self.state.num_good_steps + 1
        grows = good == _GROWTH_STEPS
        self.state = LossScaleState(
            scale=self.state.scale * 2 if grows else self.state.scale, num_good_steps=0 if grows else good
        )
        return True

    def _shrink(self) -> None:
        scale = self.state.scale / 2
        if scale < _SMALLEST:
            raise AppError(
                ErrorCode.DIVERGED,
                "The gradients are not finite at any loss scale. Lower the learning rate, or train in bf16 or fp32.",
            )
        self.state = LossScaleState(scale=scale, num_good_steps=0)
