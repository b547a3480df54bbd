"""Where a run's files lie in the artifact tree, and what the API reads there."""

from pathlib import Path
from typing import TypeVar, assert_never

from pydantic import ValidationError

from model_trainer.core.artifact_files import DETECTOR_METRICS, MANIFEST, MODEL_CARD
from model_trainer.core.contracts.base import Contract, dump_json
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.detectors import is_detector

AnyEvaluation = Evaluation | DetectorEvaluation
ContractT = TypeVar("ContractT", bound=Contract)

LOG_FILE = "logs.jsonl"
METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
EVALUATION_FILE = "eval/metrics.json"


def file_or_none(artifacts: ArtifactTree, kind: ArtifactKind, item_id: str, path: str) -> Path | None:
    """A file of an artifact; None while it is not there."""
    try:
        return artifacts.file(kind, item_id, path)
    except AppError as error:
        if error.code is not ErrorCode.ARTIFACT_NOT_FOUND:
            raise
        return None


def log_of(artifacts: ArtifactTree, record: RunRecord) -> Path | None:
    """The log of a run of any kind; None while there is none. That of a job on a trained model lies with the model."""
    match record.kind:
        case RunKind.TRAIN:
            return file_or_none(artifacts, "models", record.run_id, LOG_FILE)
        case RunKind.TOKENIZER:
            return file_or_none(artifacts, "tokenizers", record.run_id, LOG_FILE)
        case RunKind.EVALUATE | RunKind.CALIBRATE | RunKind.EXPORT:
            place = f"{record.kind.follow_up_folder}/{record.run_id}/{LOG_FILE}"
            return file_or_none(artifacts, "models", record.parent_run_id or "", place)
        case _:
            assert_never(record.kind)


def evaluation_after_training(artifacts: ArtifactTree, training: RunRecord) -> AnyEvaluation | None:
    """What was measured at the end of a training, or since with another calibration; None before there is anything."""
    if is_detector(training):
        return _detector_evaluation(artifacts, training.run_id, DETECTOR_METRICS)
    path = file_or_none(artifacts, "models", training.run_id, EVALUATION_FILE)
    return None if path is None else _parsed(Evaluation, path.read_bytes(), training.run_id)


def evaluation_of(artifacts: ArtifactTree, job: RunRecord, *, model: RunRecord) -> AnyEvaluation | None:
    """What an evaluation job on `model` found; None before it is completed."""
    if job.status is not RunStatus.COMPLETED:
        return None
    if is_detector(model):
        place = f"{job.kind.follow_up_folder}/{job.run_id}/{DETECTOR_METRICS}"
        return _detector_evaluation(artifacts, model.run_id, place)
    return _parsed(Evaluation, dump_json(job.result), job.run_id)


def model_card_of(artifacts: ArtifactTree, run_id: str) -> ModelCard | None:
    """model_card.json of a detector; None while there is none. Raises ARTIFACT_CORRUPT."""
    path = file_or_none(artifacts, "models", run_id, MODEL_CARD)
    return None if path is None else _parsed(ModelCard, path.read_bytes(), run_id)


def manifest_of(artifacts: ArtifactTree, kind: ArtifactKind, item_id: str) -> Manifest | None:
    """The manifest of an artifact; None while there is none. Raises ARTIFACT_CORRUPT."""
    path = file_or_none(artifacts, kind, item_id, MANIFEST)
    if path is None:
        return None
    return _parsed(Manifest, path.read_bytes(), item_id)


def _detector_evaluation(artifacts: ArtifactTree, run_id: str, place: str) -> DetectorEvaluation | None:
    path = file_or_none(artifacts, "models", run_id, place)
    return None if path is None else _parsed(DetectorEvaluation, path.read_bytes(), run_id)


def _parsed(contract: type[ContractT], json_text: bytes | str, item_id: str) -> ContractT:
    try:
        return contract.model_validate_json(json_text)
    except ValidationError as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT, f"A file of artifact {item_id} is damaged; its checksums tell which."
        ) from error
