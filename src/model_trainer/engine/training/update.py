"""One optimizer update: accumulate, unscale, clip, step."""

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.protocols import TrainingTask
from model_trainer.engine.training.loss_scale import LossScale
from model_trainer.engine.training.optimizer import CombinedOptimizer
from model_trainer.engine.training.schedule import multiplier


class WeightUpdate:
    """Moves a model's weights, one step at a time."""

    def __init__(
        self,
        model: nn.Module,
        task: TrainingTask,
        *,
        recipe: Recipe,
        optimizer: CombinedOptimizer,
        total_steps: int,
    ) -> None:
        self._model = model
        self._task = task
        self._recipe = recipe
        self._total_steps = total_steps
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer
        self.loss_scale = LossScale(recipe.precision)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Step number `step`, from 0; returns mean loss and gradient norm, still on the device."""
        loss = self._accumulate(step)
        norm = self._clip()
        if self.loss_scale.accepts(norm):
            self.optimizer.set_rates(multiplier(step, total_steps=self._total_steps, recipe=self._recipe))
            self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm

    def _accumulate(self, step: int) -> Tensor:
        """Leaves the gradient of the mean loss of all micro-batches; returns that loss."""
        micro_batches = self._recipe.gradient_accumulation_steps
        losses: list[Tensor] = []
        for micro_step in range(micro_batches):
            loss = self._task.loss(self._model, step=step, micro_step=micro_step)
            losses.append(loss.detach())
            torch.autograd.backward(
                self.loss_scale.scaled(loss if micro_batches == 1 else loss / micro_batches)
            )
        return losses[0] if micro_batches == 1 else torch.stack(losses).mean()

    def _clip(self) -> Tensor:
        self.loss_scale.unscale(self._parameters)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if self._recipe.gradient_clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(
                self._parameters, self._recipe.gradient_clip_norm, norm, foreach=True
            )
        return norm
