"""Checkpoints of a training, and how one of them is chosen to go on from."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from model_trainer.api.schemas.run import at_or_none
from model_trainer.core.artifact_files import CHECKPOINTS
from model_trainer.core.checkpoints import CheckpointFacts
from model_trainer.core.contracts.base import Contract, JsonObject


class ResumeBody(Contract):
    """Where to go on, if not from the newest good checkpoint."""

    step: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """Step of one of its checkpoints (GET /runs/{run_id}/checkpoints). Those after it are removed."""
    spec: JsonObject | None = None
    """What you take the training to have been ordered with; refused when it was another one. A changed spec is a new
    training: POST /runs/train with init_from."""


class CheckpointView(Contract):
    """One checkpoint."""

    step: int
    path: str
    """In the run's artifact."""
    saved_at: datetime | None
    """Null when it cannot be read."""
    num_bytes: int
    metrics: dict[str, float]
    """As they were measured then."""
    is_best: bool
    """The best so far by the early-stopping metric."""
    is_last: bool
    """The newest good one: what the run goes on from when no step is chosen."""
    resumable: bool
    problem: str | None
    """Why it is passed over."""


class CheckpointsView(Contract):
    """The checkpoints of one training, newest first."""

    run_id: str
    data: tuple[CheckpointView, ...]


def view_checkpoints(run_id: str, found: tuple[CheckpointFacts, ...]) -> CheckpointsView:
    """Checkpoints, newest first, as they are shown."""
    last = next((one.step for one in found if one.problem is None), None)
    return CheckpointsView(
        run_id=run_id,
        data=tuple(
            CheckpointView(
                step=one.step,
                path=f"{CHECKPOINTS}/{one.path}",
                saved_at=at_or_none(one.saved_at_ms or None),
                num_bytes=one.num_bytes,
                metrics=one.metrics,
                is_best=one.is_best,
                is_last=one.step == last,
                resumable=one.problem is None,
                problem=one.problem,
            )
            for one in found
        ),
    )
