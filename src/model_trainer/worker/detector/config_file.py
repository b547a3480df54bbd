"""training_config.json of a detector: what its weights were made with and must be used with."""

from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.artifact_files import TRAINING_CONFIG
from model_trainer.core.contracts.detector import TrainingConfig
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically


def read_training_config(path: Path) -> TrainingConfig:
    """What write_training_config() wrote; raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT."""
    try:
        return TrainingConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        message = f"There is no {TRAINING_CONFIG}: the detector was not trained to its end. Train it again."
        raise AppError(ErrorCode.ARTIFACT_NOT_FOUND, message) from error
    except ValidationError as error:
        message = f"{TRAINING_CONFIG} is damaged, or of another version. Train the detector again."
        raise AppError(ErrorCode.ARTIFACT_CORRUPT, message) from error


def write_training_config(config: TrainingConfig, path: Path) -> None:
    """Writes `path` whole or not at all."""
    write_atomically(path, f"{config.model_dump_json(indent=2)}\n".encode())
