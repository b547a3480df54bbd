"""All evaluations of one training."""

from model_trainer.api.schemas.page import Limit
from model_trainer.api.schemas.run import RunView
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.ids import UlidText


class EvaluationsQuery(Contract):
    """Which evaluations of a training."""

    limit: Limit = 100
    """Evaluations asked for in one page."""
    after: UlidText | None = None
    """Only evaluations asked for before this one (the last of `jobs` of the page before)."""


class EvaluationsView(Contract):
    """What was measured, and which jobs measure or measured on request."""

    run_id: str
    data: tuple[Evaluation | DetectorEvaluation, ...]
    """On the first page the evaluation after training first; then what those in `jobs` found. Language models and detectors
    are measured by different figures."""
    jobs: tuple[RunView, ...]
    """Evaluations asked for, newest first, whatever became of them."""
    has_more: bool
    """Whether older ones follow; ask for them with after=<run_id of the last job>."""
