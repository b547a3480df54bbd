"""How long a run is, and how often it logs, evaluates and saves when the recipe leaves that open."""

import math
from dataclasses import dataclass

from model_trainer.core.contracts.training import Recipe

_ROWS = 100
_EVALUATIONS = 10
_CHECKPOINTS = 10
_MOST_STEPS_PER_ROW = 100
_MOST_STEPS_PER_CHECKPOINT = 1000
"""A long run logs and saves by distance, not by share: nobody waits a day for the next row."""
_SECONDS_PER_CHECKPOINT = 300.0
_EVALUATION_COST_SHARE = 0.1
_FORWARD_SHARE = 1 / 3
"""A forward pass alone is about a third of a training step's work."""
_USUAL_HOLDOUT = 1 / 9
"""Validation text for each part of training text, at the default split of a tenth."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Optimizer steps between rows, evaluations and checkpoints."""

    log: int
    evaluate: int
    checkpoint: int | None
    """None: by the clock alone."""
    checkpoint_seconds: float | None
    """Also this long after the last one; None: whatever time it takes."""


def total_steps(recipe: Recipe, *, steps_per_epoch: float) -> int:
    """Optimizer steps of the whole run: max_steps, or the epochs rounded up."""
    if recipe.num_epochs is not None:
        return max(1, math.ceil(recipe.num_epochs * steps_per_epoch))
    return recipe.max_steps or 1


def intervals(recipe: Recipe, *, total_steps: int, steps_per_epoch: float) -> Intervals:
    """The recipe's intervals; where it leaves them open about 100 rows, 10 checkpoints (and one every five minutes) and up
    to 10 evaluations.

    Fewer evaluations where they would take more than a tenth of the work: validation reads the whole held-out text, and a
    short run on a large corpus would do little else. Rows and evaluations depend on recipe and data alone,
    never on a clock.
    """
    spec = recipe.checkpoint
    is_open = spec.every_steps is None and spec.every_seconds is None
    every_row = min(_MOST_STEPS_PER_ROW, _share(total_steps, _ROWS))
    every_checkpoint = min(_MOST_STEPS_PER_CHECKPOINT, _share(total_steps, _CHECKPOINTS))
    overlap = recipe.max_seq_len / recipe.eval_stride
    steps_an_evaluation_costs = steps_per_epoch * _USUAL_HOLDOUT * overlap * _FORWARD_SHARE
    affordable = int(total_steps * _EVALUATION_COST_SHARE / steps_an_evaluation_costs)
    every_evaluation = _share(total_steps, min(_EVALUATIONS, max(1, affordable)))
    return Intervals(
        log=recipe.log_every_steps or every_row,
        evaluate=recipe.eval_every_steps or every_evaluation,
        checkpoint=every_checkpoint if is_open else spec.every_steps,
        checkpoint_seconds=_SECONDS_PER_CHECKPOINT if is_open else spec.every_seconds,
    )


def _share(total: int, parts: int) -> int:
    return max(1, math.ceil(total / parts))
