"""Runs that wait for disk space go on when there is enough for them, and only then."""

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.run import HandBack, LastCheckpoint, RunKind, RunStatus, RunUpdate
from model_trainer.core.errors import Reason
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.disk import DiskWatch
from model_trainer.maintenance.records import RecordKeeper
from tests.unit.worker.bench import Bench


class Disk(MemoryArtifactTree):
    """A disk whose free space is what the test says."""

    free: int | OSError = 0

    def free_bytes(self) -> int:
        if isinstance(self.free, OSError):
            raise self.free
        return self.free


class Room:
    """A store with runs that stand still, a disk, and a watch over both."""

    def __init__(self, free: int | OSError, *, page: int = 100) -> None:
        self.bench = Bench()
        self.disk = Disk()
        self.disk.free = free
        self.watch = DiskWatch(
            runs=self.bench.store,
            artifacts=self.disk,
            min_free_bytes=100,
            keep=RecordKeeper(runs=self.bench.store, artifacts=self.disk),
            asker=PatientAsker(),
            page=page,
        )

    def paused(
        self,
        *,
        checkpoint_bytes: int | None = None,
        reason: Reason | None = Reason.DISK_FULL,
        kind: RunKind = RunKind.TRAIN,
        delay_seconds: float = 0.0,
    ) -> str:
        store = self.bench.store
        run_id = self.bench.submitted(kind=kind)
        epoch = store.get(run_id).epoch
        lease = store.claim(run_id, epoch=epoch, owner="w", host="h", lease_seconds=15)
        assert lease is not None
        if checkpoint_bytes is not None:
            saved = LastCheckpoint(step=1, path="checkpoints/step-1", num_bytes=checkpoint_bytes)
            store.heartbeat(lease, RunUpdate(checkpoint=saved))
        hand_back = HandBack(
            status=RunStatus.PAUSED, message="The disk is full.", reason=reason, delay_seconds=delay_seconds
        )
        store.release(lease, hand_back)
        return run_id

    def status(self, run_id: str) -> RunStatus:
        return self.bench.store.get(run_id).status


@pytest.mark.parametrize("kind", list(RunKind))
def test_a_run_goes_on_when_there_is_space_again(kind: RunKind) -> None:
    room = Room(free=99)
    run_id = room.paused(kind=kind)
    assert room.watch.look() == 0
    assert room.status(run_id) is RunStatus.PAUSED
    room.disk.free = 100
    with capture_logs() as lines:
        assert room.watch.look() == 1
    assert room.status(run_id) is RunStatus.QUEUED
    assert [(line["event"], line["run_id"]) for line in lines] == [("disk_space_is_back", run_id)]
    assert [kept.record for kept in room.disk.kept_records()] == [room.bench.store.get(run_id)]


def test_there_must_be_room_for_two_checkpoints() -> None:
    room = Room(free=1999)
    run_id = room.paused(checkpoint_bytes=1000)
    assert room.watch.look() == 0
    room.disk.free = 2000
    assert room.watch.look() == 1
    assert room.status(run_id) is RunStatus.QUEUED


def test_the_same_space_is_not_promised_twice() -> None:
    room = Room(free=3999)
    runs = sorted(room.paused(checkpoint_bytes=1000) for _ in range(2))
    assert room.watch.look() == 1
    assert [room.status(run_id) for run_id in runs] == [RunStatus.QUEUED, RunStatus.PAUSED]


@pytest.mark.parametrize("reason", [None, Reason.STORE_UNAVAILABLE])
def test_a_run_that_stands_still_for_another_reason_is_left_alone(reason: Reason | None) -> None:
    room = Room(free=1 << 40)
    run_id = room.paused(reason=reason)
    assert room.watch.look() == 0
    assert room.status(run_id) is RunStatus.PAUSED


def test_a_run_whose_delay_is_not_over_waits_and_takes_no_space_from_others() -> None:
    room = Room(free=2000)
    waiting = room.paused(delay_seconds=60, checkpoint_bytes=1000)
    ready = room.paused(checkpoint_bytes=1000)
    assert room.watch.look() == 1
    assert room.status(waiting) is RunStatus.PAUSED
    assert room.status(ready) is RunStatus.QUEUED


def test_many_runs_are_looked_at_page_by_page() -> None:
    room = Room(free=1 << 40, page=2)
    for _ in range(5):
        room.paused()
    assert room.watch.look() == 5


def test_a_disk_that_cannot_be_asked_is_asked_again() -> None:
    room = Room(free=OSError("no such folder"))
    room.paused()
    with capture_logs() as lines:
        assert room.watch.look() == 0
    assert [line["event"] for line in lines] == ["free_space_unknown"]
    room.disk.free = 1 << 40
    assert room.watch.look() == 1
