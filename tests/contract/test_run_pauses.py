"""Standing still, going on, and coming back after the store was lost: what every run store promises."""

import pytest

from model_trainer.core.contracts.events import CheckpointSaved, Event, JobPaused, JobQueued
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    Holder,
    IdempotencyKey,
    LastCheckpoint,
    Outcome,
    Phase,
    Problem,
    Progress,
    ResumeOrder,
    RunKind,
    RunQuery,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode, Reason
from tests.contract.run_stores import LEASE_SECONDS, QUEUE, StoreUnderTest, new_run

DONE = Outcome(status=RunStatus.COMPLETED, message="Done.", result={"loss": 1.5}, metrics={"loss": 1.5})
FAILED = Outcome(
    status=RunStatus.FAILED, message="No.", problem=Problem(code=ErrorCode.DATA_CHANGED, message="No.")
)
PAUSED = HandBack(status=RunStatus.PAUSED, message="Paused.")
DISK_FULL = HandBack(
    status=RunStatus.PAUSED,
    message="The disk is full.",
    reason=Reason.DISK_FULL,
    problem=Problem(code=ErrorCode.DISK_FULL, message="Full."),
    delay_seconds=0.1,
    is_retry=True,
)


def events(store: StoreUnderTest, run_id: str) -> list[Event]:
    return [stored.event for stored in store.runs.events_after(run_id, after=0, limit=1000)]


def checkpoint(run_id: str, step: int) -> CheckpointSaved:
    return CheckpointSaved(job_id=run_id, user_id="ada", step=step, path="p", num_bytes=1, metrics={})


def conflict(about: str) -> "pytest.RaisesExc[AppError]":
    return pytest.raises(
        AppError, check=lambda error: error.code is ErrorCode.CONFLICT and about in error.message
    )


def not_found() -> "pytest.RaisesExc[AppError]":
    return pytest.raises(AppError, check=lambda error: error.code is ErrorCode.RUN_NOT_FOUND)


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
        store.runs.finish(lease, DONE if how == "completed" else FAILED)
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
    with not_found():
        store.runs.request_pause(new_ulid())
    with not_found():
        store.runs.resume(new_ulid())
    assert not store.runs.resume_when_due(new_ulid())


# ---------------------------------------------------------------- resume


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
            store.runs.finish(lease, DONE)
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


# ---------------------------------------------------------------- holders


def test_the_store_knows_who_holds_which_run(store: StoreUnderTest) -> None:
    one, two = store.claim(store.submit(), host="h1"), store.claim(store.submit(), owner="b", host=None)
    store.runs.request_cancel(two.run_id)
    store.runs.finish(store.claim(store.submit()), DONE)
    store.submit()
    assert set(store.runs.held()) == {
        Holder(run_id=one.run_id, epoch=1, owner="a", host="h1"),
        Holder(run_id=two.run_id, epoch=1, owner="b", host=None),
    }


def test_a_run_whose_holder_is_lost_is_queued_again_before_its_lease_runs_out(store: StoreUnderTest) -> None:
    store.claim(store.submit())
    (holder,) = store.runs.held()
    assert store.runs.reap((holder,)) == (holder.run_id,)
    record = store.runs.get(holder.run_id)
    assert (record.status, record.epoch) == (RunStatus.QUEUED, 2)
    assert record.attempts[0].problem is not None
    assert record.attempts[0].problem.code is ErrorCode.WORKER_LOST


def test_word_of_an_earlier_holder_that_is_lost_harms_no_later_one(store: StoreUnderTest) -> None:
    run_id = store.submit()
    store.claim(run_id)
    (holder,) = store.runs.held()
    store.runs.reap((holder,))
    lease = store.claim(run_id, owner="b")
    unknown = Holder(run_id=new_ulid(), epoch=1, owner="a", host=None)
    assert store.runs.reap((holder, unknown)) == ()
    assert store.runs.get(run_id).epoch == lease.epoch


def test_a_worker_that_must_go_uses_up_no_retry(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    assert store.runs.release(lease, HandBack(message="The worker stops.")).retries == 0


# ---------------------------------------------------------------- a store that was lost


def test_an_owner_whose_record_is_lost_is_told_so_and_not_that_it_lost_its_lease(
    store: StoreUnderTest,
) -> None:
    lease = store.claim(store.submit())
    store.lose_everything()
    for act in (
        lambda: store.runs.flags(lease),
        lambda: store.runs.heartbeat(lease, RunUpdate(message="On."), (checkpoint(lease.run_id, 1),)),
        lambda: store.runs.finish(lease, DONE),
        lambda: store.runs.release(lease, PAUSED),
    ):
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE) as caught:
            act()
        assert "rebuild" in caught.value.message
    assert store.runs.events_after(lease.run_id, after=0, limit=9) == ()
    with not_found():
        store.runs.get(lease.run_id)


def test_a_restored_run_is_as_it_was_kept_and_its_owner_goes_on(store: StoreUnderTest) -> None:
    run = new_run(metadata={"team": "ä"}, parent_run_id=new_ulid())
    store.runs.submit(run, idempotency=None)
    store.runs.release(store.claim(run.run_id), DISK_FULL)
    store.runs.resume(run.run_id, step=7)
    lease = store.claim(run.run_id, owner="b")
    saved = LastCheckpoint(step=3, path="checkpoints/3", num_bytes=9)
    told = (checkpoint(run.run_id, 1), checkpoint(run.run_id, 2))
    store.runs.heartbeat(
        lease, RunUpdate(progress=Progress(step=3), metrics={"loss": 2.0}, checkpoint=saved), told
    )
    kept, stored = store.runs.get(run.run_id), store.runs.events_after(run.run_id, after=0, limit=99)
    store.lose_everything()
    with pytest.raises(AppError):
        store.runs.heartbeat(lease, RunUpdate(), (checkpoint(run.run_id, 3),))

    assert store.runs.restore(kept, stored)
    assert not store.runs.restore(kept, stored)
    record = store.runs.get(run.run_id)
    assert record.model_copy(update={"lease_until_ms": kept.lease_until_ms}) == kept
    assert store.runs.events_after(run.run_id, after=0, limit=99) == stored
    assert store.runs.held() == (Holder(run_id=run.run_id, epoch=lease.epoch, owner="b", host="host-1"),)
    assert store.runs.reap() == ()
    query = RunQuery(kind=RunKind.TRAIN, limit=9, status=RunStatus.RUNNING, metadata={"team": "ä"})
    assert [found.run_id for found in store.runs.list_runs(query).records] == [run.run_id]
    assert store.runs.status_counts()["train", "running"] == 1

    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(run.run_id, 3), checkpoint(run.run_id, 4)))
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(run.run_id, 5),))
    steps = [event.step for event in events(store, run.run_id) if isinstance(event, CheckpointSaved)]
    assert steps == [1, 2, 3, 4, 5]
    assert store.runs.finish(lease, DONE).last_event_seq == len(stored) + 3


def test_a_restored_run_whose_owner_is_not_heard_of_is_rescued(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit(), lease_seconds=LEASE_SECONDS)
    kept = store.runs.get(lease.run_id)
    store.lose_everything()
    store.pass_time(LEASE_SECONDS + 0.01)
    store.runs.restore(kept, ())
    assert store.runs.reap() == ()
    store.pass_time(LEASE_SECONDS + 0.01)
    assert store.runs.reap() == (lease.run_id,)


def test_a_restored_queued_run_gets_its_order_from_the_reaper(store: StoreUnderTest) -> None:
    run_id = store.submit()
    kept, stored = store.runs.get(run_id), store.runs.events_after(run_id, after=0, limit=9)
    store.lose_everything()
    store.runs.restore(kept, ())
    assert events(store, run_id) == [stored[0].event]
    assert store.runs.get(run_id).updated_at_ms == kept.updated_at_ms
    assert store.queue.depth(QUEUE) == 0
    assert store.runs.reap() == (run_id,)
    assert store.claim(run_id).epoch == 1


def test_a_restored_run_that_was_to_be_cancelled_still_is(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    kept = store.runs.request_cancel(lease.run_id)
    store.lose_everything()
    store.runs.restore(kept, ())
    assert store.runs.flags(lease).cancel


def test_a_restored_end_is_an_end_and_can_be_resumed(store: StoreUnderTest) -> None:
    kept = store.runs.finish(store.claim(store.submit()), FAILED)
    store.lose_everything()
    store.runs.restore(kept, ())
    restored = store.runs.get(kept.run_id)
    assert restored == kept.model_copy(update={"last_event_seq": 0})
    assert (store.runs.unaccounted(9), store.runs.held(), store.runs.reap()) == ((), (), ())
    assert store.runs.resume(kept.run_id).record.status is RunStatus.QUEUED


def test_a_restored_stream_ends_before_the_first_event_that_is_missing(store: StoreUnderTest) -> None:
    lease = store.claim(store.submit())
    store.runs.heartbeat(lease, RunUpdate(), tuple(checkpoint(lease.run_id, step) for step in range(4)))
    kept, stored = store.runs.get(lease.run_id), store.runs.events_after(lease.run_id, after=0, limit=99)
    store.lose_everything()
    store.runs.restore(kept, stored[:3] + stored[4:])
    assert store.runs.events_after(lease.run_id, after=0, limit=99) == stored[:3]
    store.runs.heartbeat(lease, RunUpdate(), (checkpoint(lease.run_id, 9),))
    assert store.runs.events_after(lease.run_id, after=3, limit=99)[0].seq == 4
