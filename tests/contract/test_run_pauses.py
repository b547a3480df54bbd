"""Standing still, because somebody asked or the disk is full: what every run store promises."""

import pytest

from model_trainer.core.contracts.events import JobPaused, JobQueued
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Flags, HandBack, Phase, RunKind, RunStatus, RunUpdate
from model_trainer.core.errors import AppError, ErrorCode, Reason
from tests.contract.refusals import conflict, expect
from tests.contract.run_stores import (
    COMPLETED,
    DISK_FULL,
    FAILED,
    LEASE_SECONDS,
    PAUSED,
    QUEUE,
    StoreUnderTest,
    checkpoint,
    events,
)

# ---------------------------------------------------------------- pause


def test_pausing_a_queued_run_takes_it_out_of_the_queue(store: StoreUnderTest) -> None:
    run_id = store.submit()
    record = store.runs.request_pause(run_id)
    assert record == store.runs.get(run_id)
    assert (record.status, record.phase, record.pause_requested) == (RunStatus.PAUSED, Phase.WAITING, True)
    assert (record.reason, record.message, record.epoch) == (None, "Paused on request.", 0)
    assert store.queue.depth(QUEUE) == 0
    assert events(store, run_id)[1:] == [JobPaused(job_id=run_id, user_id="ada", reason=None)]
    assert store.runs.claim(run_id, epoch=0, owner="a", host=None, lease_seconds=60.0) is None
    assert store.runs.reap() == ()
    assert store.runs.request_pause(run_id) == record


def test_a_running_run_goes_on_to_its_next_step_before_it_stands_still(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.flags(lease) == Flags(cancel=False, pause=False)
    record = store.runs.request_pause(lease.run_id)
    assert (record.status, record.owner, record.pause_requested) == (RunStatus.RUNNING, "a", True)
    assert "next step" in record.message
    store.runs.heartbeat(lease, RunUpdate(message="Saving."))
    assert store.runs.request_pause(lease.run_id).message == "Saving."
    assert (
        store.runs.flags(lease) == store.runs.heartbeat(lease, RunUpdate()) == Flags(cancel=False, pause=True)
    )
    saved = checkpoint(lease.run_id, 3)
    record = store.runs.release(lease, PAUSED, (saved,))
    assert record == store.runs.get(lease.run_id)
    assert (record.status, record.owner, record.host) == (RunStatus.PAUSED, None, None)
    assert (record.lease_until_ms, record.message, record.retries) == (0, "Paused.", 0)
    assert record.attempts[0].ended_at_ms is not None
    assert events(store, lease.run_id)[2:] == [
        saved,
        JobPaused(job_id=lease.run_id, user_id="ada", reason=None),
    ]
    assert store.runs.held() == ()


def test_a_retry_while_a_pause_is_asked_for_stands_still(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.request_pause(lease.run_id)
    record = store.runs.release(lease, HandBack(message="Again.", is_retry=True, delay_seconds=5.0))
    assert (record.status, record.message, record.retries) == (RunStatus.PAUSED, "Paused on request.", 1)
    assert isinstance(events(store, lease.run_id)[-1], JobPaused)


def test_cancelling_goes_before_pausing(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.request_pause(lease.run_id)
    store.runs.request_cancel(lease.run_id)
    assert store.runs.heartbeat(lease, RunUpdate()) == Flags(cancel=True, pause=True)
    record = store.runs.release(lease, PAUSED)
    assert (record.status, record.reason, record.pause_requested) == (
        RunStatus.CANCELLED,
        Reason.USER_CANCELLED,
        False,
    )
    assert store.runs.unaccounted(9) == (lease.run_id,)


def test_a_paused_run_is_cancelled_at_once_and_waits_to_be_accounted_for(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.runs.request_pause(run_id)
    record = store.runs.request_cancel(run_id)
    assert (record.status, record.cancel_requested) == (RunStatus.CANCELLED, True)
    assert store.runs.unaccounted(9) == (run_id,)


def test_the_reaper_cancels_a_paused_run_whose_flag_was_set_by_hand(store: StoreUnderTest) -> None:
    told, left = store.submit(), store.submit()
    for run_id in (told, left):
        store.runs.request_pause(run_id)
    store.cancel_by_hand(told, "1")
    store.cancel_by_hand(left, "0")
    assert store.runs.reap() == (told,)
    assert store.runs.get(told).status is RunStatus.CANCELLED
    assert store.runs.unaccounted(9) == (told,)
    assert store.runs.get(left).status is RunStatus.PAUSED


def test_a_lost_run_that_was_to_pause_stands_still(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
    store.runs.request_pause(run_id)
    store.pass_time(LEASE_SECONDS + 0.01)
    assert store.runs.reap() == (run_id,)
    record = store.runs.get(run_id)
    assert (record.status, record.epoch, record.owner) == (RunStatus.PAUSED, lease.epoch, None)
    assert isinstance(events(store, run_id)[-1], JobPaused)
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.LEASE_LOST):
        store.runs.heartbeat(lease, RunUpdate())


@pytest.mark.parametrize(
    ("how", "about"),
    [("cancelling", "being cancelled"), ("completed", "completed already"), ("failed", "failed already")],
)
def test_what_has_an_end_cannot_be_paused(store: StoreUnderTest, how: str, about: str) -> None:
    lease = store.claim(store.submit())
    if how == "cancelling":
        store.runs.request_cancel(lease.run_id)
    else:
        store.runs.finish(lease, COMPLETED if how == "completed" else FAILED)
    before = store.runs.get(lease.run_id)
    with conflict(about):
        store.runs.request_pause(lease.run_id)
    assert store.runs.get(lease.run_id) == before


@pytest.mark.parametrize(
    ("kind", "about"), [(RunKind.TOKENIZER, "a tokenizer's training"), (RunKind.EVALUATE, "an evaluation")]
)
def test_only_trainings_pause(store: StoreUnderTest, kind: RunKind, about: str) -> None:
    run_id = store.submit(kind=kind)
    with conflict(about):
        store.runs.request_pause(run_id)
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_queued_run_cancelled_by_hand_is_not_paused(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.cancel_by_hand(run_id, "1")
    with conflict("cancelled already"):
        store.runs.request_pause(run_id)
    assert store.runs.unaccounted(9) == (run_id,)


def test_an_unknown_run_can_neither_pause_nor_go_on(store: StoreUnderTest) -> None:
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.request_pause(new_ulid())
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.resume(new_ulid())
    assert not store.runs.resume_when_due(new_ulid())


# ---------------------------------------------------------------- the disk


def test_a_run_without_space_goes_on_when_its_delay_is_over(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    record = store.runs.release(lease, DISK_FULL)
    assert (record.status, record.reason, record.retries) == (RunStatus.PAUSED, Reason.DISK_FULL, 1)
    assert (record.attempts[0].problem, record.problem) == (DISK_FULL.problem, None)
    paused = JobPaused(job_id=lease.run_id, user_id="ada", reason=Reason.DISK_FULL)
    assert events(store, lease.run_id)[-1] == paused
    assert not store.runs.resume_when_due(lease.run_id)
    store.pass_time(0.11)
    assert store.runs.reap() == ()
    assert store.runs.resume_when_due(lease.run_id)
    assert not store.runs.resume_when_due(lease.run_id)
    record = store.runs.get(lease.run_id)
    assert (record.status, record.reason, record.retries, record.epoch) == (RunStatus.QUEUED, None, 1, 2)
    assert "space" in record.message
    assert store.queue.holds(lease.run_id, epoch=2, queue=QUEUE)
    assert isinstance(events(store, lease.run_id)[-1], JobQueued)
    assert store.claim(lease.run_id).epoch == 3


@pytest.mark.parametrize("how", ["asked for", "paused meanwhile", "cancelled by hand"])
def test_a_run_that_somebody_stopped_does_not_go_on_by_itself(store: StoreUnderTest, how: str) -> None:
    lease = store.claim(store.submit())
    if how == "asked for":
        store.runs.release(lease, PAUSED)
    else:
        store.runs.release(lease, DISK_FULL.model_copy(update={"delay_seconds": 0.0}))
    if how == "paused meanwhile":
        assert store.runs.request_pause(lease.run_id).pause_requested
    elif how == "cancelled by hand":
        store.cancel_by_hand(lease.run_id, "1")
    assert not store.runs.resume_when_due(lease.run_id)
    assert store.runs.get(lease.run_id).status is RunStatus.PAUSED
