"""The learning rate over a run: a pure function of the step, so that resuming needs no state for it."""

import math
from typing import assert_never

from model_trainer.core.contracts.training import Recipe


def multiplier(step: int, *, total_steps: int, recipe: Recipe) -> float:
    """By what to multiply the peak learning rates in `step`, which counts from 0.

    Warm-up is linear and reaches the peak in step `warmup_steps - 1`. What follows would reach `final_fraction` in the
    step after the last one, so that no step stands still. warmup_stable_decay is flat and falls linearly over the last
    `decay_fraction` of the run (Hägele et al. 2024, arXiv 2405.18392).
    """
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return 1.0 + (recipe.final_fraction - 1.0) * _decayed(step, total_steps=total_steps, recipe=recipe)


def _decayed(step: int, *, total_steps: int, recipe: Recipe) -> float:
    """How much of the way down is done: 0 at the peak, 1 at the bottom."""
    match recipe.schedule:
        case "constant":
            return 0.0
        case "linear":
            return _share(step, first=recipe.warmup_steps, end=total_steps)
        case "cosine":
            return (1 - math.cos(math.pi * _share(step, first=recipe.warmup_steps, end=total_steps))) / 2
        case "warmup_stable_decay":
            stable_steps = total_steps - round(recipe.decay_fraction * total_steps)
            return _share(step, first=max(recipe.warmup_steps, stable_steps), end=total_steps)
        case _:
            assert_never(recipe.schedule)


def _share(step: int, *, first: int, end: int) -> float:
    """How far `step`, which is before `end`, is on the way from `first` to there."""
    if step <= first:
        return 0.0
    return (step - first) / (end - first)
