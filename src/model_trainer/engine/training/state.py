"""What a run remembers besides tensors, as it stands in a checkpoint. Numbers survive JSON bit for bit."""

import hashlib
from typing import Final, Literal

from model_trainer.core.contracts.base import Contract, as_json, dump_json
from model_trainer.core.contracts.training import Recipe

SCHEMA_VERSION: Final = 1

_MAY_DIFFER = frozenset(
    {"batch_size", "gradient_accumulation_steps", "cpu_threads", "loader_workers", "pin_memory"}
)
"""How a step is computed, not what it computes: a resumed run may cut its batch differently or use other cores."""


class WindowState(Contract):
    """Sums over the steps since the last row."""

    loss_sum: float = 0.0
    norm_sum: float = 0.0
    num_steps: int = 0
    num_norms: int = 0
    """Steps whose gradients were finite; with fp16 some are not, and are passed over."""


class BestState(Contract):
    """The best evaluation so far, and how long nothing got better."""

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = {}
    reference: float | None = None
    """The value that the next one must beat by min_delta."""
    num_evaluations: int = 0
    num_without_improvement: int = 0
    stopped_early: bool = False


class LossScaleState(Contract):
    """Of fp16's loss scaling."""

    scale: float = 1.0
    num_good_steps: int = 0


class TrainingState(Contract):
    """state.json of a checkpoint."""

    schema_version: Literal[1]
    recipe_sha256: str
    data_sha256: str
    torch_version: str
    step: int
    total_steps: int
    batch_size: int
    gradient_accumulation_steps: int
    window: WindowState
    best: BestState
    loss_scale: LossScaleState
    metrics: dict[str, float]
    """The latest of each."""


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of all in a recipe that a resumed run must share, the effective batch included."""
    fields = {name: value for name, value in as_json(recipe).items() if name not in _MAY_DIFFER}
    fields["effective_batch"] = recipe.batch_size * recipe.gradient_accumulation_steps
    return hashlib.sha256(dump_json(fields).encode()).hexdigest()
