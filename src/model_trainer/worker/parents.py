"""The earlier training that a training begins from: found, checked, its weights loaded."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.contracts.checkpoint import (
    SCHEMA_VERSION,
    BestState,
    LossScaleState,
    TrainingState,
    WindowState,
)
from model_trainer.core.contracts.training import InitFrom, Recipe, TrainSpec
from model_trainer.engine.training.checkpoint import CheckpointFolder, Snapshot
from model_trainer.engine.training.live_tensors import tensors_of
from model_trainer.engine.training.same_run import recipe_digest
from model_trainer.models.inheritance import PARENT_FIELD, STEP_FIELD, check_parent
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.manifests import read_manifest
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts

Load = Callable[[Recipe, Path], nn.Module]


def parent_recipe(parts: WorkerParts, spec: TrainSpec, *, tokenizer_sha256: str) -> Recipe | None:
    """The recipe of the training to begin from, which has been checked to fit; None when none was asked for.

    Raises what check_parent() does, RUN_NOT_FOUND, ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, all naming their field.
    """
    if spec.init_from is None:
        return None
    with faults_at(PARENT_FIELD), parts.artifacts.use("models", spec.init_from.run_id) as folder:
        check_parent(
            spec,
            parts.other_run(spec.init_from.run_id),
            steps=CheckpointFolder(folder / CHECKPOINTS).steps(),
            tokenizer_sha256=tokenizer_sha256,
            parent_tokenizer_sha256=read_manifest(folder).tokenizer_sha256,
        )
        return read_recipe(folder)


def first_weights(parts: WorkerParts, spec: TrainSpec, *, load: Load) -> Snapshot | None:
    """What training begins from; None when nothing was asked for. Whether it is of the same model, fit() checks.

    `load` gives the network of a completed artifact. Raises CHECKPOINT_INVALID, ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, all
    naming their field.
    """
    asked = spec.init_from
    if asked is None:
        return None
    with faults_at(PARENT_FIELD), parts.artifacts.use("models", asked.run_id) as folder:
        if asked.step is None:
            snapshot = _completed(load, folder)
        else:
            snapshot = _from_checkpoint(folder, asked, asked.step)
    return snapshot


def _from_checkpoint(folder: Path, asked: InitFrom, step: int) -> Snapshot:
    with faults_at(STEP_FIELD):
        snapshot = CheckpointFolder(folder / CHECKPOINTS).load(step)
    # Of these the engine takes the optimizer's state alone.
    training = snapshot.training if asked.keep_optimizer else {}
    return Snapshot(state=snapshot.state, model=snapshot.model, training=training)


def _completed(load: Load, folder: Path) -> Snapshot:
    """The weights a run ended with. They have no state: what else a run remembers is of its checkpoints."""
    recipe = read_recipe(folder)
    model = load(recipe, folder)
    state = TrainingState(
        schema_version=SCHEMA_VERSION,
        recipe_sha256=recipe_digest(recipe),
        data_sha256="",
        torch_version=torch.__version__,
        step=0,
        total_steps=0,
        batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        window=WindowState(),
        best=BestState(),
        loss_scale=LossScaleState(),
        metrics={},
    )
    return Snapshot(state=state, model=tensors_of(model), training={})
