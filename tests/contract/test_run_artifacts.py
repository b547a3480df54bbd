"""What every run store promises of where an artifact is stored, and of runs that are forgotten."""

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import IdempotencyKey, RunKind, RunQuery, RunStatus
from model_trainer.core.errors import ErrorCode
from tests.contract.refusals import expect
from tests.contract.run_stores import COMPLETED, StoreUnderTest

FILE_ID = "ab" * 32


def completed(store: StoreUnderTest) -> str:
    run_id = store.submit()
    store.runs.finish(store.claim(run_id), COMPLETED)
    return run_id


def test_a_new_run_points_at_no_artifact(store: StoreUnderTest) -> None:
    assert store.runs.get(store.submit()).artifact_file_id is None


def test_an_owner_says_where_its_artifact_is_and_the_end_keeps_it(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    said = store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=lease.epoch)
    assert said.artifact_file_id == FILE_ID
    assert store.runs.finish(lease, COMPLETED).artifact_file_id == FILE_ID


def test_after_the_end_the_pointer_moves_on_without_an_owner(store: StoreUnderTest) -> None:
    run_id = completed(store)
    for file_id in (FILE_ID, "cd" * 32):
        store.runs.point_at_artifact(run_id, file_id=file_id, epoch=None)
        assert store.runs.get(run_id).artifact_file_id == file_id


def test_who_moves_the_pointer_on_from_where_it_is_not_any_more_is_told_so(store: StoreUnderTest) -> None:
    run_id, theirs, ours = completed(store), "cd" * 32, "ef" * 32
    with expect(ErrorCode.CONFLICT):
        store.runs.point_at_artifact(run_id, file_id=ours, epoch=None, instead_of=FILE_ID)
    assert store.runs.get(run_id).artifact_file_id is None
    store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=None)
    store.runs.point_at_artifact(run_id, file_id=theirs, epoch=None, instead_of=FILE_ID)
    with expect(ErrorCode.CONFLICT):
        store.runs.point_at_artifact(run_id, file_id=ours, epoch=None, instead_of=FILE_ID)
    assert store.runs.get(run_id).artifact_file_id == theirs
    again = store.runs.point_at_artifact(run_id, file_id=theirs, epoch=None, instead_of=FILE_ID)
    assert again.artifact_file_id == theirs, "what was said already may be said again"


def test_only_the_owner_points_while_the_run_goes_on(store: StoreUnderTest) -> None:
    run_id = store.submit()
    stale = store.lose_worker(run_id)
    store.runs.reap()
    store.claim(run_id)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=stale.epoch)
    with expect(ErrorCode.CONFLICT):
        store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=None)
    assert store.runs.get(run_id).artifact_file_id is None


def test_an_owner_whose_run_has_ended_is_stale(store: StoreUnderTest) -> None:
    run_id = store.submit()
    lease = store.claim(run_id)
    store.runs.finish(lease, COMPLETED)
    with expect(ErrorCode.LEASE_LOST):
        store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=lease.epoch)


@pytest.mark.parametrize("epoch", [None, 1])
def test_a_run_that_is_not_there_points_nowhere(store: StoreUnderTest, epoch: int | None) -> None:
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.point_at_artifact(new_ulid(), file_id=FILE_ID, epoch=epoch)


def test_a_restored_run_still_points_at_its_artifact(store: StoreUnderTest) -> None:
    run_id = completed(store)
    record = store.runs.point_at_artifact(run_id, file_id=FILE_ID, epoch=None)
    events = store.runs.events_after(run_id, after=0, limit=100)
    store.lose_everything()
    assert store.runs.restore(record, events)
    assert store.runs.get(run_id).artifact_file_id == FILE_ID


def test_a_forgotten_run_is_nowhere(store: StoreUnderTest) -> None:
    kept, gone = completed(store), completed(store)
    assert store.runs.forget(gone)
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.runs.get(gone)
    listed = store.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=10)).records
    assert [record.run_id for record in listed] == [kept]
    assert store.runs.events_after(gone, after=0, limit=10) == ()
    assert store.runs.unaccounted(10) == (kept,)
    assert store.runs.status_counts()["train", "completed"] == 1


def test_what_is_not_there_cannot_be_forgotten(store: StoreUnderTest) -> None:
    run_id = completed(store)
    assert store.runs.forget(run_id)
    assert not store.runs.forget(run_id)


def test_a_run_that_goes_on_is_not_forgotten(store: StoreUnderTest) -> None:
    run_id = store.submit()
    with expect(ErrorCode.CONFLICT):
        store.runs.forget(run_id)
    store.claim(run_id)
    with expect(ErrorCode.CONFLICT):
        store.runs.forget(run_id)
    assert store.runs.get(run_id).status is RunStatus.RUNNING


def test_a_request_whose_run_was_forgotten_does_not_make_another(store: StoreUnderTest) -> None:
    key = IdempotencyKey(key="k", body_sha256="b" * 64)
    run_id = store.submit(idempotency=key)
    store.runs.finish(store.claim(run_id), COMPLETED)
    store.runs.forget(run_id)
    with expect(ErrorCode.RUN_NOT_FOUND):
        store.submit(idempotency=key)
