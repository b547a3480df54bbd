"""By what a run knows its own checkpoints."""

import hashlib

from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.training.checkpoint import Snapshot

_MAY_DIFFER = frozenset(
    {"batch_size", "gradient_accumulation_steps", "cpu_threads", "loader_workers", "pin_memory", "checkpoint"}
)
"""How a step is computed and what is kept of it, not what it computes: a resumed run may cut its batch differently, use
other cores, and save at other steps."""


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of all in a recipe that a resumed run must share, the effective batch included.

    keep_best is part of it: it decides which weights the run ends with.
    """
    fields = {name: value for name, value in as_json(recipe).items() if name not in _MAY_DIFFER}
    fields["effective_batch"] = recipe.batch_size * recipe.gradient_accumulation_steps
    fields["keep_best"] = recipe.checkpoint.keep_best
    return hashlib.sha256(dump_json(fields).encode()).hexdigest()


def check_same_run(snapshot: Snapshot, *, recipe_sha256: str, data_sha256: str, total_steps: int) -> None:
    """The same recipe on the same data has the same tensors by name and shape: nothing else is left to check.

    Other data are no reason to start over without a word: the run would end as one that nobody ordered.
    """
    if snapshot.state.recipe_sha256 != recipe_sha256:
        raise AppError(ErrorCode.CHECKPOINT_INVALID, "It was made by another recipe.")
    if snapshot.state.data_sha256 != data_sha256:
        raise AppError(
            ErrorCode.DATA_CHANGED,
            f"The data have changed since this run reached step {snapshot.state.step}, so it cannot go on. Order a new "
            "training, and leave its corpus as it is until it has ended.",
            facts={"step": snapshot.state.step},
        )
    if snapshot.state.total_steps != total_steps:
        raise AppError(ErrorCode.CHECKPOINT_INVALID, "It was made for a run of another length.")
