"""Training, blind to family, queue and disk layout: `fit` is the whole story, the class below its verbs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model_trainer.core.contracts.run import Progress
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.protocols import Device, FitResult, StopReason, TrainingObserver, TrainingTask
from model_trainer.engine.training.best import BestSoFar
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot, Tensors
from model_trainer.engine.training.intervals import intervals, total_steps
from model_trainer.engine.training.meter import Clock, LossWindow
from model_trainer.engine.training.optimizer import build_optimizer
from model_trainer.engine.training.schedule import multiplier
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.state import SCHEMA_VERSION, TrainingState, recipe_digest
from model_trainer.engine.training.update import WeightUpdate


def fit(
    *,
    model: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    device: Device,
    checkpoints: Path,
    observer: TrainingObserver,
) -> FitResult:
    """Trains `model` in place, from the newest valid checkpoint in `checkpoints` when there is one.

    Asks the observer at every step boundary whether to stop; a stop writes nothing more. Otherwise, with keep_best, the
    model ends with the weights of the best evaluation. Raises DIVERGED before anything that is not finite is saved,
    DISK_FULL when a checkpoint does not fit, DATA_CHANGED when there is one of the same recipe on other data.
    """
    training = _Training(
        model, task, recipe=recipe, device=device, checkpoints=checkpoints, observer=observer
    )
    training.resume()
    training.announce()
    stopped = None
    while not training.is_done():
        stopped = observer.stop_requested()
        if stopped is not None:
            break
        training.update_weights()
        training.evaluate_if_due()
        training.log_if_due()
        if training.save_is_due():
            stopped = observer.stop_requested()  # validating took a while: the run may be another owner's now
            if stopped is not None:
                break
            training.save()
        training.report_progress()
    if stopped is None:
        training.take_best_weights()
    return training.result(stopped)


class _Training:
    def __init__(
        self,
        model: nn.Module,
        task: TrainingTask,
        *,
        recipe: Recipe,
        device: Device,
        checkpoints: Path,
        observer: TrainingObserver,
    ) -> None:
        self._model = model
        self._task = task
        self._recipe = recipe
        self._device = device
        self._checkpoints = CheckpointFolder(checkpoints, sign=observer.stop_requested)
        self._passed_over: tuple[int, ...] = ()
        self._observer = observer
        self._total_steps = total_steps(recipe, steps_per_epoch=task.steps_per_epoch)
        self._every = intervals(recipe, total_steps=self._total_steps, steps_per_epoch=task.steps_per_epoch)
        self._recipe_sha256 = recipe_digest(recipe)
        device.move_module(model)
        model.train()
        self._update = WeightUpdate(
            model,
            task,
            recipe=recipe,
            optimizer=build_optimizer(model, recipe),
            total_steps=self._total_steps,
        )
        self._window = LossWindow(overflow_is_normal=self._update.loss_scale.is_dynamic)
        self._best = BestSoFar(recipe.early_stopping)
        self._clock = Clock()
        self._step = 0
        self._timed_from = 0
        self._metrics: dict[str, float] = {}
        self._new_metrics: dict[str, float] = {}
        self._is_best = False

    def resume(self) -> None:
        """Goes on from the newest checkpoint that verifies; from the start, with the recipe's seed, without one."""
        self._checkpoints.sweep()
        for step in reversed(self._checkpoints.steps()):
            snapshot = self._verified(step)
            if snapshot is not None:
                self._restore(snapshot)
                self._observer.resumed(step=self._step)
                return
            self._passed_over += (step,)
        seed_everything(self._recipe.seed)

    def announce(self) -> None:
        """Tells what is going to happen."""
        self._observer.configured(
            total_steps=self._total_steps,
            num_parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            tokens_per_step=self._task.tokens_per_step,
        )
        self._clock = Clock()

    def is_done(self) -> bool:
        """Whether there is no step left to take."""
        return self._step >= self._total_steps or self._best.state.stopped_early

    def update_weights(self) -> None:
        """One optimizer step."""
        loss, norm = self._update(self._step)
        self._step += 1
        self._window.add(loss, norm, step=self._step)
        self._new_metrics = {}
        self._is_best = False

    def evaluate_if_due(self) -> None:
        """Validation, and what it means for the best weights and early stopping."""
        if not self._is_due(self._every.evaluate):
            return
        self._window.read()  # a loss that is not finite is reported as such, not as a strange validation
        self._device.synchronize()
        with self._clock.aside("evaluate"):
            self._model.eval()
            metrics = self._task.evaluate(self._model)
            self._model.train()
        self._is_best = self._best.consider(metrics, step=self._step)
        self._new_metrics |= {f"validation_{name}": value for name, value in metrics.items()}

    def log_if_due(self) -> None:
        """One row: of the losses since the last one, of an evaluation, or of both."""
        timings: dict[str, float] = {}
        if self._step == 1 or self._is_due(self._every.log):
            self._new_metrics = self._window.take() | self._position() | self._new_metrics
            timings = self._timings()
        if self._new_metrics:
            self._metrics |= self._new_metrics
            self._observer.logged(step=self._step, metrics=self._new_metrics, timings=timings)

    def save_is_due(self) -> bool:
        """At the interval of checkpoints, at the end, and for weights that are the best yet."""
        best_is_wanted = self._recipe.checkpoint.keep_best and self._is_best
        return best_is_wanted or self.is_done() or self._is_due(self._every.checkpoint)

    def save(self) -> None:
        """A checkpoint, and room for the next."""
        self._window.read()  # raises before a state that is not finite is saved
        with self._clock.aside("checkpoint"):
            saved = self._checkpoints.save(self._snapshot())
            self._checkpoints.retain(
                newest=self._step,
                keep_last=self._recipe.checkpoint.keep_last,
                best=self._best.state.step if self._recipe.checkpoint.keep_best else None,
                passed_over=self._passed_over,
            )
        self._passed_over = ()
        self._observer.checkpoint_saved(
            step=self._step, path=saved.path, num_bytes=saved.num_bytes, metrics=dict(self._metrics)
        )

    def report_progress(self) -> None:
        """How far the run has come, after every step."""
        seconds = self._clock.step()
        self._observer.stepped(
            Progress(
                step=self._step,
                total_steps=self._total_steps,
                fraction=self._step / self._total_steps,
                epoch=self._step / self._task.steps_per_epoch,
                tokens_per_second=self._task.tokens_per_step / seconds if seconds > 0 else None,
                eta_seconds=(self._total_steps - self._step) * seconds,
            )
        )

    def take_best_weights(self) -> None:
        """Loads the weights of the best evaluation when keep_best asks for them and the last were not the best."""
        best = self._best.state.step
        if not self._recipe.checkpoint.keep_best or best is None or best == self._step:
            return
        snapshot = self._verified(best)
        if snapshot is None:
            self._best.replace(_validation(self._metrics), step=self._step)
        else:
            _copy_into(self._model, snapshot.model)

    def result(self, stopped: StopReason | None) -> FitResult:
        """How it ended."""
        best = self._best.state
        return FitResult(
            steps=self._step,
            total_steps=self._total_steps,
            stopped=stopped,
            early_stopped=best.stopped_early,
            best_step=best.step,
            best_metrics={f"validation_{name}": value for name, value in best.metrics.items()},
            last_metrics=dict(self._metrics),
            tokens_seen=self._step * self._task.tokens_per_step,
            timings_seconds=self._clock.totals(),
        )

    def _is_due(self, every: int) -> bool:
        return self._step % every == 0 or self._step == self._total_steps

    def _position(self) -> dict[str, float]:
        rate = multiplier(self._step - 1, total_steps=self._total_steps, recipe=self._recipe)
        rates = {"learning_rate": self._recipe.learning_rate * rate}
        if self._recipe.optimizer == "muon":
            rates["matrix_learning_rate"] = self._recipe.matrix_learning_rate * rate
        return rates | {
            "tokens_seen": float(self._step * self._task.tokens_per_step),
            "epoch": self._step / self._task.steps_per_epoch,
        }

    def _timings(self) -> dict[str, float]:
        """Over the steps since the last row. The losses were read just now, so the device has caught up."""
        step_seconds = self._clock.window_seconds() / (self._step - self._timed_from)
        self._timed_from = self._step
        return {
            "step_seconds": step_seconds,
            "tokens_per_second": self._task.tokens_per_step / step_seconds,
            "samples_per_second": self._task.samples_per_step / step_seconds,
            "memory_bytes": float(self._device.memory_bytes()),
            "eta_seconds": (self._total_steps - self._step) * step_seconds,
        }

    def _snapshot(self) -> Snapshot:
        state = TrainingState(
            schema_version=SCHEMA_VERSION,
            recipe_sha256=self._recipe_sha256,
            data_sha256=self._task.data_sha256,
            torch_version=torch.__version__,
            step=self._step,
            total_steps=self._total_steps,
            batch_size=self._recipe.batch_size,
            gradient_accumulation_steps=self._recipe.gradient_accumulation_steps,
            window=self._window.state,
            best=self._best.state,
            loss_scale=self._update.loss_scale.state,
            metrics=self._metrics,
        )
        training = (
            _prefixed("optimizer", self._update.optimizer.state())
            | _prefixed("task", self._task.state())
            | _prefixed("rng", self._device.rng_state())
        )
        return Snapshot(state=state, model=_tensors_of(self._model), training=training)

    def _verified(self, step: int) -> Snapshot | None:
        try:
            snapshot = self._checkpoints.load(step)
            _check_same_run(
                snapshot,
                recipe_sha256=self._recipe_sha256,
                data_sha256=self._task.data_sha256,
                total_steps=self._total_steps,
            )
        except AppError as error:
            if error.code is ErrorCode.DATA_CHANGED:
                raise
            self._observer.checkpoint_rejected(path=self._checkpoints.path_of(step), why=error.message)
            return None
        return snapshot

    def _restore(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        _copy_into(self._model, snapshot.model)
        self._update.optimizer.load_state(_unprefixed("optimizer", snapshot.training))
        self._task.load_state(_unprefixed("task", snapshot.training))
        self._device.load_rng_state(_unprefixed("rng", snapshot.training))
        self._update.loss_scale.state = state.loss_scale
        self._window.state = state.window
        self._best.state = state.best
        self._metrics = dict(state.metrics)
        self._step = self._timed_from = state.step


def _validation(row: Mapping[str, float]) -> dict[str, float]:
    """The evaluation inside a row, under its own names."""
    prefix = "validation_"
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _check_same_run(snapshot: Snapshot, *, recipe_sha256: str, data_sha256: str, total_steps: int) -> None:
    """The same recipe on the same data has the same tensors by name and shape: nothing else is left to check.

    Other data are no reason to start over without a word: the run would end as one that nobody ordered.
    """
    if snapshot.state.recipe_sha256 != recipe_sha256:
        raise AppError(ErrorCode.CHECKPOINT_INVALID, "It was made by another recipe.")
    if snapshot.state.data_sha256 != data_sha256:
        raise AppError(
            ErrorCode.DATA_CHANGED,
            f"The data have changed since this run reached step {snapshot.state.step}, so it cannot go on. Order a new "
            "training, and leave its corpus as it is until it has ended.",
            facts={"step": snapshot.state.step},
        )
    if snapshot.state.total_steps != total_steps:
        raise AppError(ErrorCode.CHECKPOINT_INVALID, "It was made for a run of another length.")


def _tensors_of(model: nn.Module) -> Tensors:
    tensors: Tensors = dict(model.named_parameters())
    return tensors | dict(model.named_buffers())


def _copy_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in _tensors_of(model).items():
            tensor.copy_(tensors[name])


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
