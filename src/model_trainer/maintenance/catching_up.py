"""A record brought up to what its events tell: record.json is written at turning points, events.jsonl all the time."""

from collections.abc import Iterable

from model_trainer.core.contracts.events import (
    CheckpointSaved,
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobPaused,
    JobProgress,
    JobQueued,
    JobStarted,
    StoredEvent,
)
from model_trainer.core.contracts.run import (
    Attempt,
    LastCheckpoint,
    Phase,
    Problem,
    RunRecord,
    RunStatus,
)
from model_trainer.core.errors import Reason

Changes = dict[str, object]
_NOBODY: Changes = {"owner": None, "host": None, "lease_until_ms": 0}


def caught_up(record: RunRecord, events: Iterable[StoredEvent]) -> RunRecord:
    """The record after those events that it does not count yet; all other fields stay as they were kept."""
    for stored in events:
        if stored.seq > record.last_event_seq:
            known: Changes = {"last_event_seq": stored.seq, "updated_at_ms": stored.at_ms}
            record = record.model_copy(update=known | _told_by(stored.event, record, stored.at_ms))
    return record


def _told_by(event: Event, record: RunRecord, at_ms: int) -> Changes:
    match event:
        case JobQueued():
            # A return to the queue voids the orders given out before: docs/run-record.md, `epoch`.
            waiting: Changes = {"status": RunStatus.QUEUED, "phase": Phase.WAITING, "reason": None}
            return _left(record, at_ms) | waiting | {"epoch": record.epoch + 1}
        case JobStarted():
            return _started(event, record, at_ms)
        case JobProgress():
            return {"phase": event.phase, "message": event.message, "progress": event.progress}
        case CheckpointSaved():
            saved = LastCheckpoint(step=event.step, path=event.path, num_bytes=event.num_bytes)
            return {"checkpoint": saved}
        case JobPaused():
            still: Changes = {"status": RunStatus.PAUSED, "phase": Phase.WAITING, "reason": event.reason}
            return _left(record, at_ms) | still
        case JobCancelled():
            cancelled: Changes = {"reason": Reason.USER_CANCELLED, "cancel_requested": True}
            return _ended(record, RunStatus.CANCELLED, "Cancelled on request.", at_ms) | cancelled
        case JobCompleted():
            ended = _ended(record, RunStatus.COMPLETED, event.message, at_ms)
            return ended | {"metrics": event.metrics, "reason": None}
        case JobFailed():
            problem = Problem(code=event.error_code, message=event.message)
            failed = _ended(record, RunStatus.FAILED, event.message, at_ms, problem)
            return failed | {"reason": event.reason, "failure_class": event.failure_class, "problem": problem}
        case _:
            return {}


def _started(event: JobStarted, record: RunRecord, at_ms: int) -> Changes:
    attempt = Attempt(epoch=event.epoch, owner=event.worker, started_at_ms=at_ms)
    return {
        "status": RunStatus.RUNNING,
        "phase": Phase.STARTING,
        "message": "A worker started.",
        "epoch": event.epoch,
        "owner": event.worker,
        "host": None,  # the event does not say; the lease decides until the next claim
        "attempt": event.attempt,
        "attempts": (*record.attempts, attempt),
        "started_at_ms": record.started_at_ms or at_ms,
    }


def _left(record: RunRecord, at_ms: int, problem: Problem | None = None) -> Changes:
    """Without an owner; the try that it had is over."""
    attempts = record.attempts
    if attempts and attempts[-1].ended_at_ms is None:
        over: Changes = {"ended_at_ms": at_ms, "problem": problem}
        attempts = (*attempts[:-1], attempts[-1].model_copy(update=over))
    return _NOBODY | {"attempts": attempts}


def _ended(
    record: RunRecord, status: RunStatus, message: str, at_ms: int, problem: Problem | None = None
) -> Changes:
    end: Changes = {"status": status, "phase": Phase.DONE, "message": message, "finished_at_ms": at_ms}
    return _left(record, at_ms, problem) | end | {"pause_requested": False}
