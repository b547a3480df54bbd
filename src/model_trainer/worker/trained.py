"""Tokenizers and models that earlier jobs left, loaded again."""

from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.contracts.training import LanguageModelSpec, Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.protocols import LanguageModel
from model_trainer.models.family import LanguageFamily
from model_trainer.models.recipe_file import read_recipe
from model_trainer.worker.parts import WorkerParts

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A completed training of a language model, ready to use."""

    record: RunRecord
    spec: LanguageModelSpec
    recipe: Recipe
    tokenizer: Tokenizer
    model: LanguageModel
    folder: Path


def load_tokenizer(parts: WorkerParts, tokenizer_id: str) -> tuple[str, Tokenizer]:
    """The method and the loaded tokenizer; raises TOKENIZER_NOT_FOUND unless it is completed."""
    try:
        record = parts.other_run(tokenizer_id)
    except AppError as error:
        if error.code is not ErrorCode.RUN_NOT_FOUND:
            raise
        raise _no_tokenizer(tokenizer_id) from error
    if record.kind is not RunKind.TOKENIZER or record.status is not RunStatus.COMPLETED:
        raise _no_tokenizer(tokenizer_id)
    with parts.artifacts.use("tokenizers", tokenizer_id) as folder:
        return record.family, parts.registry.tokenizer(record.family).backend().load(folder)


def load_trained(parts: WorkerParts, run_id: str) -> TrainedModel:
    """A completed language model with all that belongs to it; raises CONFLICT when it is not completed or no language
    model, ARTIFACT_CORRUPT when its files do not fit."""
    record, spec = completed_training(parts, run_id)
    family = parts.registry.family(spec.model_family)
    if not isinstance(spec, LanguageModelSpec) or not isinstance(family, LanguageFamily):
        raise AppError(
            ErrorCode.CONFLICT, f"Run {run_id} trained a {family.name}, which is no language model."
        )
    _, tokenizer = load_tokenizer(parts, spec.tokenizer_id)
    with parts.artifacts.use("models", run_id) as folder:
        recipe = read_recipe(folder)
        model = family.backend().load(recipe, folder)
    return TrainedModel(
        record=record, spec=spec, recipe=recipe, tokenizer=tokenizer, model=model, folder=folder
    )


def completed_training(parts: WorkerParts, run_id: str) -> tuple[RunRecord, TrainSpec]:
    """The record and the spec of a completed training of any kind; raises CONFLICT."""
    record = parts.other_run(run_id)
    if record.kind is not RunKind.TRAIN or record.status is not RunStatus.COMPLETED:
        raise AppError(
            ErrorCode.CONFLICT, "Only a completed training can be used. Wait for it, or choose another run."
        )
    return record, parts.registry.parse_train_spec(dump_json(record.spec))


def _no_tokenizer(tokenizer_id: str) -> AppError:
    fault = FieldFault("/tokenizer_id", "must be the id of a completed tokenizer; GET /tokenizers lists them")
    return AppError(
        ErrorCode.TOKENIZER_NOT_FOUND, f"There is no completed tokenizer {tokenizer_id}.", faults=[fault]
    )
