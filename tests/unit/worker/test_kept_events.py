"""Events on disk are read as far as they are whole, and numbers that were told are not told again."""

from pathlib import Path

import pytest

from model_trainer.core.contracts.events import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobPaused,
    JobProgress,
    JobQueued,
    JobResumed,
    StoredEvent,
)
from model_trainer.core.contracts.run import Phase, Problem, Progress, RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.worker.kept_events import completed, read_events
from tests.unit.worker.bench import Bench


def told(seq: int) -> StoredEvent:
    return StoredEvent(seq=seq, at_ms=seq, event=JobResumed(job_id="R", user_id=None, step=seq))


def line(seq: int) -> str:
    return told(seq).model_dump_json() + "\n"


@pytest.fixture
def record() -> RunRecord:
    bench = Bench()
    return bench.store.get(bench.submitted())


def changed(record: RunRecord, **changes: object) -> RunRecord:
    return record.model_copy(update=changes)


@pytest.mark.parametrize(
    ("text", "num_events"),
    [
        ("", 0),
        (line(1) + line(2), 2),
        (line(1) + line(2)[:-1], 1),
        (line(1) + line(2)[:-9] + "\n" + line(3), 1),
        (line(1) + line(3), 1),
        (line(2), 0),
    ],
)
def test_events_are_read_up_to_the_first_line_that_is_torn_or_out_of_turn(
    text: str, num_events: int, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    assert read_events(path) == tuple(told(seq) for seq in range(1, num_events + 1))
    assert path.read_text() == text


def test_a_run_without_a_file_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == ()


def test_complete_events_stay_as_they_are(record: RunRecord) -> None:
    events = (told(1), told(2))
    assert completed(changed(record, last_event_seq=2), events) == events


def test_the_first_event_of_a_queued_run_is_told_as_it_was(record: RunRecord) -> None:
    (event,) = completed(record, ())
    assert (event.seq, event.at_ms) == (1, record.created_at_ms)
    assert event.event == JobQueued(
        job_id=record.run_id, user_id="ada", kind="train", family="gpt2", queue="training"
    )


def test_what_never_came_to_disk_is_told_from_the_record(record: RunRecord) -> None:
    progress = Progress(step=7, total_steps=9)
    ahead = changed(
        record,
        last_event_seq=4,
        status=RunStatus.CANCELLED,
        phase=Phase.TRAINING,
        message="Step 7.",
        progress=progress,
        updated_at_ms=99,
    )
    events = completed(ahead, (told(1), told(2)))
    assert events[:2] == (told(1), told(2))
    assert [(event.seq, event.at_ms) for event in events[2:]] == [(3, 99), (4, 99)]
    assert events[2].event == JobProgress(
        job_id=record.run_id, user_id="ada", phase=Phase.TRAINING, message="Step 7.", progress=progress
    )
    assert events[3].event == JobCancelled(job_id=record.run_id, user_id="ada", step=7)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (RunStatus.QUEUED, JobQueued),
        (RunStatus.RUNNING, JobProgress),
        (RunStatus.CANCELLING, JobProgress),
        (RunStatus.PAUSED, JobPaused),
        (RunStatus.COMPLETED, JobCompleted),
        (RunStatus.FAILED, JobFailed),
    ],
)
def test_the_last_event_fits_where_the_run_stands(record: RunRecord, status: RunStatus, kind: type) -> None:
    events = completed(changed(record, last_event_seq=2, status=status), ())
    assert isinstance(events[-1].event, kind)


def test_a_failure_is_told_with_what_is_known_of_it(record: RunRecord) -> None:
    failed = changed(record, last_event_seq=2, status=RunStatus.FAILED, message="Lost.")
    (_, unknown) = completed(failed, ())
    assert unknown.event == JobFailed(
        job_id=record.run_id,
        user_id="ada",
        error_code=ErrorCode.INTERNAL,
        message="Lost.",
        reason=Reason.INTERNAL_ERROR,
        failure_class=FailureClass.FATAL,
    )
    known = changed(
        failed,
        problem=Problem(code=ErrorCode.DATA_EMPTY, message="Empty."),
        reason=Reason.INVALID_DATA,
        failure_class=FailureClass.USER_INPUT,
    )
    event = completed(known, ())[-1].event
    assert isinstance(event, JobFailed)
    assert (event.error_code, event.reason) == (ErrorCode.DATA_EMPTY, Reason.INVALID_DATA)
    assert event.failure_class is FailureClass.USER_INPUT
