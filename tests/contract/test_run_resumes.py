"""Going on after a pause or a bad end: what every run store promises."""

import pytest

from model_trainer.core.contracts.events import JobQueued
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    IdempotencyKey,
    Phase,
    Progress,
    ResumeOrder,
    RunKind,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode
from tests.contract.refusals import conflict
from tests.contract.run_stores import COMPLETED, FAILED, QUEUE, StoreUnderTest, events


@pytest.mark.parametrize("how", ["paused", "failed", "cancelled", "given up"])
def test_a_resumed_run_waits_under_a_new_epoch_with_all_its_tries(store: StoreUnderTest, how: str) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    store.runs.heartbeat(
        lease, RunUpdate(phase=Phase.TRAINING, progress=Progress(step=5), metrics={"loss": 2.0})
    )
    store.runs.release(lease, HandBack(message="Again.", is_retry=True))
    match how:
        case "paused":
            store.runs.request_pause(run_id)
        case "failed":
            store.runs.finish(store.claim(run_id), FAILED)
        case "cancelled":
            store.cancel_by_hand(run_id, "1")
            store.runs.reap()
        case _:
            for _ in range(3):
                store.lose_worker(run_id)
                store.runs.reap()
    before = store.runs.get(run_id)
    record = store.runs.resume(run_id).record
    assert record == store.runs.get(run_id)
    assert (record.status, record.phase, record.epoch) == (RunStatus.QUEUED, Phase.WAITING, before.epoch + 1)
    assert (record.reason, record.failure_class, record.problem) == (None, None, None)
    assert (record.finished_at_ms, record.retries, record.resume_order) == (None, 0, None)
    assert (record.cancel_requested, record.pause_requested) == (False, False)
    assert (record.progress, record.metrics, record.attempts) == (
        before.progress,
        before.metrics,
        before.attempts,
    )
    assert record.message.startswith("Resumed")
    assert store.queue.holds(run_id, epoch=record.epoch, queue=QUEUE)
    assert isinstance(events(store, run_id)[-1], JobQueued)
    assert store.runs.unaccounted(9) == ()
    assert store.runs.flags(store.claim(run_id)) == Flags(cancel=False, pause=False)


def test_a_resumed_run_is_given_up_after_three_more_crashes(store: StoreUnderTest) -> None:
    run_id = store.submit()
    for _ in range(2):
        for _ in range(3):
            assert store.runs.get(run_id).status is RunStatus.QUEUED
            store.lose_worker(run_id)
            store.runs.reap()
        assert store.runs.get(run_id).status is RunStatus.FAILED
        store.runs.resume(run_id)


def test_a_resumed_run_counts_its_retries_from_where_it_is(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    far, near = (RunUpdate(phase=Phase.TRAINING, progress=Progress(step=step)) for step in (9, 1))
    store.runs.heartbeat(lease, far)
    store.runs.release(lease, HandBack(message="Again.", is_retry=True))
    store.runs.finish(store.claim(lease.run_id), FAILED)
    store.runs.resume(lease.run_id)
    store.runs.release(store.claim(lease.run_id), HandBack(message="Again.", is_retry=True))
    lease = store.claim(lease.run_id)
    store.runs.heartbeat(lease, near)
    assert store.runs.get(lease.run_id).retries == 0


def test_a_chosen_checkpoint_is_an_order_of_its_epoch_until_the_next_resume(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.runs.request_pause(run_id)
    assert store.runs.resume(run_id, step=40).record.resume_order == ResumeOrder(epoch=1, step=40)
    store.lose_worker(run_id)
    store.runs.reap()
    assert store.runs.get(run_id).resume_order == ResumeOrder(epoch=1, step=40)
    store.runs.request_pause(run_id)
    assert store.runs.resume(run_id, step=0).record.resume_order == ResumeOrder(epoch=4, step=0)
    store.runs.request_pause(run_id)
    assert store.runs.resume(run_id).record.resume_order is None


@pytest.mark.parametrize(
    ("how", "about"),
    [
        ("queued", "a worker is free"),
        ("running", "pause it first"),
        ("pausing", "when its status is paused"),
        ("cancelling", "when its status is cancelled"),
        ("completed", "init_from"),
        ("completed evaluation", "start a new one"),
    ],
)
def test_what_does_not_stand_still_is_not_resumed_and_the_way_out_is_told(
    store: StoreUnderTest, how: str, about: str
) -> None:
    run_id = store.submit(kind=RunKind.EVALUATE if how == "completed evaluation" else RunKind.TRAIN)
    if how != "queued":
        lease = store.claim(run_id)
        if how == "pausing":
            store.runs.request_pause(run_id)
        elif how == "cancelling":
            store.runs.request_cancel(run_id)
        elif how != "running":
            store.runs.finish(lease, COMPLETED)
    before = store.runs.get(run_id)
    with conflict(about):
        store.runs.resume(run_id)
    assert store.runs.get(run_id) == before


@pytest.mark.parametrize("since", ["queued", "running", "failed"])
def test_a_resume_repeated_under_its_key_changes_nothing_more(store: StoreUnderTest, since: str) -> None:
    key = IdempotencyKey(key="k", body_sha256="b" * 64)
    run_id = store.submit()
    store.runs.request_pause(run_id)
    first = store.runs.resume(run_id, idempotency=key)
    assert (first.replayed, first.record.epoch) == (False, 1)
    if since != "queued":
        lease = store.claim(run_id)
        if since == "failed":
            store.runs.finish(lease, FAILED)
    before = store.runs.get(run_id)
    again = store.runs.resume(run_id, idempotency=key)
    assert (again.replayed, again.record) == (True, before)
    assert store.runs.get(run_id) == before
    assert store.runs.find_submission(key) == again


def test_a_key_is_good_for_one_resume_as_it_was_asked_for(store: StoreUnderTest) -> None:
    key, other = (IdempotencyKey(key="k", body_sha256=digest * 64) for digest in "bc")
    run_id = store.submit()
    store.runs.request_pause(run_id)
    store.runs.resume(run_id, idempotency=key)
    store.runs.request_pause(run_id)
    with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.IDEMPOTENCY_KEY_REUSED):
        store.runs.resume(run_id, idempotency=other)
    assert store.runs.get(run_id).status is RunStatus.PAUSED


def test_a_refused_resume_leaves_its_key_unused(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="b" * 64)
    run_id = store.submit()
    with conflict("a worker is free"):
        store.runs.resume(run_id, idempotency=key)
    assert store.runs.find_submission(key) is None
    store.runs.request_pause(run_id)
    assert not store.runs.resume(run_id, idempotency=key).replayed


def test_an_order_from_before_a_pause_starts_nothing(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.runs.request_pause(run_id)
    store.runs.resume(run_id)
    assert store.runs.claim(run_id, epoch=0, owner="a", host=None, lease_seconds=60.0) is None
    assert store.claim(run_id).epoch == 2
