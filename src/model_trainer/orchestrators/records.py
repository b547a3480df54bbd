"""What every order does to a record: into the store, then onto disk, where `model-trainer rebuild` finds it."""

from model_trainer.core.contracts.run import IdempotencyKey, NewRun, RunRecord, Submission
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.kept_record import keep_record
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree


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
        """Writes the record to disk and gives it back."""
        keep_record(self._artifacts, record)
        return record
