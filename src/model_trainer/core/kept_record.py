"""A record onto disk, by whoever changed it: `model-trainer rebuild` starts from there. A disk that refuses fails nobody."""

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import ArtifactTree

log = get_logger(__name__)


def keep_record(artifacts: ArtifactTree, record: RunRecord) -> None:
    """Writes the record to disk. The store has it already, so what the disk refuses is told to the log alone."""
    try:
        artifacts.keep_record(record)
    except (AppError, OSError) as error:
        log.warning("record_not_kept", run_id=record.run_id, detail=f"{type(error).__name__}: {error}")
