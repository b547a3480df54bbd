"""The events of a run as they lie on disk, made complete: numbers that were told once are never told again."""

from pathlib import Path
from typing import assert_never

from pydantic import ValidationError

from model_trainer.core.contracts.events import (
    Event,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobPaused,
    JobProgress,
    JobQueued,
    StoredEvent,
)
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode, FailureClass, Reason


def read_events(path: Path) -> tuple[StoredEvent, ...]:
    """Events 1, 2, 3, ... as far as lines are whole and in turn; somebody may be writing more meanwhile."""
    found: list[StoredEvent] = []
    if not path.exists():
        return ()
    with path.open("rb") as file:
        for line in file:
            event = _parsed(line)
            if event is None or event.seq != len(found) + 1:
                break
            found.append(event)
    return tuple(found)


def completed(record: RunRecord, events: tuple[StoredEvent, ...]) -> tuple[StoredEvent, ...]:
    """`events`, and in the place of each one that the record counts and that never came to disk: what the record says.

    Somebody may have read those, so their numbers must not come again with other news.
    """
    missing = range(len(events) + 1, record.last_event_seq + 1)
    return (*events, *(_stand_in(record, seq) for seq in missing))


def _stand_in(record: RunRecord, seq: int) -> StoredEvent:
    if seq == 1:
        return StoredEvent(seq=1, at_ms=record.created_at_ms, event=_queued(record))
    event = _progress(record) if seq < record.last_event_seq else _standing(record)
    return StoredEvent(seq=seq, at_ms=record.updated_at_ms, event=event)


def _standing(record: RunRecord) -> Event:
    """The news that left the record as it is."""
    run_id, user_id = record.run_id, record.user_id
    match record.status:
        case RunStatus.QUEUED:
            return _queued(record)
        case RunStatus.RUNNING | RunStatus.CANCELLING:
            return _progress(record)
        case RunStatus.PAUSED:
            return JobPaused(job_id=run_id, user_id=user_id, reason=record.reason)
        case RunStatus.CANCELLED:
            return JobCancelled(job_id=run_id, user_id=user_id, step=record.progress.step)
        case RunStatus.COMPLETED:
            return JobCompleted(
                job_id=run_id, user_id=user_id, message=record.message, metrics=record.metrics
            )
        case RunStatus.FAILED:
            return JobFailed(
                job_id=run_id,
                user_id=user_id,
                error_code=ErrorCode.INTERNAL if record.problem is None else record.problem.code,
                message=record.message,
                reason=record.reason or Reason.INTERNAL_ERROR,
                failure_class=record.failure_class or FailureClass.FATAL,
            )
        case _:
            assert_never(record.status)


def _queued(record: RunRecord) -> Event:
    return JobQueued(
        job_id=record.run_id,
        user_id=record.user_id,
        kind=record.kind.value,
        family=record.family,
        queue=record.queue,
    )


def _progress(record: RunRecord) -> Event:
    return JobProgress(
        job_id=record.run_id,
        user_id=record.user_id,
        phase=record.phase,
        message=record.message,
        progress=record.progress,
    )


def _parsed(line: bytes) -> StoredEvent | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return StoredEvent.model_validate_json(line)
    except ValidationError:
        return None
