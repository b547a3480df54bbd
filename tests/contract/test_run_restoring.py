"""Runs brought back after the store was lost: what every run store promises."""

import pytest

from model_trainer.core.contracts.events import CheckpointSaved
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import (
    Holder,
    LastCheckpoint,
    Progress,
    RunKind,
    RunQuery,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import AppError, ErrorCode
from tests.contract.refusals import expect
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
    new_run,
)


def test_an_owner_whose_record_is_lost_is_told_so_and_not_that_it_lost_its_lease(
    store: StoreUnderTest,
) -> None:
    lease = store.claim(store.submit())
    store.lose_everything()
    for act in (
        lambda: store.runs.flags(lease),
        lambda: store.runs.heartbeat(lease, RunUpdate(message="On."), (checkpoint(lease.run_id, 1),)),
        lambda: store.runs.finish(lease, COMPLETED),
        lambda: store.runs.release(lease, PAUSED),
    ):
        with pytest.raises(AppError, check=lambda error: error.code is ErrorCode.STORE_UNAVAILABLE) as caught:
            act()
        assert "rebuild" in caught.value.message
    assert store.runs.events_after(lease.run_id, after=0, limit=9) == ()
    with expect(ErrorCode.RUN_NOT_FOUND):
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
    assert store.runs.finish(lease, COMPLETED).last_event_seq == len(stored) + 3


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
