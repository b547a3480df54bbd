"""Sets trainings going and looks after their records. Knows no HTTP and no torch."""

from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.checkpoints import CheckpointFacts, list_checkpoints
from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    IdempotencyKey,
    NewRun,
    RunKind,
    RunPage,
    RunQuery,
    RunRecord,
    Submission,
)
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.records import Records
from model_trainer.orchestrators.resuming import (
    check_folder,
    check_same_spec,
    check_stands_still,
    check_step,
    check_training,
)


class TrainingOrchestrator:
    """Trainings, and what all kinds of runs share: reading, listing, cancelling."""

    def __init__(
        self,
        *,
        runs: RunStore,
        artifacts: ArtifactTree,
        needs: Needs,
        queue_name: str,
        reached: Reached = pass_by,
    ) -> None:
        self._runs = runs
        self._artifacts = artifacts
        self._records = Records(runs=runs, artifacts=artifacts, needs=needs, reached=reached)
        self._queue_name = queue_name

    def start(self, spec: TrainSpec, *, request_id: str, idempotency: IdempotencyKey | None) -> Submission:
        """Records the run and puts it in the queue, once per idempotency key."""
        run = NewRun(
            run_id=new_ulid(),
            kind=RunKind.TRAIN,
            queue=self._queue_name,
            family=spec.model_family,
            spec=as_json(spec),
            user_id=spec.user_id,
            metadata=spec.metadata,
            parent_run_id=None if spec.init_from is None else spec.init_from.run_id,
            request_id=request_id,
        )
        return self._records.submit(run, idempotency=idempotency)

    def find(self, run_id: str) -> RunRecord:
        """The record of a run of any kind; raises RUN_NOT_FOUND."""
        return self._runs.get(run_id)

    def find_training(self, run_id: str) -> RunRecord:
        """The record of a training; raises RUN_NOT_FOUND, for a run of another kind too."""
        record = self._runs.get(run_id)
        if record.kind is not RunKind.TRAIN:
            raise AppError(
                ErrorCode.RUN_NOT_FOUND, f"{run_id} is not a training; it is of kind {record.kind.value}."
            )
        return record

    def list_runs(self, query: RunQuery) -> RunPage:
        """One page of runs, newest first."""
        return self._runs.list_runs(query)

    def checkpoints(self, run_id: str) -> tuple[CheckpointFacts, ...]:
        """What a training can go on from, newest first; raises RUN_NOT_FOUND."""
        return self._checkpoints(self.find_training(run_id))

    def cancel(self, run_id: str) -> RunRecord:
        """Asks a run of any kind to stop; raises RUN_NOT_FOUND, and CONFLICT when it has ended otherwise."""
        return self._records.keep(self._runs.request_cancel(run_id))

    def pause(self, run_id: str) -> RunRecord:
        """Asks a training to stand still; raises RUN_NOT_FOUND, and CONFLICT when it has ended, is being cancelled, or
        is no training."""
        return self._records.keep(self._runs.request_pause(run_id))

    def resume(
        self,
        run_id: str,
        *,
        step: int | None = None,
        spec: TrainSpec | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Submission:
        """Lets a training go on from its newest checkpoint, or from that of `step`, forgetting those after it.

        Args:
            run_id: a training that stands still, failed or was cancelled.
            step: of one of its checkpoints.
            spec: what the caller takes it to have been ordered with.
            idempotency: the caller's key; the run goes on once for each.

        Raises RUN_NOT_FOUND; CONFLICT when the run, its folder or the spec forbids it; CONFIG_INVALID for a step without
        a good checkpoint; DATA_NOT_FOUND or TOKENIZER_NOT_FOUND when what it learns from has gone.
        """
        record = self._runs.get(run_id)
        check_training(record)
        check_stands_still(record)
        check_folder(record, self._artifacts)
        if spec is not None:
            check_same_spec(record, spec)
        if step is not None:
            check_step(step, self._checkpoints(record))
        self._records.secure(record)
        resumed = self._runs.resume(run_id, step=step, idempotency=idempotency)
        self._records.keep(resumed.record)
        return resumed

    def _checkpoints(self, record: RunRecord) -> tuple[CheckpointFacts, ...]:
        if not self._artifacts.exists("models", record.run_id):
            return ()
        folder = self._artifacts.folder("models", record.run_id) / CHECKPOINTS
        return tuple(reversed(list_checkpoints(folder)))
