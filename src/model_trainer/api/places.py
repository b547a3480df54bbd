"""Where a run's files lie in the artifact tree, and what the API reads there."""

from pathlib import Path
from typing import assert_never

from pydantic import ValidationError

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.manifest import ArtifactKind, Manifest
from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import ArtifactTree

LOG_FILE = "logs.jsonl"
METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
EVALUATION_FILE = "eval/metrics.json"
MANIFEST_FILE = "manifest.json"


def file_or_none(artifacts: ArtifactTree, kind: ArtifactKind, item_id: str, path: str) -> Path | None:
    """A file of an artifact; None while it is not there."""
    try:
        return artifacts.file(kind, item_id, path)
    except AppError as error:
        if error.code is not ErrorCode.ARTIFACT_NOT_FOUND:
            raise
        return None


def log_of(artifacts: ArtifactTree, record: RunRecord) -> Path | None:
    """The log of a run of any kind; None while there is none. An evaluation's lies with the model it evaluates."""
    match record.kind:
        case RunKind.TRAIN:
            return file_or_none(artifacts, "models", record.run_id, LOG_FILE)
        case RunKind.TOKENIZER:
            return file_or_none(artifacts, "tokenizers", record.run_id, LOG_FILE)
        case RunKind.EVALUATE:
            return file_or_none(
                artifacts, "models", record.parent_run_id or "", f"eval/{record.run_id}/{LOG_FILE}"
            )
        case _:
            assert_never(record.kind)


def evaluation_after_training(artifacts: ArtifactTree, run_id: str) -> Evaluation | None:
    """eval/metrics.json of a training; None before there is one."""
    path = file_or_none(artifacts, "models", run_id, EVALUATION_FILE)
    return None if path is None else _evaluation(path.read_bytes(), run_id)


def evaluation_of(record: RunRecord) -> Evaluation | None:
    """What an evaluation job found; None before it is completed."""
    return (
        _evaluation(dump_json(record.result), record.run_id) if record.status is RunStatus.COMPLETED else None
    )


def manifest_of(artifacts: ArtifactTree, kind: ArtifactKind, item_id: str) -> Manifest | None:
    """The manifest of an artifact; None while there is none. Raises ARTIFACT_CORRUPT."""
    path = file_or_none(artifacts, kind, item_id, MANIFEST_FILE)
    if path is None:
        return None
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _corrupt(item_id) from error


def _evaluation(json_text: bytes | str, run_id: str) -> Evaluation:
    try:
        return Evaluation.model_validate_json(json_text)
    except ValidationError as error:
        raise _corrupt(run_id) from error


def _corrupt(item_id: str) -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT, f"A file of artifact {item_id} is damaged; its checksums tell which."
    )
