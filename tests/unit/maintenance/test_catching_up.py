"""A record that lags behind its events is brought up to them, as the store itself was when it told them."""

import pytest

from model_trainer.core.contracts.events import (
    CheckpointSaved,
    JobCompleted,
    JobFailed,
    JobProgress,
    JobResumed,
    StoredEvent,
)
from model_trainer.core.contracts.run import (
    HandBack,
    LastCheckpoint,
    Lease,
    Outcome,
    Phase,
    Problem,
    Progress,
    RunRecord,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.maintenance.catching_up import caught_up
from tests.unit.worker.bench import Bench

UNTOLD = {"host", "lease_until_ms", "heartbeat_at_ms", "updated_at_ms", "retries", "result"}
"""What events do not tell; the reaper and the next worker find it anew."""


class Life:
    """A run in the fake store, and what a record kept at its start becomes by its events."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.run_id = self.bench.submitted()
        self.kept = self.now

    @property
    def now(self) -> RunRecord:
        return self.bench.store.get(self.run_id)

    def claim(self) -> Lease:
        self.bench.now += 1
        epoch = self.now.epoch
        lease = self.bench.store.claim(self.run_id, epoch=epoch, owner="w", host="h", lease_seconds=15)
        assert lease is not None
        return lease

    def caught_up(self) -> RunRecord:
        return caught_up(self.kept, self.bench.store.events_after(self.run_id, after=0, limit=100))

    def differences(self) -> set[str]:
        ours, theirs = self.caught_up().model_dump(), self.now.model_dump()
        return {name for name in ours if ours[name] != theirs[name]} - UNTOLD


def test_a_record_that_counts_all_events_stays_as_it_is() -> None:
    life = Life()
    assert life.caught_up() == life.kept


def test_a_run_that_was_claimed_has_its_owner_and_its_fencing_number() -> None:
    life = Life()
    lease = life.claim()
    assert life.differences() == set()
    assert (life.caught_up().epoch, life.caught_up().owner) == (lease.epoch, "w")
    assert life.caught_up().status is RunStatus.RUNNING


def test_progress_and_checkpoints_are_known() -> None:
    life = Life()
    progress = Progress(step=4, total_steps=9)
    saved = CheckpointSaved(
        job_id=life.run_id, user_id="ada", step=4, path="checkpoints/4", num_bytes=7, metrics={}
    )
    told = JobProgress(
        job_id=life.run_id, user_id="ada", phase=Phase.TRAINING, message="Step 4.", progress=progress
    )
    update = RunUpdate(
        phase=Phase.TRAINING,
        message="Step 4.",
        progress=progress,
        checkpoint=LastCheckpoint(step=4, path="checkpoints/4", num_bytes=7),
    )
    resumed = JobResumed(job_id=life.run_id, user_id="ada", step=2)
    life.bench.store.heartbeat(life.claim(), update, (resumed, told, saved))
    assert life.differences() == set()
    assert life.caught_up().checkpoint == update.checkpoint


def test_a_run_that_went_back_to_the_queue_has_no_owner_and_a_new_fencing_number() -> None:
    life = Life()
    life.bench.store.release(life.claim(), HandBack(message="A worker started."))
    assert life.differences() == set()
    assert life.caught_up().epoch == life.kept.epoch + 2
    life.claim()
    assert life.differences() == set()
    assert len(life.caught_up().attempts) == 2


def test_a_run_that_stands_still_does_so() -> None:
    life = Life()
    hand_back = HandBack(status=RunStatus.PAUSED, message="A worker started.", reason=Reason.DISK_FULL)
    life.bench.store.release(life.claim(), hand_back)
    assert life.differences() == set()
    assert life.caught_up().status is RunStatus.PAUSED


def test_a_cancelled_run_stays_cancelled() -> None:
    life = Life()
    life.bench.store.request_cancel(life.run_id)
    assert life.differences() == set()
    assert life.caught_up().status is RunStatus.CANCELLED


@pytest.mark.parametrize("metrics", [{}, {"loss": 1.5}])
def test_a_completed_run_stays_completed(metrics: dict[str, float]) -> None:
    life = Life()
    outcome = Outcome(status=RunStatus.COMPLETED, message="Done.", metrics=metrics)
    event = JobCompleted(job_id=life.run_id, user_id="ada", message="Done.", metrics=metrics)
    life.bench.store.finish(life.claim(), outcome, (event,))
    assert life.differences() == set()
    assert life.caught_up().finished_at_ms is not None


def test_a_failed_run_stays_failed_with_its_reason() -> None:
    life = Life()
    problem = Problem(code=ErrorCode.DATA_EMPTY, message="Empty.")
    outcome = Outcome(status=RunStatus.FAILED, message="Empty.", reason=Reason.INVALID_DATA, problem=problem)
    event = JobFailed(
        job_id=life.run_id,
        user_id="ada",
        error_code=ErrorCode.DATA_EMPTY,
        message="Empty.",
        reason=Reason.INVALID_DATA,
        failure_class=FailureClass.USER_INPUT,
    )
    life.bench.store.finish(life.claim(), outcome, (event,))
    assert life.differences() == set()
    assert life.caught_up().attempts[-1].problem == problem


def test_only_events_that_the_record_does_not_count_change_it() -> None:
    life = Life()
    life.bench.store.release(life.claim(), HandBack(message="Again."))
    life.kept = life.now
    assert life.caught_up() == life.now
    later = StoredEvent(
        seq=life.now.last_event_seq + 1, at_ms=5, event=JobResumed(job_id=life.run_id, user_id=None, step=1)
    )
    assert caught_up(life.now, [later]).last_event_seq == later.seq
