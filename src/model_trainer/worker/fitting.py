"""The fit of a training job, and what it recovers from: a chosen checkpoint, weights of an earlier run, too little memory."""

import gc
from dataclasses import dataclass

import torch

from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.engine.devices import select_device, set_threads
from model_trainer.engine.protocols import FitResult, LanguageModel
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.engine.training.checkpoint import CheckpointFolder, Commit, Snapshot
from model_trainer.engine.training.micro_batch import halved
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.family import Family
from model_trainer.models.recipe_file import write_recipe
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.observer import RunObserver
from model_trainer.worker.outcomes import as_app_error
from model_trainer.worker.parents import CHECKPOINTS, first_weights
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.rewinding import rewind
from model_trainer.worker.series import RunSeries

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model that has been trained, or whose training was asked to stop."""

    model: LanguageModel
    recipe: Recipe
    """By which it was trained in the end: memory may have asked for a smaller micro-batch."""
    result: FitResult


class Fitting:
    """One job's training."""

    def __init__(
        self,
        parts: WorkerParts,
        *,
        held: HeldRun,
        record: RunRecord,
        account: ArtifactAccount,
        spec: TrainSpec,
        family: Family,
        splits: TokenSplits,
        commit: Commit,
    ) -> None:
        """Nothing is built yet."""
        self._parts = parts
        self._held = held
        self._record = record
        self._account = account
        self._spec = spec
        self._family = family
        self._splits = splits
        self._commit = commit
        self._folder = account.folder / CHECKPOINTS

    def fit(self, recipe: Recipe) -> Fitted:
        """Trains; where memory runs out, once more from the newest checkpoint with the batch cut into smaller pieces.

        Raises OUT_OF_MEMORY's cause when the pieces cannot be smaller, CHECKPOINT_INVALID when a checkpoint that was
        chosen cannot be used, and what fit() and first_weights() do.
        """
        rewind(CheckpointFolder(self._folder), self._folder, order=self._record.resume_order, recipe=recipe)
        self._held.enter_phase(Phase.TRAINING, f"Training {recipe.model_family}")
        set_threads(recipe.cpu_threads)
        while True:
            try:
                with self._account.timed("train"):
                    return self._fit(recipe)
            except (MemoryError, RuntimeError, AppError) as error:
                smaller = halved(recipe) if _is_out_of_memory(error) else None
                if smaller is None:
                    raise
            # Only here, behind the except block, nothing refers to the model any more: the exception's frames did.
            _free_memory()
            self._cut(recipe, smaller)
            recipe = smaller

    def _fit(self, recipe: Recipe) -> Fitted:
        seed_everything(recipe.seed)
        model = self._family.backend().build(recipe)
        device = select_device(recipe.device)
        train, validation = self._splits.train, self._splits.validation
        with (
            RunSeries(self._account.folder) as series,
            LanguageModellingTask(
                train=train,
                validation=validation,
                recipe=recipe,
                device=device,
                on_evaluation=lambda _share: self._held.check(),
            ) as task,
        ):
            observer = RunObserver(
                held=self._held,
                series=series,
                folder=self._account.folder,
                recipe=recipe,
                train_tokens=train.facts.num_tokens,
                validation_tokens=validation.facts.num_tokens,
            )
            checkpoints = CheckpointFolder(
                self._folder,
                reached=self._parts.reached,
                sign=observer.stop_requested,
                commit=self._commit,
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
            return first_weights(self._parts, self._spec, family=self._family)
        except AppError as error:
            if not _any_is_good(checkpoints):
                raise
            log.warning("first_weights_gone", error_code=error.code.value, detail=error.message)
            return None

    def _cut(self, recipe: Recipe, smaller: Recipe) -> None:
        """Another attempt, of this worker or the next, begins with the smaller micro-batch."""
        if self._held.is_lost:  # the folder is another worker's by now
            self._held.check()
        write_recipe(self._account.folder, smaller)
        self._account.resolved = as_json(smaller)
        self._account.seal_as_recorded(self._record, self._parts.artifacts)
        step = max(CheckpointFolder(self._folder).steps(), default=0)
        message = (
            f"Out of memory: micro-batch {recipe.batch_size} -> {smaller.batch_size}, accumulation "
            f"{recipe.gradient_accumulation_steps} -> {smaller.gradient_accumulation_steps}; going on from step {step}"
        )
        log.warning("out_of_memory", step=step, detail=message)
        self._held.enter_phase(Phase.TRAINING, message)


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
