"""Keeps the records on disk in step with what this process changed in the store: `model-trainer rebuild` reads them."""

from model_trainer.core.errors import AppError
from model_trainer.core.kept_record import keep_record
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree

log = get_logger(__name__)


class RecordKeeper:
    """Copies records from the store to disk. What cannot be copied is said and does no harm: the store has it."""

    def __init__(self, *, runs: RunStore, artifacts: ArtifactTree) -> None:
        """Nothing is copied yet."""
        self._runs = runs
        self._artifacts = artifacts

    def __call__(self, *run_ids: str) -> None:
        """Copies the records of these runs as they are now."""
        for run_id in run_ids:
            try:
                record = self._runs.get(run_id)
            except AppError as error:
                log.warning("record_not_kept", run_id=run_id, detail=str(error))
            else:
                keep_record(self._artifacts, record)
