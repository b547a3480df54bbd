"""All evaluations of one training."""

from model_trainer.api.schemas.run import RunView
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.evaluation import Evaluation


class EvaluationsView(Contract):
    """What was measured, and which jobs measure or measured on request."""

    run_id: str
    data: tuple[Evaluation, ...]
    """The evaluation after training first, then the newest of those asked for."""
    jobs: tuple[RunView, ...]
    """Evaluations asked for, newest first, whatever became of them."""
