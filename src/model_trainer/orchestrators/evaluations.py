"""Sets evaluations of finished trainings going."""

from model_trainer.core.contracts.detector import EvaluateDetectorSpec
from model_trainer.core.contracts.evaluation import EvaluateSpec
from model_trainer.core.contracts.run import RunKind, RunPage
from model_trainer.orchestrators.follow_ups import FollowUpOrchestrator


class EvaluationOrchestrator(FollowUpOrchestrator[EvaluateSpec | EvaluateDetectorSpec]):
    """Evaluations on request."""

    kind = RunKind.EVALUATE
    done = "evaluated"

    def list_evaluations(self, *, parent_run_id: str, limit: int, after: str | None = None) -> RunPage:
        """Evaluations of one training, newest first; with `after` only older ones than that."""
        return self.list_of(parent_run_id=parent_run_id, limit=limit, after=after)
