"""The best evaluation so far, and when to stop for want of a better one."""

from typing import Literal

from model_trainer.core.contracts.checkpoint import BestState
from model_trainer.core.contracts.training import EarlyStoppingSpec


class BestSoFar:
    """Judges each evaluation by one metric; without early stopping by the loss, and never stops."""

    def __init__(self, early_stopping: EarlyStoppingSpec | None) -> None:
        self._stopping = early_stopping
        self._rule = early_stopping or EarlyStoppingSpec()
        self.state = BestState()

    def consider(self, metrics: dict[str, float], *, step: int) -> bool:
        """Takes note of an evaluation; returns whether it is the best yet."""
        before, value = self.state, metrics[self._rule.metric]
        is_best = _better(value, before.value, by=0.0, mode=self._rule.resolved_mode())
        has_improved = _better(
            value, before.reference, by=self._rule.min_delta, mode=self._rule.resolved_mode()
        )
        in_warmup = before.num_evaluations < self._rule.warmup_evals
        without = 0 if has_improved or in_warmup else before.num_without_improvement + 1
        self.state = BestState(
            step=step if is_best else before.step,
            value=value if is_best else before.value,
            metrics=metrics if is_best else before.metrics,
            reference=value if has_improved else before.reference,
            num_evaluations=before.num_evaluations + 1,
            num_without_improvement=without,
            stopped_early=self._stopping is not None and without >= self._rule.patience,
        )
        return is_best

    def replace(self, metrics: dict[str, float], *, step: int) -> None:
        """The weights of the best evaluation are lost: those of this one stand in."""
        before = self.state
        self.state = BestState(
            step=step,
            value=metrics[self._rule.metric],
            metrics=metrics,
            reference=before.reference,
            num_evaluations=before.num_evaluations,
            num_without_improvement=before.num_without_improvement,
            stopped_early=before.stopped_early,
        )


def _better(value: float, than: float | None, *, by: float, mode: Literal["min", "max"]) -> bool:
    if than is None:
        return True
    return value < than - by if mode == "min" else value > than + by
