"""Sets trainings going and looks after their records. Knows no HTTP and no torch."""

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
from model_trainer.core.ports.runs import RunStore


class TrainingOrchestrator:
    """Trainings, and what all kinds of runs share: reading, listing, cancelling."""

    def __init__(self, *, runs: RunStore, queue_name: str) -> None:
        self._runs = runs
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
            parent_run_id=None,
            request_id=request_id,
        )
        return self._runs.submit(run, idempotency=idempotency)

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

    def cancel(self, run_id: str) -> RunRecord:
        """Asks a run of any kind to stop; raises RUN_NOT_FOUND, and CONFLICT when it has ended otherwise."""
        return self._runs.request_cancel(run_id)
