"""News: what happened to a run, in the past tense. One table for code and docs/events.md.

Each event goes into its run's ordered stream; `job_id` is the run id. Names end in a version; a reader skips
versions it does not know.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.run import Phase, Progress
from model_trainer.core.errors import ErrorCode, FailureClass, Reason

SseName = Literal["state", "progress", "metric", "checkpoint", "error"]


class _RunEvent(Contract):
    job_id: str
    user_id: str | None


class JobQueued(_RunEvent):
    """The run was accepted, or handed back to the queue."""

    type: Literal["trainer.job.queued.v1"] = "trainer.job.queued.v1"
    kind: str
    family: str
    queue: str


class JobStarted(_RunEvent):
    """A worker claimed the run."""

    type: Literal["trainer.job.started.v1"] = "trainer.job.started.v1"
    epoch: int
    attempt: int
    worker: str


class JobProgress(_RunEvent):
    """A phase began or came further."""

    type: Literal["trainer.job.progress.v1"] = "trainer.job.progress.v1"
    phase: Phase
    message: str
    progress: Progress


class CheckpointSaved(_RunEvent):
    """A checkpoint is complete on disk."""

    type: Literal["trainer.job.checkpoint_saved.v1"] = "trainer.job.checkpoint_saved.v1"
    step: int
    path: str
    num_bytes: int
    metrics: dict[str, float]


class CheckpointRejected(_RunEvent):
    """A checkpoint did not verify and was passed over."""

    type: Literal["trainer.job.checkpoint_rejected.v1"] = "trainer.job.checkpoint_rejected.v1"
    path: str
    why: str


class JobEvaluated(_RunEvent):
    """An evaluation is complete."""

    type: Literal["trainer.job.evaluated.v1"] = "trainer.job.evaluated.v1"
    evaluation_id: str
    split: str
    metrics: dict[str, float]
    regression: bool | None


class JobPaused(_RunEvent):
    """The run stands still and keeps its last checkpoint."""

    type: Literal["trainer.job.paused.v1"] = "trainer.job.paused.v1"
    reason: Reason | None


class JobResumed(_RunEvent):
    """The run goes on from a checkpoint."""

    type: Literal["trainer.job.resumed.v1"] = "trainer.job.resumed.v1"
    step: int


class JobCancelled(_RunEvent):
    """The run ended because somebody asked."""

    type: Literal["trainer.job.cancelled.v1"] = "trainer.job.cancelled.v1"
    step: int


class JobCompleted(_RunEvent):
    """The run ended well."""

    type: Literal["trainer.job.completed.v1"] = "trainer.job.completed.v1"
    message: str
    metrics: dict[str, float]


class JobFailed(_RunEvent):
    """The run ended badly."""

    type: Literal["trainer.job.failed.v1"] = "trainer.job.failed.v1"
    error_code: ErrorCode
    message: str
    reason: Reason
    failure_class: FailureClass


class MetricsConfig(_RunEvent):
    """What the series that follow are of."""

    type: Literal["trainer.metrics.config.v1"] = "trainer.metrics.config.v1"
    total_steps: int
    num_parameters: int
    tokens_per_step: int
    device: str
    precision: str
    train_tokens: int
    validation_tokens: int


class MetricsProgress(_RunEvent):
    """One row of the series; names as in metrics.jsonl and timings.jsonl."""

    type: Literal["trainer.metrics.progress.v1"] = "trainer.metrics.progress.v1"
    step: int
    metrics: dict[str, float]
    timings: dict[str, float]


class MetricsCompleted(_RunEvent):
    """The last word of the series."""

    type: Literal["trainer.metrics.completed.v1"] = "trainer.metrics.completed.v1"
    step: int
    metrics: dict[str, float]
    early_stopped: bool
    best_step: int | None


Event = (
    JobQueued
    | JobStarted
    | JobProgress
    | CheckpointSaved
    | CheckpointRejected
    | JobEvaluated
    | JobPaused
    | JobResumed
    | JobCancelled
    | JobCompleted
    | JobFailed
    | MetricsConfig
    | MetricsProgress
    | MetricsCompleted
)

SSE_NAMES: dict[str, SseName] = {
    "trainer.job.queued.v1": "state",
    "trainer.job.started.v1": "state",
    "trainer.job.progress.v1": "progress",
    "trainer.job.checkpoint_saved.v1": "checkpoint",
    "trainer.job.checkpoint_rejected.v1": "checkpoint",
    "trainer.job.evaluated.v1": "metric",
    "trainer.job.paused.v1": "state",
    "trainer.job.resumed.v1": "state",
    "trainer.job.cancelled.v1": "state",
    "trainer.job.completed.v1": "state",
    "trainer.job.failed.v1": "error",
    "trainer.metrics.config.v1": "metric",
    "trainer.metrics.progress.v1": "metric",
    "trainer.metrics.completed.v1": "metric",
}

event_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


class StoredEvent(Contract):
    """An event with its place in the run's stream: seq counts 1, 2, 3, ... without gaps."""

    seq: int
    at_ms: int
    event: Annotated[Event, Field(discriminator="type")]
