"""What a row and a progress report say besides losses: where training is, how fast, how long yet."""

from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import Recipe
from model_trainer.engine.protocols import Device, TrainingTask
from model_trainer.engine.training.meter import Clock
from model_trainer.engine.training.schedule import multiplier


class Figures:
    """Of one training, at the step that its caller has come to."""

    def __init__(
        self, recipe: Recipe, task: TrainingTask, *, device: Device, clock: Clock, total_steps: int
    ) -> None:
        """`clock` is the training's own; it begins with begin()."""
        self._recipe = recipe
        self._task = task
        self._device = device
        self._clock = clock
        self._total_steps = total_steps
        self._timed_from = 0

    def begin(self, step: int) -> None:
        """The steps after `step` are taken from now on."""
        self._timed_from = step
        self._clock.begin()

    def position(self, step: int) -> dict[str, float]:
        """A function of step and recipe."""
        rate = multiplier(step - 1, total_steps=self._total_steps, recipe=self._recipe)
        rates = {"learning_rate": self._recipe.learning_rate * rate}
        if self._recipe.optimizer == "muon":
            rates["matrix_learning_rate"] = self._recipe.matrix_learning_rate * rate
        return rates | {
            "tokens_seen": float(step * self._task.tokens_per_step),
            "epoch": step / self._task.steps_per_epoch,
        }

    def timings(self, step: int) -> dict[str, float]:
        """Over the steps since the last row; the device has caught up when its losses have been read."""
        if step == self._timed_from:  # taken by the process that stopped before its row
            return {}
        step_seconds = self._clock.window_seconds() / (step - self._timed_from)
        self._timed_from = step
        return {
            "step_seconds": step_seconds,
            "tokens_per_second": self._task.tokens_per_step / step_seconds,
            "samples_per_second": self._task.samples_per_step / step_seconds,
            "memory_bytes": float(self._device.memory_bytes()),
            "eta_seconds": (self._total_steps - step) * step_seconds,
        }

    def progress(self, step: int) -> Progress:
        """How far the run has come, when a step has ended."""
        seconds = self._clock.step()
        return Progress(
            step=step,
            total_steps=self._total_steps,
            fraction=step / self._total_steps,
            epoch=step / self._task.steps_per_epoch,
            tokens_per_second=self._task.tokens_per_step / seconds if seconds > 0 else None,
            eta_seconds=(self._total_steps - step) * seconds,
        )
