"""Going back to a checkpoint that somebody chose, once for each such order."""

from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.contracts.run import ResumeOrder
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.core.logging import get_logger
from model_trainer.engine.training.checkpoint import CheckpointFolder
from model_trainer.engine.training.same_run import recipe_digest

log = get_logger(__name__)

REWOUND_FILE = "rewound.json"
"""In the folder of checkpoints: the order that was obeyed last."""


def rewind(checkpoints: CheckpointFolder, folder: Path, *, order: ResumeOrder | None, recipe: Recipe) -> None:
    """Forgets the checkpoints in `folder` after the one that was chosen, unless this order was obeyed before.

    Raises CHECKPOINT_INVALID when the chosen one cannot be used; all are left as they are then: nobody chose another.
    """
    if order is None or _obeyed(folder) == order:
        return
    _check(checkpoints, step=order.step, recipe=recipe)
    checkpoints.forget_after(order.step)
    write_atomically(folder / REWOUND_FILE, (order.model_dump_json() + "\n").encode())
    log.info("training_rewound", step=order.step, epoch=order.epoch)


def _check(checkpoints: CheckpointFolder, *, step: int, recipe: Recipe) -> None:
    try:
        if checkpoints.load(step).state.recipe_sha256 != recipe_digest(recipe):
            raise AppError(ErrorCode.CHECKPOINT_INVALID, "It was made by another recipe.")
    except AppError as error:
        name = checkpoints.path_of(step).name
        message = f"The run was to go on from {name}, which cannot be used. {error.message} Choose another one to resume from."
        raise AppError(ErrorCode.CHECKPOINT_INVALID, message, facts={"step": step}) from error


def _obeyed(folder: Path) -> ResumeOrder | None:
    try:
        return ResumeOrder.model_validate_json((folder / REWOUND_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
