"""Training, blind to family, queue and disk layout: `fit` is the whole story, the class below its verbs."""

import time
from collections.abc import Mapping
from concurrent.futures import Executor

import torch
from torch import nn

from model_trainer.core.contracts.checkpoint import SCHEMA_VERSION, TrainingState
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AskedToStop
from model_trainer.engine.protocols import Device, FitResult, StopReason, TrainingObserver, TrainingTask
from model_trainer.engine.training.best import BestSoFar
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from model_trainer.engine.training.checkpoint_writer import CheckpointWriter, Retention
from model_trainer.engine.training.figures import Figures
from model_trainer.engine.training.intervals import intervals, total_steps
from model_trainer.engine.training.live_tensors import copied, copy_into, snapshot_of, unprefixed
from model_trainer.engine.training.meter import Clock, LossWindow
from model_trainer.engine.training.optimizer import build_optimizer
from model_trainer.engine.training.own_checkpoints import OwnCheckpoints
from model_trainer.engine.training.same_run import recipe_digest
from model_trainer.engine.training.saving import Now, SaveSchedule
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.update import WeightUpdate


def fit(
    *,
    model: nn.Module,
    task: TrainingTask,
    recipe: Recipe,
    device: Device,
    checkpoints: CheckpointFolder,
    observer: TrainingObserver,
    start: Snapshot | None = None,
    now: Now = time.monotonic,
    thread: Executor | None = None,
) -> FitResult:
    """Trains `model` in place, from the newest valid checkpoint when there is one; else from the weights of `start`, and
    its optimizer's state if it holds one; else from the model's own weights.

    Asks the observer at every step boundary whether to stop. A stop that keeps the work done saves a checkpoint first;
    any other writes nothing more. Without a stop, with keep_best, the model ends with the weights of the best
    evaluation. Raises DIVERGED before anything that is not finite is saved, DISK_FULL, STORAGE_READ_ONLY and
    CHECKPOINT_NOT_WRITTEN at the step boundary after a checkpoint could not be written, DATA_CHANGED when there is one of
    the same recipe on other data, CHECKPOINT_INVALID when `start` is of another model. `now` and `thread` are the clock
    and the place for writing checkpoints.
    """
    with CheckpointWriter(checkpoints, observer=observer, thread=thread) as writer:
        training = _Training(
            model,
            task,
            recipe=recipe,
            device=device,
            checkpoints=checkpoints,
            writer=writer,
            observer=observer,
            now=now,
        )
        training.resume(start)
        training.announce()
        stopped = training.catch_up()
        while stopped is None and not training.is_done():
            stopped = training.stop_at_boundary()
            if stopped is None:
                training.update_weights()
                stopped = training.finish_step()
        stopped = training.keep_work(stopped)
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
        checkpoints: CheckpointFolder,
        writer: CheckpointWriter,
        observer: TrainingObserver,
        now: Now,
    ) -> None:
        self._model = model
        self._task = task
        self._recipe = recipe
        self._device = device
        self._checkpoints = checkpoints
        self._writer = writer
        self._passed_over: tuple[int, ...] = ()
        self._observer = observer
        self._total_steps = total_steps(recipe, steps_per_epoch=task.steps_per_epoch)
        self._every = intervals(recipe, total_steps=self._total_steps, steps_per_epoch=task.steps_per_epoch)
        self._saves = SaveSchedule(self._every, total_steps=self._total_steps, now=now)
        self._recipe_sha256 = recipe_digest(recipe)
        self._own = OwnCheckpoints(
            checkpoints,
            observer=observer,
            recipe_sha256=self._recipe_sha256,
            data_sha256=task.data_sha256,
            total_steps=self._total_steps,
        )
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
        self._figures = Figures(recipe, task, device=device, clock=self._clock, total_steps=self._total_steps)
        self._step = 0
        self._metrics: dict[str, float] = {}
        self._new_metrics: dict[str, float] = {}
        self._is_best = False
        self._evaluation_owed = False

    def resume(self, start: Snapshot | None) -> None:
        """Goes on from the newest checkpoint that verifies; without one from `start`, with the recipe's seed."""
        self._checkpoints.sweep()
        snapshot, self._passed_over = self._own.newest()
        if snapshot is not None:
            self._restore(snapshot)
            self._saves.begin(self._step)
            self._observer.resumed(step=self._step)
            return
        if start is not None:
            copy_into(self._model, start.model)
            self._update.optimizer.load_state(copied(unprefixed("optimizer", start.training)))
        seed_everything(self._recipe.seed)

    def announce(self) -> None:
        """Tells what is going to happen."""
        self._observer.configured(
            total_steps=self._total_steps,
            num_parameters=sum(parameter.numel() for parameter in self._model.parameters()),
            tokens_per_step=self._task.tokens_per_step,
        )
        self._figures.begin(self._step)

    def catch_up(self) -> StopReason | None:
        """Evaluates the step that a stop had left unevaluated; returns a stop that comes meanwhile."""
        return self.finish_step() if self._evaluation_owed else None

    def stop_at_boundary(self) -> StopReason | None:
        """Tells of checkpoints that are complete, raises what a checkpoint failed of, asks whether to stop."""
        self._writer.poll()
        return self._observer.stop_requested()

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

    def finish_step(self) -> StopReason | None:
        """What follows the update: evaluation, row, checkpoint, progress; returns a stop that comes in between."""
        if self._is_due(self._every.evaluate):
            stopped = self._evaluate()
            if stopped is not None:
                return stopped
        self._log_if_due()
        stopped = self._save_if_due()
        if stopped is None:
            self._observer.stepped(self._figures.progress(self._step))
        return stopped

    def keep_work(self, stopped: StopReason | None) -> StopReason | None:
        """Waits until the last step is on disk, after writing it if need be; returns why training ends early, if it does.

        A stop that keeps no work waits for nothing, and comes before one that does.
        """
        if stopped is not None and not stopped.keeps_work:
            return stopped
        sooner = self._save_now() if self._saves.last_step != self._step else None
        if sooner is None:
            with self._clock.aside("checkpoint"):
                sooner = self._writer.wait()
        return sooner or stopped

    def take_best_weights(self) -> None:
        """Loads the weights of the best evaluation when keep_best asks for them and the last were not the best."""
        best = self._best.state.step
        if not self._recipe.checkpoint.keep_best or best is None or best == self._step:
            return
        snapshot = self._own.of_step(best)
        if snapshot is None:
            self._best.replace(_validation(self._metrics), step=self._step)
        else:
            copy_into(self._model, snapshot.model)

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

    def _evaluate(self) -> StopReason | None:
        """Validation, and what it means for the best weights and early stopping.

        It may be long, so it may be asked to stop. Where that keeps the work, the step stays as it is, and whoever
        resumes it evaluates it first.
        """
        self._window.read()  # a loss that is not finite is reported as such, not as a strange validation
        self._device.synchronize()
        self._evaluation_owed = True
        try:
            with self._clock.aside("evaluate"):
                self._model.eval()
                metrics = self._task.evaluate(self._model)
                self._model.train()
        except AskedToStop:
            stopped = self._observer.stop_requested()
            if stopped is None or not stopped.keeps_work:
                raise
            return stopped
        self._evaluation_owed = False
        self._is_best = self._best.consider(metrics, step=self._step)
        self._new_metrics |= {f"validation_{name}": value for name, value in metrics.items()}
        return None

    def _log_if_due(self) -> None:
        """One row: of the losses since the last one, of an evaluation, or of both."""
        timings: dict[str, float] = {}
        if self._step == 1 or self._is_due(self._every.log):
            self._new_metrics = self._window.take() | self._figures.position(self._step) | self._new_metrics
            timings = self._figures.timings(self._step)
        if self._new_metrics:
            self._metrics |= self._new_metrics
            self._observer.logged(step=self._step, metrics=self._new_metrics, timings=timings)

    def _save_if_due(self) -> StopReason | None:
        """A checkpoint at its interval, at the end, and for weights that are the best yet; returns a stop that comes before
        it. One that is due by its interval waits for the first step at which the disk is free; the others hold training up
        until it is."""
        is_due = self._saves.is_due(self._step)
        must_be = self.is_done() or (self._recipe.checkpoint.keep_best and self._is_best)
        self._writer.poll()
        if self._saves.last_step == self._step or not (must_be or (is_due and not self._writer.is_busy)):
            return None
        stopped = (
            self._observer.stop_requested()
        )  # validating took a while: the run may be another owner's now
        if stopped is not None and not stopped.keeps_work:
            return stopped
        return self._save_now()

    def _save_now(self) -> StopReason | None:
        """A snapshot, on its way to disk; returns a stop that keeps no work when one comes before the disk is free."""
        self._window.read()  # raises before a state that is not finite is saved
        with self._clock.aside("checkpoint"):
            stopped = self._writer.wait()
            if stopped is not None:
                return stopped
            keep = self._recipe.checkpoint
            best = self._best.state.step if keep.keep_best else None
            self._writer.begin(
                self._snapshot(),
                Retention(keep_last=keep.keep_last, best=best, passed_over=self._passed_over),
            )
        self._passed_over = ()
        self._saves.taken(self._step)
        return None

    def _is_due(self, every: int) -> bool:
        return self._step % every == 0 or self._step == self._total_steps

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
            metrics=dict(self._metrics),
            evaluation_owed=self._evaluation_owed,
        )
        return snapshot_of(
            self._model,
            state,
            optimizer=self._update.optimizer.state(),
            task=self._task.state(),
            rng=self._device.rng_state(),
        )

    def _restore(self, snapshot: Snapshot) -> None:
        state = snapshot.state
        copy_into(self._model, snapshot.model)
        self._update.optimizer.load_state(unprefixed("optimizer", snapshot.training))
        self._task.load_state(unprefixed("task", snapshot.training))
        self._device.load_rng_state(unprefixed("rng", snapshot.training))
        self._update.loss_scale.state = state.loss_scale
        self._window.state = state.window
        self._best.state = state.best
        self._metrics = dict(state.metrics)
        self._evaluation_owed = state.evaluation_owed
        self._step = state.step


def _validation(row: Mapping[str, float]) -> dict[str, float]:
    """The evaluation inside a row, under its own names."""
    prefix = "validation_"
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
