"""The fit of a training job, and what it recovers from: a chosen checkpoint, weights of an earlier run, too little memory.

Knows neither text nor labels: a Subject has the network and the task.
"""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, assert_never

import torch
from torch import nn

from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.contracts.base import JsonObject, as_json
from model_trainer.core.contracts.events import MetricsCompleted
from model_trainer.core.contracts.run import Phase
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.engine.devices import allow_tf32, select_device, set_threads
from model_trainer.engine.protocols import Device, FitResult, StopReason, TrainingTask
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from model_trainer.engine.training.micro_batch import halved
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.recipe_file import write_recipe
from model_trainer.worker.lease import Cancelled, HandedOver, Paused
from model_trainer.worker.observer import RunObserver
from model_trainer.worker.outcomes import as_app_error
from model_trainer.worker.parents import first_weights
from model_trainer.worker.rewinding import rewind
from model_trainer.worker.series import RunSeries
from model_trainer.worker.workplace import Workplace

log = get_logger(__name__)

Model = TypeVar("Model", bound=nn.Module)
ModelOut = TypeVar("ModelOut", bound=nn.Module, covariant=True)
OnEvaluation = Callable[[float], None]
"""Told the share of a validation that is done; may raise to stop."""


class Subject(Protocol[ModelOut]):
    """What is trained."""

    @property
    def train_tokens(self) -> int:
        """Tokens to learn from."""
        ...

    @property
    def validation_tokens(self) -> int:
        """Tokens to validate on."""
        ...

    def build(self, recipe: Recipe) -> ModelOut:
        """A new network on the CPU."""
        ...

    def load(self, recipe: Recipe, folder: Path) -> ModelOut:
        """The network of a completed artifact; raises ARTIFACT_CORRUPT."""
        ...

    def task(
        self, recipe: Recipe, *, device: Device, on_evaluation: OnEvaluation
    ) -> AbstractContextManager[TrainingTask]:
        """What it learns."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Model]):
    """A model that has been trained, or whose training was asked to stop."""

    model: Model
    recipe: Recipe
    """By which it was trained in the end: memory may have asked for a smaller micro-batch."""
    result: FitResult


def train(place: Workplace, *, spec: TrainSpec, subject: Subject[Model], recipe: Recipe) -> Fitted[Model]:
    """The whole fit of a job, and the news of it; raises Cancelled, Paused, HandedOver or LEASE_LOST when it was asked to
    stop, and what fit(), rewind() and first_weights() do."""
    fitted = _Fitting(place, spec=spec, subject=subject).fit(recipe)
    _stop_if_asked(fitted.result)
    place.held.emit(
        MetricsCompleted(
            job_id=place.held.run_id,
            user_id=place.held.user_id,
            step=fitted.result.steps,
            metrics=fitted.result.last_metrics,
            early_stopped=fitted.result.early_stopped,
            best_step=fitted.result.best_step,
        )
    )
    return fitted


def summary_of(fitted: FitResult) -> JsonObject:
    """What a record and a manifest say of a fit."""
    return {
        "steps": fitted.steps,
        "total_steps": fitted.total_steps,
        "tokens_seen": fitted.tokens_seen,
        "early_stopped": fitted.early_stopped,
        "best_step": fitted.best_step,
        "best_metrics": {**fitted.best_metrics},
        "last_metrics": {**fitted.last_metrics},
    }


class _Fitting(Generic[Model]):
    """One job's training."""

    def __init__(self, place: Workplace, *, spec: TrainSpec, subject: Subject[Model]) -> None:
        """Nothing is built yet."""
        self._place = place
        self._spec = spec
        self._subject = subject
        self._folder = place.folder / CHECKPOINTS

    def fit(self, recipe: Recipe) -> Fitted[Model]:
        """Trains; where memory runs out, once more from the newest checkpoint with the batch cut into smaller pieces.

        Raises OUT_OF_MEMORY's cause when the pieces cannot be smaller, CHECKPOINT_INVALID when a checkpoint that was
        chosen cannot be used, and what fit() and first_weights() do.
        """
        place = self._place
        rewind(CheckpointFolder(self._folder), self._folder, order=place.record.resume_order, recipe=recipe)
        place.held.enter_phase(Phase.TRAINING, f"Training {recipe.model_family}")
        set_threads(recipe.cpu_threads)
        allow_tf32(recipe.tf32)
        while True:
            try:
                with place.account.timed("train"):
                    return self._fit(recipe)
            except (MemoryError, RuntimeError, AppError) as error:
                smaller = halved(recipe) if _is_out_of_memory(error) else None
                if smaller is None:
                    raise
            # Only here, behind the except block, nothing refers to the model any more: the exception's frames did.
            _free_memory()
            self._cut(recipe, smaller)
            recipe = smaller

    def _fit(self, recipe: Recipe) -> Fitted[Model]:
        held, subject = self._place.held, self._subject
        seed_everything(recipe.seed)
        model = subject.build(recipe)
        device = select_device(recipe.device)
        with (
            RunSeries(self._place.folder) as series,
            subject.task(recipe, device=device, on_evaluation=lambda _share: held.check()) as task,
        ):
            observer = RunObserver(
                held=held,
                series=series,
                folder=self._place.folder,
                recipe=recipe,
                train_tokens=subject.train_tokens,
                validation_tokens=subject.validation_tokens,
            )
            checkpoints = CheckpointFolder(
                self._folder,
                reached=self._place.parts.reached,
                sign=observer.stop_requested,
                commit=self._place.commit,
            )
            result = fit(
                model=model,
                task=task,
                recipe=recipe,
                device=device,
                checkpoints=checkpoints,
                observer=observer,
                start=self._start(checkpoints),
            )
        return Fitted(model=model, recipe=recipe, result=result)

    def _start(self, checkpoints: CheckpointFolder) -> Snapshot | None:
        """Only a run that has come to a checkpoint of its own does without the earlier run's weights, if they have gone."""
        try:
            return first_weights(self._place.parts, self._spec, load=self._subject.load)
        except AppError as error:
            if not _any_is_good(checkpoints):
                raise
            log.warning("first_weights_gone", error_code=error.code.value, detail=error.message)
            return None

    def _cut(self, recipe: Recipe, smaller: Recipe) -> None:
        """Another attempt, of this worker or the next, begins with the smaller micro-batch."""
        place = self._place
        if place.held.is_lost:  # the folder is another worker's by now
            place.held.check()
        write_recipe(place.folder, smaller)
        place.account.resolved = as_json(smaller)
        place.account.seal_as_recorded(place.record, place.parts.artifacts)
        step = max(CheckpointFolder(self._folder).steps(), default=0)
        message = (
            f"Out of memory: micro-batch {recipe.batch_size} -> {smaller.batch_size}, accumulation "
            f"{recipe.gradient_accumulation_steps} -> {smaller.gradient_accumulation_steps}; going on from step {step}"
        )
        log.warning("out_of_memory", step=step, detail=message)
        place.held.enter_phase(Phase.TRAINING, message)


def _stop_if_asked(fitted: FitResult) -> None:
    match fitted.stopped:
        case None:
            return
        case StopReason.CANCEL:
            raise Cancelled
        case StopReason.PAUSE:
            raise Paused
        case StopReason.HAND_OVER:
            raise HandedOver
        case StopReason.LEASE_LOST:
            raise AppError(ErrorCode.LEASE_LOST, "Another worker owns this run now; this one stops.")
        case _:
            assert_never(fitted.stopped)


def _is_out_of_memory(error: Exception) -> bool:
    return as_app_error(error, fallback=ErrorCode.MODEL_TRAIN_FAILED).code is ErrorCode.OUT_OF_MEMORY


def _free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was never used


def _any_is_good(checkpoints: CheckpointFolder) -> bool:
    for step in reversed(checkpoints.steps()):
        try:
            checkpoints.load(step)
        except AppError:
            continue
        return True
    return False
