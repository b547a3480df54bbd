"""A run as the API shows it."""

import time
from datetime import UTC, datetime
from typing import assert_never

from model_trainer.api.problems import view_problem
from model_trainer.api.schemas.page import Page, first_and_last
from model_trainer.api.schemas.problem import RunProblem
from model_trainer.core.contracts.base import Contract, JsonObject
from model_trainer.core.contracts.run import (
    Attempt,
    LastCheckpoint,
    Phase,
    Progress,
    ResumeOrder,
    RunKind,
    RunPage,
    RunRecord,
    RunStatus,
)
from model_trainer.core.errors import FailureClass, Reason
from model_trainer.orchestrators.detectors import is_detector


class RunView(Contract):
    """One run: a training, a tokenizer in the making, or a job on a trained model."""

    run_id: str
    kind: RunKind
    family: str
    """Model family; for a tokenizer its method."""
    status: RunStatus
    phase: Phase
    message: str
    """What is happening, for a person."""
    progress: Progress
    """Of the current phase, with rates and the time left."""
    heartbeat_age_seconds: float | None
    """Since the worker's last sign of life; null before the first."""
    metrics: dict[str, float]
    """The latest."""
    result: JsonObject
    """What the finished run says."""
    reason: Reason | None
    failure_class: FailureClass | None
    problem: RunProblem | None
    """Why it failed: code, message, wrong fields."""
    cancel_requested: bool
    pause_requested: bool
    """It will stand still at its next step."""
    checkpoint: LastCheckpoint | None
    """The newest complete one."""
    resume_order: ResumeOrder | None
    """From which checkpoint somebody had it go on."""
    host: str | None
    """The machine of its worker."""
    attempt: int
    attempts: tuple[Attempt, ...]
    queue: str
    user_id: str | None
    metadata: dict[str, str]
    parent_run_id: str | None
    request_id: str
    """The HTTP request that made it."""
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    last_event_seq: int
    spec: JsonObject
    artifact_file_id: str | None
    """Where its artifact is stored: the digest of the stored manifest, or of the tarball. None: on one machine only."""
    links: dict[str, str]
    """Where to look next."""


def view_run(record: RunRecord) -> RunView:
    """The record, as it is shown."""
    return RunView(
        run_id=record.run_id,
        kind=record.kind,
        family=record.family,
        status=record.status,
        phase=record.phase,
        message=record.message,
        progress=record.progress,
        heartbeat_age_seconds=heartbeat_age(record),
        metrics=record.metrics,
        result=record.result,
        reason=record.reason,
        failure_class=record.failure_class,
        problem=problem_of(record),
        cancel_requested=record.cancel_requested,
        pause_requested=record.pause_requested,
        checkpoint=record.checkpoint,
        resume_order=record.resume_order,
        host=record.host,
        attempt=record.attempt,
        attempts=record.attempts,
        queue=record.queue,
        user_id=record.user_id,
        metadata=record.metadata,
        parent_run_id=record.parent_run_id,
        request_id=record.request_id,
        created_at=at(record.created_at_ms),
        updated_at=at(record.updated_at_ms),
        started_at=at_or_none(record.started_at_ms),
        finished_at=at_or_none(record.finished_at_ms),
        last_event_seq=record.last_event_seq,
        spec=record.spec,
        artifact_file_id=record.artifact_file_id,
        links=run_links(record),
    )


def view_runs(page: RunPage) -> Page[RunView]:
    """A page of runs."""
    first, last = first_and_last([record.run_id for record in page.records])
    return Page[RunView](
        data=tuple(map(view_run, page.records)), has_more=page.has_more, first_id=first, last_id=last
    )


def run_links(record: RunRecord) -> dict[str, str]:
    """What else there is about a run of this kind."""
    here = f"/runs/{record.run_id}"
    links = {
        "self": here,
        "events": f"{here}/events",
        "logs": f"{here}/logs",
        "log_stream": f"{here}/logs/stream",
    }
    if not record.status.is_terminal:
        links["cancel"] = f"{here}/cancel"
    match record.kind:
        case RunKind.TRAIN:
            artifact = f"/artifacts/models/{record.run_id}"
            return {
                **links,
                **_steering(record),
                "checkpoints": f"{here}/checkpoints",
                "metrics": f"{here}/metrics",
                "eval": f"{here}/eval",
                **_of_a_trained_model(record),
                "artifact": artifact,
            }
        case RunKind.TOKENIZER:
            tokenizer = f"/tokenizers/{record.run_id}"
            return {**links, "tokenizer": tokenizer, "artifact": f"/artifacts/tokenizers/{record.run_id}"}
        case RunKind.EVALUATE | RunKind.CALIBRATE | RunKind.EXPORT:
            parent = f"/runs/{record.parent_run_id}"
            artifact = f"/artifacts/models/{record.parent_run_id}"
            return {**links, "parent": parent, "eval": f"{parent}/eval", "artifact": artifact}
        case _:
            assert_never(record.kind)


def _of_a_trained_model(record: RunRecord) -> dict[str, str]:
    """What it can be asked for."""
    if record.status is not RunStatus.COMPLETED:
        return {}
    of_detector, of_language_model = (
        ("predict", "model-card", "calibrate", "export"),
        ("generate", "score", "chat"),
    )
    asked = of_detector if is_detector(record) else of_language_model
    return {name.replace("-", "_"): f"/runs/{record.run_id}/{name}" for name in asked}


def _steering(record: RunRecord) -> dict[str, str]:
    """What may be asked of a training where it stands."""
    here = f"/runs/{record.run_id}"
    match record.status:
        case RunStatus.QUEUED | RunStatus.RUNNING:
            return {"pause": f"{here}/pause"}
        case RunStatus.PAUSED | RunStatus.FAILED | RunStatus.CANCELLED:
            return {"resume": f"{here}/resume"}
        case RunStatus.CANCELLING | RunStatus.COMPLETED:
            return {}
        case _:
            assert_never(record.status)


def problem_of(record: RunRecord) -> RunProblem | None:
    """Why it failed, if it did."""
    if record.problem is None:
        return None
    return view_problem(record.problem, request_id=record.request_id)


def at(milliseconds: int) -> datetime:
    """A time of the record."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def at_or_none(milliseconds: int | None) -> datetime | None:
    """A time of the record that may not have come yet."""
    return None if milliseconds is None else at(milliseconds)


def heartbeat_age(record: RunRecord) -> float | None:
    """Seconds since the last sign of life; clocks of two machines may differ, so never below zero."""
    if record.heartbeat_at_ms is None:
        return None
    return max(0.0, round(time.time() - record.heartbeat_at_ms / 1000, 3))
