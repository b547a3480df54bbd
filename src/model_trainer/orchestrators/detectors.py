"""Which runs are detectors, and which of those can be worked with: asked before anything is done with one."""

from model_trainer.core.contracts.run import RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode


def is_detector(record: RunRecord) -> bool:
    """Whether it trains a detector: these alone learn from `data_paths`."""
    return record.kind is RunKind.TRAIN and "data_paths" in record.spec


def check_trained_detector(record: RunRecord, *, wanted: str) -> None:
    """Raises CONFLICT, with the reason, when `record` is not a completed training of a detector.

    Args:
        record: of a training.
        wanted: what only a trained detector can do, as it follows on "can".
    """
    if not is_detector(record):
        message = f"Run {record.run_id} trains a {record.family}; only a text detector can {wanted}."
    elif record.status is not RunStatus.COMPLETED:
        message = f"Run {record.run_id} is {record.status.value}; only a completed detector can {wanted}."
    else:
        return
    raise AppError(ErrorCode.CONFLICT, message, facts={"run_id": record.run_id})
