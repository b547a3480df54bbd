"""Runs and their owners: claimed, heard of, lost and queued again, as every run store promises."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_trainer.core.contracts.events import JobCancelled, JobFailed, JobQueued, JobStarted
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    HandBack,
    LastCheckpoint,
    Lease,
    Phase,
    Progress,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from tests.contract.refusals import expect
from tests.contract.run_stores import COMPLETED, LEASE_SECONDS, QUEUE, StoreUnderTest, checkpoint, events

# ---------------------------------------------------------------- claim


def test_a_claim_starts_an_attempt_under_a_new_epoch(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id, owner="worker-1", host="host-7", lease_seconds=30.0)
    record = store.runs.get(run_id)
    assert (lease.epoch, lease.owner, lease.lease_seconds) == (1, "worker-1", 30.0)
    assert (record.status, record.phase, record.epoch) == (RunStatus.RUNNING, Phase.STARTING, 1)
    assert (record.owner, record.host, record.attempt) == ("worker-1", "host-7", 1)
    assert record.started_at_ms == record.heartbeat_at_ms == record.lease_until_ms - 30_000
    assert [attempt.owner for attempt in record.attempts] == ["worker-1"]
    started = JobStarted(job_id=run_id, user_id="ada", epoch=1, attempt=1, worker="worker-1")
    assert events(store, run_id)[1:] == [started]


def test_two_claimers_get_one_lease(store: StoreUnderTest) -> None:
    for _ in range(10):
        run_id, barrier = store.submit(), threading.Barrier(2)

        def claim(owner: str, run_id: str = run_id, barrier: threading.Barrier = barrier) -> Lease | None:
            barrier.wait()
            return store.runs.claim(run_id, epoch=0, owner=owner, host="host-1", lease_seconds=60.0)

        with ThreadPoolExecutor(2) as pool:
            leases = [lease for lease in pool.map(claim, ["a", "b"]) if lease is not None]
        assert [store.runs.get(run_id).owner] == [lease.owner for lease in leases]


@pytest.mark.parametrize("epoch", [-1, 1, 2])
def test_an_order_of_another_epoch_starts_nothing(store: StoreUnderTest, epoch: int) -> None:
    run_id = store.submit()
    assert store.runs.claim(run_id, epoch=epoch, owner="a", host="host-1", lease_seconds=60.0) is None
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_second_delivery_and_one_of_an_unknown_run_start_nothing(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.claim(run_id)
    before = store.runs.get(run_id)
    assert store.runs.claim(run_id, epoch=0, owner="b", host="host-1", lease_seconds=60.0) is None
    assert store.runs.claim(run_id, epoch=1, owner="b", host="host-1", lease_seconds=60.0) is None
    assert store.runs.claim(new_ulid(), epoch=0, owner="b", host=None, lease_seconds=60.0) is None
    assert store.runs.get(run_id) == before


# ---------------------------------------------------------------- heartbeat and flags


def test_a_heartbeat_is_dated_back_to_the_last_sign_of_the_work(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(quiet_ms=4_000))
    record = store.runs.get(lease.run_id)
    assert record.heartbeat_at_ms == record.updated_at_ms - 4_000
    assert record.lease_until_ms > record.updated_at_ms


def test_a_heartbeat_renews_the_lease_and_writes_what_changed(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    before = store.runs.get(run_id)
    store.pass_time(0.01)
    progress = Progress(step=7, total_steps=10, fraction=0.7, tokens_per_second=1e5, eta_seconds=0.5)
    update = RunUpdate(phase=Phase.TRAINING, message="Training.", progress=progress, metrics={"loss": 2.0})
    assert not store.runs.heartbeat(lease, update, (checkpoint(run_id, 5), checkpoint(run_id, 7))).cancel
    record = store.runs.get(run_id)
    assert (record.phase, record.message, record.progress) == (Phase.TRAINING, "Training.", progress)
    assert record.metrics == {"loss": 2.0}
    assert record.lease_until_ms > before.lease_until_ms
    assert record.heartbeat_at_ms is not None
    assert record.heartbeat_at_ms == record.updated_at_ms > before.updated_at_ms
    assert events(store, run_id)[2:] == [checkpoint(run_id, 5), checkpoint(run_id, 7)]
    store.runs.heartbeat(lease, RunUpdate())
    again = store.runs.get(run_id)
    assert (again.phase, again.message, again.progress) == (Phase.TRAINING, "Training.", progress)
    assert again.metrics == {"loss": 2.0}


def test_the_flags_say_nothing_until_somebody_asks(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert not store.runs.flags(lease).cancel
    store.runs.request_cancel(lease.run_id)
    assert store.runs.flags(lease).cancel
    assert store.runs.heartbeat(lease, RunUpdate()).cancel


def test_a_heartbeat_names_the_last_checkpoint(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.get(lease.run_id).checkpoint is None
    saved = LastCheckpoint(step=7, path="checkpoints/step-7", num_bytes=9)
    store.runs.heartbeat(lease, RunUpdate(checkpoint=saved))
    store.runs.heartbeat(lease, RunUpdate(message="On."))
    assert store.runs.get(lease.run_id).checkpoint == saved


def stale(store: StoreUnderTest, *, how: str) -> Lease:
    run_id = store.submit()
    lease = store.lose_worker(run_id)
    store.runs.reap()
    if how == "reclaimed":
        store.claim(run_id, owner="a")
    if how == "completed":
        store.runs.finish(store.claim(run_id, owner="a"), COMPLETED)
    if how == "other owner":
        return store.claim(run_id, owner="b").model_copy(update={"owner": "a"})
    return lease


@pytest.mark.parametrize("how", ["requeued", "reclaimed", "completed", "other owner"])
def test_a_stale_owner_is_refused_and_writes_nothing(store: StoreUnderTest, how: str) -> None:
    lease = stale(store, how=how)
    before = store.runs.get(lease.run_id)
    event = checkpoint(lease.run_id, 1)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.heartbeat(lease, RunUpdate(message="I am still here."), (event,))
    with expect(ErrorCode.LEASE_LOST):
        store.runs.flags(lease)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.finish(lease, COMPLETED, (event,))
    with expect(ErrorCode.LEASE_LOST):
        store.runs.release(lease, HandBack(message="Here you are.", is_retry=True))
    assert store.runs.get(lease.run_id) == before
    assert event not in events(store, lease.run_id)


# ---------------------------------------------------------------- reaper


def test_a_living_owner_is_not_reaped(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.reap() == ()
    assert store.runs.get(lease.run_id).epoch == lease.epoch


def test_a_lost_run_is_queued_again_once(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.lose_worker(run_id)
    assert store.runs.reap() == (run_id,)
    assert store.runs.reap() == ()
    record = store.runs.get(run_id)
    assert (record.status, record.epoch, record.owner) == (RunStatus.QUEUED, 2, None)
    assert record.attempts[0].problem is not None
    assert record.attempts[0].problem.code is ErrorCode.WORKER_LOST
    assert store.queue.holds(run_id, epoch=2, queue=QUEUE)
    assert isinstance(events(store, run_id)[-1], JobQueued)


def test_an_owner_that_comes_back_before_the_reaper_keeps_its_run(store: StoreUnderTest) -> None:
    lease = store.lose_worker(store.submit())
    store.runs.heartbeat(lease.model_copy(update={"lease_seconds": 60.0}), RunUpdate())
    assert store.runs.reap() == ()
    assert not store.runs.flags(lease).cancel


def test_a_lost_run_that_was_to_be_cancelled_ends(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
    store.runs.request_cancel(lease.run_id)
    store.pass_time(LEASE_SECONDS + 0.01)
    assert store.runs.reap() == (run_id,)
    record = store.runs.get(run_id)
    assert (record.status, record.reason) == (RunStatus.CANCELLED, Reason.USER_CANCELLED)
    assert isinstance(events(store, run_id)[-1], JobCancelled)


def test_three_crashes_without_progress_end_a_run(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for crash in range(3):
        assert store.runs.get(run_id).status is RunStatus.QUEUED, crash
        store.lose_worker(run_id)
        store.runs.reap()
    record = store.runs.get(run_id)
    assert (record.status, record.reason, record.failure_class) == (
        RunStatus.FAILED,
        Reason.WORKER_LOST,
        FailureClass.FATAL,
    )
    assert record.problem is not None
    assert record.problem.code is ErrorCode.WORKER_LOST
    assert len(record.attempts) == 3
    last = events(store, run_id)[-1]
    assert isinstance(last, JobFailed)
    assert (last.reason, last.error_code, last.message) == (
        Reason.WORKER_LOST,
        ErrorCode.WORKER_LOST,
        record.message,
    )
    assert store.runs.reap() == ()


def test_crashes_with_progress_between_them_do_not_add_up(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for crash in range(5):
        lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
        update = RunUpdate(phase=Phase.TRAINING, progress=Progress(step=crash + 1))
        store.runs.heartbeat(lease, update)
        store.pass_time(LEASE_SECONDS + 0.01)
        store.runs.reap()
    assert store.runs.get(run_id).status is RunStatus.QUEUED


def test_a_later_phase_is_progress_and_an_earlier_one_is_not(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for phase, step in [(Phase.TRAINING, 9), (Phase.EVALUATING, 0), (Phase.TRAINING, 9), (Phase.TRAINING, 8)]:
        assert store.runs.get(run_id).status is RunStatus.QUEUED
        lease = store.claim(run_id, lease_seconds=LEASE_SECONDS)
        store.runs.heartbeat(lease, RunUpdate(phase=phase, progress=Progress(step=step)))
        store.pass_time(LEASE_SECONDS + 0.01)
        store.runs.reap()
    assert store.runs.get(run_id).status is RunStatus.FAILED


def test_a_lost_order_is_put_in_again(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.queue.remove(run_id, epoch=0, queue=QUEUE)
    assert store.runs.reap() == (run_id,)
    assert store.queue.holds(run_id, epoch=0, queue=QUEUE)
    assert store.runs.reap() == ()
    assert len(events(store, run_id)) == 1
