"""Sets jobs on finished trainings going: evaluations, calibrations, exports. Each is a run of its own, with the training
as its parent."""

from typing import Generic, TypeVar

from model_trainer.core.contracts.base import Contract, as_json
from model_trainer.core.contracts.detector import CalibrateSpec, ExportSpec
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
from model_trainer.orchestrators.detectors import is_detector
from model_trainer.orchestrators.needs import Needs
from model_trainer.orchestrators.records import Records

Spec = TypeVar("Spec", bound=Contract)


class FollowUpOrchestrator(Generic[Spec]):
    """Jobs of one kind on completed trainings."""

    kind: RunKind
    done: str
    """What only a completed training can be."""
    of_detectors = False
    """Whether it is done to no other model."""

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
        self._records = Records(runs=runs, artifacts=artifacts, needs=needs, reached=reached)
        self._queue_name = queue_name

    def start(
        self, spec: Spec, *, parent: RunRecord, request_id: str, idempotency: IdempotencyKey | None
    ) -> Submission:
        """Records the job on `parent` and puts it in the short queue; raises CONFLICT when the training has not
        completed, or is not of a model that this can be done to."""
        self._check(parent)
        run = NewRun(
            run_id=new_ulid(),
            kind=self.kind,
            queue=self._queue_name,
            family=parent.family,
            spec=as_json(spec),
            user_id=parent.user_id,
            metadata={},
            parent_run_id=parent.run_id,
            request_id=request_id,
        )
        return self._records.submit(run, idempotency=idempotency)

    def list_of(self, *, parent_run_id: str, limit: int, after: str | None = None) -> RunPage:
        """Such jobs on one training, newest first; with `after` only older ones than that."""
        query = RunQuery(kind=self.kind, limit=limit, after=after, parent_run_id=parent_run_id)
        return self._runs.list_runs(query)

    def _check(self, parent: RunRecord) -> None:
        if self.of_detectors and not is_detector(parent):
            is_training = parent.kind is RunKind.TRAIN
            what = f"a training of {parent.family}" if is_training else f"of kind {parent.kind.value}"
            raise _refused(parent, f"is {what}; only a detector can be {self.done}")
        if parent.status is not RunStatus.COMPLETED:
            raise _refused(parent, f"is {parent.status.value}; only a completed run can be {self.done}")


class CalibrationOrchestrator(FollowUpOrchestrator[CalibrateSpec]):
    """Calibrations on request."""

    kind = RunKind.CALIBRATE
    done = "calibrated"
    of_detectors = True


class ExportOrchestrator(FollowUpOrchestrator[ExportSpec]):
    """Exports on request."""

    kind = RunKind.EXPORT
    done = "exported"
    of_detectors = True


def _refused(parent: RunRecord, why: str) -> AppError:
    return AppError(ErrorCode.CONFLICT, f"Run {parent.run_id} {why}.", facts={"run_id": parent.run_id})
