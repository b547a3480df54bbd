"""Runs come back from disk: ours, whole, and no older than what was told."""

from collections.abc import Iterator

import pytest

from model_trainer.core.contracts.events import JobCompleted, StoredEvent
from model_trainer.core.contracts.manifest import RunPointer
from model_trainer.core.contracts.run import Outcome, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import KeptRecord
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.maintenance.rebuild import Rebuild, RebuiltRun
from model_trainer.maintenance.records import RecordKeeper
from model_trainer.worker.event_mirror import EventMirror
from tests.unit.worker.bench import Bench

FOREIGN = "01J0000000000000000000F0RE"


class Tree(MemoryArtifactTree):
    """An artifact tree that also shows records of others."""

    others: tuple[KeptRecord, ...] = ()

    def kept_records(self) -> Iterator[KeptRecord]:
        yield from super().kept_records()
        yield from self.others


class Refusing:
    """A store that does not take one run back."""

    def __init__(self, store: MemoryRunStore, run_id: str, error: Exception) -> None:
        self.get = store.get
        self._store = store
        self._run_id = run_id
        self._error = error

    def restore(self, record: RunRecord, events: tuple[StoredEvent, ...]) -> bool:
        if record.run_id == self._run_id:
            raise self._error
        return self._store.restore(record, events)


class Room:
    """A store that loses everything, and the disk beside it."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.store = self.bench.store
        self.tree = Tree()
        self.keep = RecordKeeper(runs=self.store, artifacts=self.tree)
        self.closed: list[str] = []
        self.archive = Archive()

    def kept(self) -> RunRecord:
        run_id = self.bench.submitted()
        self.keep(run_id)
        return self.store.get(run_id)

    def completed(self, run_id: str) -> RunRecord:
        """The run ends, its events come to disk, its record does not."""
        folder = self.tree.create("models", run_id)
        epoch = self.store.get(run_id).epoch
        lease = self.store.claim(run_id, epoch=epoch, owner="w", host="h", lease_seconds=15)
        assert lease is not None
        event = JobCompleted(job_id=run_id, user_id="ada", message="Done.", metrics={"loss": 1.0})
        outcome = Outcome(status=RunStatus.COMPLETED, message="Done.", metrics={"loss": 1.0})
        record = self.store.finish(lease, outcome, (event,))
        EventMirror(folder / "events.jsonl").catch_up(self.store, run_id)
        return record

    def rebuild(self, *, adopt: bool = False, through: Refusing | None = None) -> list[RebuiltRun]:
        work = Rebuild(
            runs=through or self.store,
            artifacts=self.tree,
            keep=self.keep,
            close_account=self.closed.append,
            stored=self.archive,
            adopt=adopt,
        )
        return list(work.runs())

    def events(self, run_id: str) -> tuple[StoredEvent, ...]:
        return self.store.events_after(run_id, after=0, limit=100)


@pytest.fixture
def room() -> Room:
    return Room()


def foreign(record: RunRecord) -> KeptRecord:
    return KeptRecord(run_id=record.run_id, record=record, installation_id=FOREIGN, problem=None)


def test_a_run_comes_back_as_it_was_with_its_events(room: Room) -> None:
    before = room.kept()
    events = room.events(before.run_id)
    room.store.lose_everything()
    assert room.rebuild() == [RebuiltRun(before.run_id, "restored", "queued", "")]
    assert room.store.get(before.run_id) == before
    assert room.events(before.run_id) == events


def test_a_run_that_the_store_has_is_left_as_it_is(room: Room) -> None:
    before = room.kept()
    room.store.request_cancel(before.run_id)
    after = room.store.get(before.run_id)
    assert room.rebuild() == [RebuiltRun(before.run_id, "known", "cancelled", "the store has it")]
    assert room.store.get(before.run_id) == after


def test_doing_it_again_restores_nothing_twice(room: Room) -> None:
    run_id = room.kept().run_id
    room.store.lose_everything()
    assert [one.fate for one in room.rebuild() + room.rebuild()] == ["restored", "known"]
    assert len(room.events(run_id)) == 1


def test_an_end_that_only_the_events_know_is_not_untold(room: Room) -> None:
    kept = room.kept()
    before = room.completed(kept.run_id)
    events = room.events(kept.run_id)
    room.store.lose_everything()
    (rebuilt,) = room.rebuild()
    assert (rebuilt.fate, rebuilt.status) == ("restored", "completed")
    assert rebuilt.detail == "its events tell more than its record, which says queued"
    after = room.store.get(kept.run_id)
    assert (after.status, after.message, after.metrics) == (before.status, "Done.", {"loss": 1.0})
    assert room.events(kept.run_id) == events
    assert room.closed == [kept.run_id]
    assert [one.record for one in room.tree.kept_records()] == [after]


def test_an_end_that_the_record_knows_is_on_disk_already(room: Room) -> None:
    run_id = room.kept().run_id
    room.completed(run_id)
    room.keep(run_id)
    room.store.lose_everything()
    assert room.rebuild() == [RebuiltRun(run_id, "restored", "completed", "")]
    assert room.closed == []


def test_a_move_that_only_the_events_know_is_no_end(room: Room) -> None:
    kept = room.kept()
    folder = room.tree.create("models", kept.run_id)
    assert room.store.claim(kept.run_id, epoch=kept.epoch, owner="w", host="h", lease_seconds=15) is not None
    EventMirror(folder / "events.jsonl").catch_up(room.store, kept.run_id)
    room.store.lose_everything()
    assert [one.status for one in room.rebuild()] == ["running"]
    assert room.closed == []


def test_a_torn_last_event_is_told_from_the_record(room: Room) -> None:
    run_id = room.kept().run_id
    room.completed(run_id)
    room.keep(run_id)
    path = room.tree.folder("models", run_id) / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    before = room.events(run_id)
    room.store.lose_everything()
    room.rebuild()
    after = room.events(run_id)
    assert after[:-1] == before[:-1]
    assert (after[-1].seq, after[-1].event) == (before[-1].seq, before[-1].event)


def test_a_record_that_cannot_be_read_is_named(room: Room) -> None:
    lost = room.kept().run_id
    room.tree.others = (
        KeptRecord(run_id=FOREIGN, record=None, installation_id=None, problem="it is torn"),
        KeptRecord(run_id=FOREIGN, record=None, installation_id=None, problem=None),
    )
    room.store.lose_everything()
    assert [(one.run_id, one.fate, one.detail) for one in room.rebuild()] == [
        (lost, "restored", ""),
        (FOREIGN, "skipped", "it is torn"),
        (FOREIGN, "skipped", "there is no record"),
    ]


def test_what_another_installation_wrote_is_named_and_taken_only_when_asked(room: Room) -> None:
    record = room.bench.store.get(room.bench.submitted())
    room.tree.others = (foreign(record),)
    room.store.lose_everything()
    (skipped,) = room.rebuild()
    assert (skipped.fate, skipped.status) == ("skipped", "queued")
    assert FOREIGN in skipped.detail
    assert "--adopt" in skipped.detail
    with pytest.raises(AppError):
        room.store.get(record.run_id)
    adopted = room.rebuild(adopt=True)[-1]
    assert (adopted.fate, adopted.detail) == ("restored", f"adopted: installation {FOREIGN} wrote it")
    assert room.store.get(record.run_id).status is RunStatus.QUEUED


def test_a_record_without_an_owner_is_foreign_too(room: Room) -> None:
    record = room.bench.store.get(room.bench.submitted())
    room.tree.others = (KeptRecord(run_id=record.run_id, record=record, installation_id=None, problem=None),)
    room.store.lose_everything()
    (skipped,) = room.rebuild()
    assert "installation unknown wrote it" in skipped.detail


@pytest.mark.parametrize("error", [AppError(ErrorCode.INTERNAL, "a defect"), OSError("the disk")])
def test_one_run_that_cannot_come_back_keeps_no_other_away(room: Room, error: Exception) -> None:
    first, second = room.kept().run_id, room.kept().run_id
    room.store.lose_everything()
    rebuilt = room.rebuild(through=Refusing(room.store, first, error))
    assert [(one.run_id, one.fate) for one in rebuilt] == [(first, "skipped"), (second, "restored")]
    assert str(error) in rebuilt[0].detail


def test_a_store_that_is_away_stops_it(room: Room) -> None:
    first = room.kept().run_id
    room.store.lose_everything()
    away = AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")
    with pytest.raises(AppError) as caught:
        room.rebuild(through=Refusing(room.store, first, away))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE


class Archive:
    """What the store of artifacts knows, as far as it can be asked."""

    def __init__(self, *, events: tuple[StoredEvent, ...] = (), is_away: bool = False) -> None:
        self._events = events
        self._is_away = is_away
        self.referred: list[tuple[str, str | None]] = []

    def refer(self, record: RunRecord) -> None:
        self._answer()
        self.referred.append((record.run_id, record.artifact_file_id))

    def events(self, record: RunRecord) -> tuple[StoredEvent, ...]:
        self._answer()
        return () if record.artifact_file_id is None else self._events

    def _answer(self) -> None:
        if self._is_away:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "The bucket is away.")


def stored_elsewhere(room: Room) -> tuple[RunRecord, tuple[StoredEvent, ...]]:
    """A completed run whose folder has left this machine, and its events."""
    run_id = room.kept().run_id
    room.completed(run_id)
    room.keep(run_id)
    room.tree.remove("models", run_id, if_still=lambda _: True)
    pointer = RunPointer(
        run_id=run_id,
        kind="models",
        status="completed",
        artifact_path="",
        manifest_sha256=None,
        user_id=None,
        family="gpt2",
        created_at="",
        finished_at=None,
        artifact_file_id="a" * 64,
    )
    room.tree.write_pointer(pointer)
    return room.store.get(run_id), room.events(run_id)


def test_a_run_whose_folder_is_in_the_store_comes_back_with_its_events_and_its_address(room: Room) -> None:
    record, events = stored_elsewhere(room)
    room.store.lose_everything()
    room.archive = Archive(events=events)
    (rebuilt,) = room.rebuild()
    assert (rebuilt.fate, rebuilt.detail) == ("restored", "")
    assert room.events(record.run_id) == events
    assert room.store.get(record.run_id).artifact_file_id == "a" * 64
    assert room.archive.referred == [(record.run_id, "a" * 64)]


def test_a_store_of_artifacts_that_is_away_keeps_no_run_away(room: Room) -> None:
    record, events = stored_elsewhere(room)
    room.store.lose_everything()
    room.archive = Archive(is_away=True)
    (rebuilt,) = room.rebuild()
    assert rebuilt.fate == "restored"
    assert "its events are told from its record" in rebuilt.detail
    assert "may be removed until this is done again" in rebuilt.detail
    assert len(room.events(record.run_id)) == len(events)
    room.archive = Archive()
    (rebuilt,) = room.rebuild()
    assert (rebuilt.fate, rebuilt.detail) == ("known", "the store has it")
    assert room.archive.referred == [(record.run_id, "a" * 64)]


def test_a_run_that_goes_on_points_nowhere(room: Room) -> None:
    record, _ = stored_elsewhere(room)
    again = room.kept()
    pointer = room.tree.read_pointer(record.run_id)
    assert pointer is not None
    room.tree.write_pointer(pointer.model_copy(update={"run_id": again.run_id}))
    room.store.lose_everything()
    room.rebuild()
    assert room.store.get(again.run_id).artifact_file_id is None
