"""A job that is asked to stop: cancelled, paused, handed over, and failures beside it."""

import os
import signal
from collections.abc import Callable

import pytest

from model_trainer.core.contracts.run import Progress, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.core.failpoints import Failpoint
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.supervise import JobResult
from tests.unit.worker.bench import Life, Work, wait_until


def _stop(held: HeldRun) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    wait_until(lambda: held.must_hand_over)


def _until_told(ask: Callable[[HeldRun], object]) -> Work:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        ask(held)
        while True:
            held.check()

    return work


def _failing(ask: Callable[[HeldRun], object], error: Exception) -> Work:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        ask(held)
        raise error

    return work


def _cancel(life: Life) -> Callable[[HeldRun], object]:
    def cancel(held: HeldRun) -> None:
        life.bench.store.request_cancel(held.run_id)
        wait_until(lambda: held.is_cancelled)

    return cancel


def _pause(life: Life) -> Callable[[HeldRun], object]:
    return lambda held: life.bench.store.request_pause(held.run_id)


def test_a_paused_job_leaves_its_run_standing_still_for_no_bad_reason(life: Life) -> None:
    record = life.of(_until_told(_pause(life)))
    assert (record.status, record.reason, record.owner) == (RunStatus.PAUSED, None, None)
    assert record.message == "Paused on request."
    assert life.ended == []
    assert life.bench.event_types(record.run_id)[-1] == "trainer.job.paused.v1"


def test_a_worker_told_to_go_hands_its_run_over_without_counting_a_retry(life: Life) -> None:
    before = signal.getsignal(signal.SIGTERM)
    record = life.of(_until_told(_stop))
    assert (record.status, record.retries, record.attempt) == (RunStatus.QUEUED, 0, 1)
    assert record.message == "The worker was stopped; another one goes on."
    assert life.bench.queue.holds(record.run_id, epoch=record.epoch, queue="training")
    assert life.bench.locks.is_free(record.run_id)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_comes_before_the_work_begins_is_not_lost(life: Life) -> None:
    def stop_at_claim(point: Failpoint) -> None:
        if point is Failpoint.CLAIM_GRANTED:
            os.kill(os.getpid(), signal.SIGTERM)

    life.reached = stop_at_claim
    record = life.of(_until_told(lambda _: None))
    assert (record.status, record.attempt) == (RunStatus.QUEUED, 1)


def test_a_stop_before_the_claim_leaves_the_run_queued(life: Life) -> None:
    def stop_at_lock(point: Failpoint) -> None:
        if point is Failpoint.CLAIM_LOCKED:
            os.kill(os.getpid(), signal.SIGTERM)

    life.reached = stop_at_lock
    record = life.of(_failing(lambda _: None, AssertionError("must not be called")))
    assert (record.status, record.attempt) == (RunStatus.QUEUED, 0)
    assert life.bench.locks.is_free(record.run_id)


def test_cancelling_goes_before_handing_over(life: Life) -> None:
    def both(held: HeldRun) -> None:
        _stop(held)
        _cancel(life)(held)

    assert life.of(_until_told(both)).status is RunStatus.CANCELLED


def test_handing_over_goes_before_pausing_and_the_store_lets_the_run_stand_still(life: Life) -> None:
    def both(held: HeldRun) -> None:
        _pause(life)(held)
        wait_until(lambda: held.is_paused)
        _stop(held)

    record = life.of(_until_told(both))
    assert record.status is RunStatus.PAUSED


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("a helper died of the same signal"), RunStatus.QUEUED, None),
        (AppError(ErrorCode.DATA_EMPTY, "No text there."), RunStatus.FAILED, Reason.INVALID_DATA),
        (AppError(ErrorCode.DISK_FULL, "Full."), RunStatus.PAUSED, Reason.DISK_FULL),
    ],
)
def test_what_a_stop_may_have_broken_is_tried_again_and_what_it_cannot_have_is_told(
    life: Life, error: Exception, status: RunStatus, reason: Reason | None
) -> None:
    record = life.of(_failing(_stop, error))
    assert (record.status, record.reason) == (status, reason)


def test_a_failure_beside_a_cancellation_is_a_cancellation(life: Life) -> None:
    assert life.of(_failing(_cancel(life), ValueError("torn down"))).status is RunStatus.CANCELLED


def test_a_lost_lease_is_no_cancellation(life: Life) -> None:
    record = life.of(_failing(_cancel(life), AppError(ErrorCode.LEASE_LOST, "Taken.")))
    assert record.status is not RunStatus.CANCELLED
    assert life.ended == []


def test_the_step_of_a_stop_is_named(life: Life) -> None:
    def ask(held: HeldRun) -> None:
        held.advance(Progress(step=7, total_steps=9))
        _pause(life)(held)

    record = life.of(_until_told(ask))
    assert record.message == "Paused on request at step 7."
    assert record.progress.step == 7


def test_a_full_disk_is_no_failure_and_is_looked_at_again_after_a_while(life: Life) -> None:
    record = life.of(_failing(lambda _: None, AppError(ErrorCode.DISK_FULL, "The disk is full.")))
    assert (record.status, record.reason, record.retries) == (RunStatus.PAUSED, Reason.DISK_FULL, 0)
    assert record.message == "The disk is full. The run goes on by itself when there is space again."
    assert record.attempts[-1].problem is not None
    assert not life.bench.store.resume_when_due(record.run_id)
    life.bench.now += 60
    assert life.bench.store.resume_when_due(record.run_id)
