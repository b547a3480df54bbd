"""What every order does to a record: into the store, then onto disk, where `model-trainer rebuild` finds it."""

from model_trainer.core.contracts.run import IdempotencyKey, NewRun, RunRecord, Submission
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.kept_record import keep_record
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.needs import Needs


class Records:
    """The store, with a copy of what it says on disk."""

    def __init__(
        self, *, runs: RunStore, artifacts: ArtifactTree, needs: Needs, reached: Reached = pass_by
    ) -> None:
        self._runs = runs
        self._artifacts = artifacts
        self._needs = needs
        self._reached = reached

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """A new run in the store, in the queue and on disk, once per idempotency key. Raises what Needs.secure() raises."""
        try:
            self._needs.secure(run.run_id, run.spec)
            submission = self._runs.submit(run, idempotency=idempotency)
        except AppError as error:
            # When the store went away nobody knows whether the run was made.
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                self._needs.let_go(run.run_id, run.spec)
            raise
        if submission.record.run_id != run.run_id:
            self._needs.let_go(run.run_id, run.spec)
        self.keep(submission.record)
        self._reached(Failpoint.SUBMIT_KEPT)
        return submission

    def secure(self, record: RunRecord) -> None:
        """Makes sure that what a run needs which goes on is there, and stays. Raises what Needs.secure() raises."""
        self._needs.secure(record.run_id, record.spec)

    def keep(self, record: RunRecord) -> RunRecord:
        """Writes the record to disk and gives it back."""
        keep_record(self._artifacts, record)
        return record
