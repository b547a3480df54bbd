"""What surrounds the work: lock, claim, copies on disk, and a store or a disk that is away for a moment."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, Reason
from model_trainer.core.failpoints import Failpoint
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryHeldLock, MemoryRunLocks
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.supervise import Job, JobResult, supervise
from tests.unit.worker.bench import Life, wait_until


def _succeed(held: HeldRun, record: RunRecord) -> JobResult:
    return JobResult(message="Fine.", metrics={}, result={})


def _must_not_be_called(held: HeldRun, record: RunRecord) -> JobResult:
    raise AssertionError("must not be called")


def test_the_moments_of_a_life_come_in_order(life: Life) -> None:
    life.of(_succeed)
    names = [point.value for point in life.bench.reached]
    assert names == [
        "claim.begun",
        "claim.locked",
        "claim.granted",
        "claim.kept",
        "claim.folder_made",
        "finish.work_done",
        "finish.begun",
        "finish.written",
        "finish.kept",
    ]


def test_the_lock_is_held_while_the_work_lasts_and_by_this_host(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        assert not life.bench.locks.is_free(held.run_id)
        assert record.host == life.bench.locks.host
        return _succeed(held, record)

    record = life.of(work)
    assert record.status is RunStatus.COMPLETED
    assert life.bench.locks.is_free(record.run_id)


def test_a_run_that_another_process_works_on_is_left_to_it(life: Life) -> None:
    run_id = life.bench.submitted()
    assert life.bench.locks.take(run_id, epoch=0) is not None
    life.again(run_id, _must_not_be_called)
    assert (life.bench.store.get(run_id).status, life.bench.store.get(run_id).attempt) == (
        RunStatus.QUEUED,
        0,
    )


class NoLocks(MemoryRunLocks):
    """Locks that cannot be made: the disk is full."""

    def take(self, run_id: str, *, epoch: int) -> MemoryHeldLock | None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_lock_for_which_there_is_no_space_makes_the_run_wait_for_space(life: Life) -> None:
    life.bench.parts = replace(life.bench.parts, locks=NoLocks())
    record = life.of(_must_not_be_called)
    assert (record.status, record.reason) == (RunStatus.PAUSED, Reason.DISK_FULL)
    life.again(record.run_id, _must_not_be_called)  # the order of a run that is not queued
    assert life.bench.store.get(record.run_id) == record


def test_the_record_is_on_disk_after_the_claim_and_after_the_end(life: Life) -> None:
    seen: list[RunStatus] = []

    def kept() -> RunRecord:
        (found,) = life.bench.parts.artifacts.kept_records()
        assert found.record is not None
        return found.record

    def work(held: HeldRun, record: RunRecord) -> JobResult:
        seen.append(kept().status)
        return _succeed(held, record)

    record = life.of(work)
    assert seen == [RunStatus.RUNNING]
    assert kept() == record


class FullTree(MemoryArtifactTree):
    """A disk without space for records."""

    def keep_record(self, record: RunRecord) -> None:
        raise AppError(ErrorCode.DISK_FULL, "Full.")


def test_a_record_that_cannot_be_kept_costs_the_run_nothing(life: Life) -> None:
    life.bench.parts = replace(life.bench.parts, artifacts=FullTree())
    assert life.of(_succeed).status is RunStatus.COMPLETED


def test_a_claim_whose_answer_got_lost_is_found_again(life: Life) -> None:
    life.bench.store.answers_lost = 1
    record = life.of(_succeed)
    assert (record.status, record.attempt) == (RunStatus.COMPLETED, 1)


def test_a_lost_answer_is_no_claim_when_another_owner_was_quicker(life: Life) -> None:
    run_id = life.bench.submitted()
    assert life.bench.store.claim(run_id, epoch=0, owner="worker-2", host=None, lease_seconds=15)
    life.bench.store.answers_lost = 1
    epoch = life.bench.store.get(run_id).epoch
    assert epoch == 1
    life.again(run_id, _must_not_be_called, epoch=0)
    assert life.bench.store.get(run_id).owner == "worker-2"
    assert life.bench.reached[-1] is Failpoint.CLAIM_LOCKED


def test_an_order_for_a_run_that_is_gone_is_harmless(life: Life) -> None:
    life.bench.store.answers_lost = 1
    life.again("01ARZ3NDEKTSV4RRFFQ69G5FAV", _must_not_be_called, epoch=0)


def test_a_store_that_stays_away_before_the_claim_is_told(life: Life) -> None:
    run_id = life.bench.submitted()
    life.bench.let_leases_last(0.6)
    life.bench.store.answers_lost = 100
    with pytest.raises(AppError) as caught:
        life.again(run_id, _must_not_be_called)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert life.bench.locks.is_free(run_id)


def test_a_store_that_is_away_right_after_the_claim_is_asked_again(life: Life) -> None:
    run_id = life.bench.submitted()
    life.bench.store.gets_refused = 1
    life.again(run_id, _succeed, epoch=0)
    assert life.bench.store.get(run_id).status is RunStatus.COMPLETED


def test_a_run_whose_record_cannot_be_read_after_the_claim_is_left_to_the_reaper(life: Life) -> None:
    run_id = life.bench.submitted()
    life.bench.let_leases_last(0.3)
    life.bench.store.gets_refused = 1
    life.again(run_id, _must_not_be_called, epoch=0)
    assert life.bench.store.get(run_id).status is RunStatus.RUNNING


def test_a_failure_whose_record_cannot_be_read_is_left_to_the_reaper(life: Life) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        life.bench.store.gets_refused = 1
        raise ValueError("boom")

    life.bench.let_leases_last(0.3)
    assert life.of(work).status is RunStatus.RUNNING
    assert life.ended == []


def test_what_a_dead_owner_left_half_written_is_gone_before_the_work_begins(life: Life) -> None:
    torn = life.folder / "checkpoints" / ".tmp-01ARZ3NDEKTSV4RRFFQ69G5FAV"
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"torn")
    (life.folder / ".tmp-file").write_bytes(b"torn")
    (life.folder / "kept").write_bytes(b"whole")

    def work(held: HeldRun, record: RunRecord) -> JobResult:
        assert not torn.exists()
        assert not (life.folder / ".tmp-file").exists()
        return _succeed(held, record)

    assert life.of(work).status is RunStatus.COMPLETED
    assert (life.folder / "kept").exists()


def test_an_error_at_a_failpoint_of_the_work_is_the_runs_end(life: Life) -> None:
    def fail(point: Failpoint) -> None:
        if point is Failpoint.FINISH_WORK_DONE:
            raise OSError(errno.EIO, "Made to fail")

    life.reached = fail
    assert life.of(_succeed).status is RunStatus.FAILED


def test_events_of_a_run_handed_back_are_its_next_owners_to_mirror(life: Life, tmp_path: Path) -> None:
    def work(held: HeldRun, record: RunRecord) -> JobResult:
        raise AppError(ErrorCode.OUT_OF_MEMORY, "Too large.")

    record = life.of(work)
    mirrored = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(mirrored) < len(life.bench.event_types(record.run_id))


@pytest.mark.parametrize("is_away", [False, True])
def test_a_folder_that_takes_long_to_come_does_not_cost_the_lease(life: Life, is_away: bool) -> None:
    life.bench.let_leases_last(0.15)
    store = life.bench.store

    @contextmanager
    def fetched(_: RunRecord) -> Iterator[Path]:
        store.away = is_away
        num_updates = len(store.updates)
        wait_until(lambda: store.refused > 0 if is_away else len(store.updates) > num_updates + 1)
        store.away = False
        yield life.folder

    run_id = life.bench.submitted()
    job = Job(work=_succeed, folder=fetched, ended=life.ended.append, fallback=ErrorCode.MODEL_TRAIN_FAILED)
    supervise(life.bench.parts, run_id=run_id, epoch=0, job=job)
    assert store.get(run_id).status is RunStatus.COMPLETED


def test_the_folder_is_held_until_the_account_is_closed(life: Life) -> None:
    steps: list[str] = []

    @contextmanager
    def held_folder(_: RunRecord) -> Iterator[Path]:
        steps.append("held")
        yield life.folder
        steps.append("let go")

    run_id = life.bench.submitted()
    job = Job(
        work=_succeed,
        folder=held_folder,
        ended=lambda _: steps.append("closed"),
        fallback=ErrorCode.MODEL_TRAIN_FAILED,
    )
    supervise(life.bench.parts, run_id=run_id, epoch=0, job=job)
    assert steps == ["held", "closed", "let go"]
