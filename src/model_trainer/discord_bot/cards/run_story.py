"""What the events of one run tell, folded into one value: all that a message about the run is made of.

No free text of an event gets in: numbers, closed lists, and names that programs give.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_never

from pydantic import JsonValue

from model_trainer.client.views import RunView
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.events import (
    CheckpointRejected,
    CheckpointSaved,
    Event,
    JobCancelled,
    JobCompleted,
    JobEvaluated,
    JobFailed,
    JobPaused,
    JobProgress,
    JobQueued,
    JobResumed,
    JobStarted,
    MetricsCompleted,
    MetricsConfig,
    MetricsProgress,
    StoredEvent,
)
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.discord_bot.cards.private_text import looks_private
from model_trainer.discord_bot.cards.safe_text import word

MOST_METRICS = 32
LONGEST_USER_ID = 128
LONGEST_GIVEN_NAME = 512

Changes = dict[str, object]


class RunStory(Contract):
    """A run as its events up to `seq` tell it."""

    run_id: str
    seq: int = 0
    """The last event it has heard."""
    kind: str = ""
    family: str = ""
    name: str = ""
    """What people call it; events do not say. Shown through safe_text.name alone."""
    user_id: str | None = None
    status: RunStatus = RunStatus.QUEUED
    phase: Phase = Phase.WAITING
    progress: Progress = Progress()
    progress_at_ms: int = 0
    """When its progress was told: its time left counts from there."""
    step: int = 0
    """How far training has come; what follows it counts steps of its own."""
    total_steps: int = 0
    num_parameters: int = 0
    attempt: int = 0
    metrics: dict[str, float] = {}
    """The latest of each name."""
    checkpoint_step: int | None = None
    """Of the newest complete checkpoint."""
    rejected_checkpoints: int = 0
    evaluated_split: str = ""
    evaluation: dict[str, float] = {}
    regression: bool | None = None
    early_stopped: bool = False
    best_step: int | None = None
    error_code: ErrorCode | None = None
    reason: Reason | None = None
    failure_class: FailureClass | None = None
    queued_at_ms: int | None = None
    """When it was ordered."""
    started_at_ms: int | None = None
    """When a worker first began with it."""
    ended_at_ms: int | None = None
    heard_at_ms: int = 0
    """When its last event happened."""


def hear(story: RunStory, stored: StoredEvent) -> RunStory:
    """The story with one event more; an event that it has heard already changes nothing."""
    if stored.seq <= story.seq:
        return story
    event, at_ms = stored.event, stored.at_ms
    heard: Changes = {"seq": stored.seq, "heard_at_ms": at_ms, "user_id": _bounded(event.user_id)}
    return story.model_copy(update=heard | _told_by(event, story, at_ms))


def story_of_view(view: RunView) -> RunStory:
    """The same of a run as the API shows it; what this bot does not know of it is left out."""
    result = view.result
    progress = Progress(
        step=view.progress.step,
        total_steps=view.progress.total_steps,
        fraction=_finite(view.progress.fraction) or 0.0,
        epoch=_finite(view.progress.epoch) or 0.0,
        tokens_per_second=_finite(view.progress.tokens_per_second),
        eta_seconds=_finite(view.progress.eta_seconds),
    )
    checkpoint_step = None if view.checkpoint is None else view.checkpoint.step
    now_ms = _milliseconds(view.updated_at) or 0
    return RunStory(
        run_id=view.run_id,
        seq=view.last_event_seq,
        kind=word(view.kind),
        family=word(view.family),
        name=view.metadata.get("name", "")[:LONGEST_GIVEN_NAME],
        user_id=_bounded(view.user_id),
        status=RunStatus(view.status) if view.status in list(RunStatus) else RunStatus.RUNNING,
        phase=Phase(view.phase) if view.phase in list(Phase) else Phase.WAITING,
        progress=progress,
        progress_at_ms=now_ms,
        step=_whole(result.get("steps")) or progress.step or checkpoint_step or 0,
        total_steps=_whole(result.get("total_steps")) or progress.total_steps,
        attempt=len(view.attempts),
        metrics=_known({}, view.metrics),
        checkpoint_step=checkpoint_step,
        early_stopped=result.get("early_stopped") is True,
        best_step=_whole(result.get("best_step")),
        error_code=_code_of(view),
        reason=Reason(view.reason) if view.reason in list(Reason) else None,
        failure_class=FailureClass(view.failure_class) if view.failure_class in list(FailureClass) else None,
        queued_at_ms=_milliseconds(view.created_at),
        started_at_ms=_milliseconds(view.started_at),
        ended_at_ms=_milliseconds(view.finished_at),
        heard_at_ms=now_ms,
    )


def _told_by(event: Event, story: RunStory, at_ms: int) -> Changes:
    match event:
        case JobQueued() | JobStarted() | JobPaused() | JobResumed():
            return _moved(event, story, at_ms)
        case JobCancelled() | JobCompleted() | JobFailed():
            return _ended(event, story, at_ms)
        case JobProgress():
            told: Changes = {"phase": event.phase, "progress": event.progress, "progress_at_ms": at_ms}
            return told | _counted(event.progress)
        case CheckpointSaved():
            return {"checkpoint_step": event.step}
        case CheckpointRejected():
            return {"rejected_checkpoints": story.rejected_checkpoints + 1}
        case JobEvaluated():
            return {
                "evaluated_split": word(event.split),
                "evaluation": _known({}, event.metrics),
                "regression": event.regression,
            }
        case MetricsConfig():
            return {"total_steps": event.total_steps, "num_parameters": event.num_parameters}
        case MetricsProgress():
            return {"step": event.step, "metrics": _known(story.metrics, event.metrics)}
        case MetricsCompleted():
            return {
                "step": event.step,
                "metrics": _known(story.metrics, event.metrics),
                "early_stopped": event.early_stopped,
                "best_step": event.best_step,
            }
        case _:
            assert_never(event)


def _counted(progress: Progress) -> Changes:
    """How far training has come, when it is training that came further: what follows it counts no steps."""
    return {"step": progress.step, "total_steps": progress.total_steps} if progress.total_steps else {}


def _moved(event: JobQueued | JobStarted | JobPaused | JobResumed, story: RunStory, at_ms: int) -> Changes:
    match event:
        case JobQueued():
            # A run that had ended may be asked to go on: its end is no more.
            return {
                "kind": word(event.kind),
                "family": word(event.family),
                "status": RunStatus.QUEUED,
                "phase": Phase.WAITING,
                "queued_at_ms": story.queued_at_ms or at_ms,
                "ended_at_ms": None,
                "error_code": None,
                "reason": None,
                "failure_class": None,
            }
        case JobStarted():
            return {
                "status": RunStatus.RUNNING,
                "phase": Phase.STARTING,
                "progress": Progress(),
                "progress_at_ms": at_ms,
                "attempt": event.attempt,
                "reason": None,
                "started_at_ms": story.started_at_ms or at_ms,
            }
        case JobPaused():
            return {"status": RunStatus.PAUSED, "phase": Phase.WAITING, "reason": event.reason}
        case JobResumed():
            return {"step": event.step, "checkpoint_step": event.step}
        case _:
            assert_never(event)


def _ended(event: JobCancelled | JobCompleted | JobFailed, story: RunStory, at_ms: int) -> Changes:
    end: Changes = {"phase": Phase.DONE, "ended_at_ms": at_ms}
    match event:
        case JobCancelled():
            return end | {
                "status": RunStatus.CANCELLED,
                "reason": Reason.USER_CANCELLED,
                "step": event.step or story.step,
            }
        case JobCompleted():
            return end | {
                "status": RunStatus.COMPLETED,
                "reason": None,
                "metrics": _known(story.metrics, event.metrics),
            }
        case JobFailed():
            return end | {
                "status": RunStatus.FAILED,
                "error_code": event.error_code,
                "reason": event.reason,
                "failure_class": event.failure_class,
            }
        case _:
            assert_never(event)


def is_metric_name(text: str) -> bool:
    """Whether programs would call a measure so: validation_loss, tpr_at_fpr_1, recall@5."""
    found = re.fullmatch(r"([a-z][a-z0-9_]{0,39})(?:@[0-9]{1,4}(?:\.[0-9]{1,4})?)?", text)
    return found is not None and not looks_private(found.group(1))


def _known(before: Mapping[str, float], told: Mapping[str, float]) -> dict[str, float]:
    """Both, the newer before the older; a bounded number of names, and no others than of measures."""
    named = {
        name: value
        for name, value in told.items()
        if len(name) <= 64 and math.isfinite(value) and is_metric_name(name)
    }
    kept = [*before.items(), *((name, value) for name, value in named.items() if name not in before)]
    return {name: named.get(name, value) for name, value in kept[:MOST_METRICS]}


def _bounded(user_id: str | None) -> str | None:
    return None if user_id is None else user_id[:LONGEST_USER_ID]


def _code_of(view: RunView) -> ErrorCode | None:
    """Why it failed; INTERNAL where the server has a code that is newer than this bot."""
    if view.problem is None:
        return None
    return ErrorCode(view.problem.code) if view.problem.code in list(ErrorCode) else ErrorCode.INTERNAL


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _milliseconds(time: str | None) -> int | None:
    """An ISO time of the API; None for what is none."""
    try:
        moment = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
