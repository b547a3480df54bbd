"""What is said of a detector's evaluation: a sentence, a few figures, the news."""

from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.events import JobEvaluated
from model_trainer.worker.lease import HeldRun


def figures_of(evaluation: DetectorEvaluation) -> dict[str, float]:
    """The figures a list of runs shows."""
    decided = next(each for each in evaluation.decisions if each.name == evaluation.decision)
    return {
        "roc_auc": evaluation.ranking.roc_auc.value,
        "tpr_at_fpr_1": evaluation.ranking.tpr_at_fpr_1.value,
        "f1": decided.f1.value,
        "fpr": decided.fpr.value,
        "ece": evaluation.probabilities.ece,
    }


def sentence_of(evaluation: DetectorEvaluation) -> str:
    """What became of it, for people."""
    shown = figures_of(evaluation)
    return (
        f"ROC-AUC {shown['roc_auc']:.4f}, F1 {shown['f1']:.4f} at {evaluation.decision}, "
        f"{shown['fpr']:.2%} of human texts called AI, on {evaluation.split}."
    )


def tell_evaluated(held: HeldRun, evaluation: DetectorEvaluation) -> None:
    """News of an evaluation."""
    comparison = evaluation.comparison
    held.emit(
        JobEvaluated(
            job_id=held.run_id,
            user_id=held.user_id,
            evaluation_id=evaluation.evaluation_id,
            split=evaluation.split,
            metrics=figures_of(evaluation),
            regression=comparison.regression if comparison is not None else None,
        )
    )
