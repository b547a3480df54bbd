"""What every order does to a record: into the store, then onto disk, where `model-trainer rebuild` finds it."""

from model_trainer.core.contracts.run import IdempotencyKey, NewRun, RunRecord, Submission
from model_trainer.core.errors import AppError
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree

logger = get_logger(__name__)


class Records:
    """The store, with a copy of what it says on disk."""

    def __init__(self, *, runs: RunStore, artifacts: ArtifactTree, reached: Reached = pass_by) -> None:
        self._runs = runs
        self._artifacts = artifacts
        self._reached = reached

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """A new run in the store, in the queue and on disk, once per idempotency key."""
        submission = self._runs.submit(run, idempotency=idempotency)
        self.keep(submission.record)
        self._reached(Failpoint.SUBMIT_KEPT)
        return submission

    def keep(self, record: RunRecord) -> RunRecord:
        """Writes the record to disk and gives it back. The store has it already: a disk that refuses fails nobody."""
        try:
            self._artifacts.keep_record(record)
        except (AppError, OSError) as error:
            logger.warning("record_not_kept", run_id=record.run_id, detail=f"{type(error).__name__}: {error}")
        return record
