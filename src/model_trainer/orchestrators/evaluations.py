"""Sets evaluations of finished trainings going. An evaluation is a run of its own, with the training as its parent."""

from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    IdempotencyKey,
    NewRun,
    RunKind,
    RunPage,
    RunQuery,
    RunRecord,
    RunStatus,
    Submission,
)
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Reached, pass_by
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.orchestrators.records import Records


class EvaluationOrchestrator:
    """Evaluations on request."""

    def __init__(
        self, *, runs: RunStore, artifacts: ArtifactTree, queue_name: str, reached: Reached = pass_by
    ) -> None:
        self._runs = runs
        self._records = Records(runs=runs, artifacts=artifacts, reached=reached)
        self._queue_name = queue_name

    def start(
        self, spec: EvaluateSpec, *, parent: RunRecord, request_id: str, idempotency: IdempotencyKey | None
    ) -> Submission:
        """Records the evaluation of `parent` and puts it in the short queue; raises CONFLICT when the training has
        not completed."""
        if parent.status is not RunStatus.COMPLETED:
            message = f"Run {parent.run_id} is {parent.status.value}; only a completed run can be evaluated."
            raise AppError(ErrorCode.CONFLICT, message, facts={"run_id": parent.run_id})
        run = NewRun(
            run_id=new_ulid(),
            kind=RunKind.EVALUATE,
            queue=self._queue_name,
            family=parent.family,
            spec=as_json(spec),
            user_id=parent.user_id,
            metadata={},
            parent_run_id=parent.run_id,
            request_id=request_id,
        )
        return self._records.submit(run, idempotency=idempotency)

    def list_evaluations(self, *, parent_run_id: str, limit: int, after: str | None = None) -> RunPage:
        """Evaluations of one training, newest first; with `after` only older ones than that."""
        query = RunQuery(kind=RunKind.EVALUATE, limit=limit, after=after, parent_run_id=parent_run_id)
        return self._runs.list_runs(query)
