"""Files go away when nobody needs them; an upload becomes a file, once."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ulid import ULID

from model_trainer.core.contracts.files import NewUpload, StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.uploads import LocalUploads
from model_trainer.orchestrators.files import FileOrchestrator
from model_trainer.orchestrators.needs import thing_of_file
from tests.contract.run_stores import new_run
from tests.unit.infra.storage.stocked_store import StockedStore, sha256

DATA = b"a file"
THING = thing_of_file(sha256(DATA))


class Away(AppError):
    def __init__(self) -> None:
        super().__init__(ErrorCode.STORE_UNAVAILABLE, "away")


class Store(StockedStore):
    """Goes away for some verbs."""

    is_away_for = ""

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        if self.is_away_for == "put":
            raise Away
        return super().put(path, file_id=file_id, num_bytes=num_bytes)

    def delete(self, file_id: str) -> None:
        if self.is_away_for == "delete":
            raise Away
        super().delete(file_id)


class Slow(Store):
    """Somebody else does something while a file is put or removed."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        self.meanwhile()
        return super().put(path, file_id=file_id, num_bytes=num_bytes)

    def delete(self, file_id: str) -> None:
        self.meanwhile()
        super().delete(file_id)


class AwayRuns(MemoryRunStore):
    def get(self, run_id: str) -> RunRecord:
        raise Away


class Desk:
    """Files over stores in memory."""

    def __init__(
        self, folder: Path, *, run_store: type[MemoryRunStore] = MemoryRunStore, store: Store | None = None
    ) -> None:
        self.store = store or Store()
        self.references = MemoryReferences()
        self.runs = run_store(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
        self.now = time.time()
        self.uploads = LocalUploads(folder, max_bytes=1 << 20)
        self.files = FileOrchestrator(
            store=self.store,
            uploads=self.uploads,
            references=self.references,
            runs=self.runs,
            clock=lambda: self.now,
        )

    def uploaded(self, data: bytes) -> str:
        """An upload that has all its bytes."""
        upload_id = self.files.begin(NewUpload()).upload_id
        part = self.files.append(upload_id, offset=0)
        part.write(data)
        part.close()
        return upload_id

    def refusal_to_delete(self) -> AppError:
        with pytest.raises(AppError) as refused:
            self.files.delete(sha256(DATA))
        return refused.value


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_that_nobody_needs_is_removed_and_can_be_needed_again_when_it_is_back(desk: Desk) -> None:
    desk.store.stock(DATA)
    desk.files.delete(sha256(DATA))
    assert desk.store.find(sha256(DATA)) is None

    desk.references.refer(new_ulid(), [THING])


def test_a_file_that_is_not_there_cannot_be_removed(desk: Desk) -> None:
    assert desk.refusal_to_delete().code is ErrorCode.FILE_NOT_FOUND


def test_a_file_that_runs_need_stays_and_they_are_named(desk: Desk) -> None:
    desk.store.stock(DATA)
    run_ids = [new_ulid(), new_ulid()]
    for run_id in run_ids:
        desk.references.refer(run_id, [THING])
    refused = desk.refusal_to_delete()

    assert refused.code is ErrorCode.CONFLICT
    assert all(run_id in refused.message for run_id in run_ids)
    assert desk.store.find(sha256(DATA)) is not None


def test_a_removal_that_failed_leaves_the_file_to_be_needed(desk: Desk) -> None:
    desk.store.stock(DATA)
    desk.store.is_away_for = "delete"

    assert desk.refusal_to_delete().code is ErrorCode.STORE_UNAVAILABLE
    desk.references.refer(new_ulid(), [THING])


def test_of_two_who_remove_a_file_the_second_is_refused_and_opens_no_door_for_runs(tmp_path: Path) -> None:
    store = Slow()
    desk, seen = Desk(tmp_path, store=store), list[ErrorCode]()
    store.stock(DATA)

    def meanwhile() -> None:
        seen.append(desk.refusal_to_delete().code)
        with pytest.raises(AppError) as refused:
            desk.references.refer(new_ulid(), [THING])
        seen.append(refused.value.code)

    store.meanwhile = meanwhile
    desk.files.delete(sha256(DATA))

    assert seen == [ErrorCode.CONFLICT] * 2
    assert store.find(sha256(DATA)) is None
    desk.references.refer(new_ulid(), [THING])


def referred_by_a_run_of_long_ago(desk: Desk, *, seconds: float) -> str:
    desk.store.stock(DATA)
    run_id = str(ULID.from_timestamp(desk.now - seconds))
    desk.references.refer(run_id, [THING])
    return run_id


def test_a_run_that_was_never_made_keeps_nothing_for_ever(desk: Desk) -> None:
    referred_by_a_run_of_long_ago(desk, seconds=3601)
    desk.files.delete(sha256(DATA))

    assert desk.references.referred_by(THING, limit=9) == ()


def test_many_runs_that_were_never_made_are_no_more_of_a_hindrance(desk: Desk) -> None:
    for seconds in range(25):
        referred_by_a_run_of_long_ago(desk, seconds=3601 + seconds)
    desk.files.delete(sha256(DATA))

    assert desk.store.find(sha256(DATA)) is None


def test_a_run_that_is_just_being_made_keeps_its_file(desk: Desk) -> None:
    run_id = referred_by_a_run_of_long_ago(desk, seconds=3500)

    assert run_id in desk.refusal_to_delete().message
    assert desk.references.referred_by(THING, limit=9) == (run_id,)


def test_one_run_that_lives_is_reason_enough(desk: Desk) -> None:
    unborn = referred_by_a_run_of_long_ago(desk, seconds=3601)
    born = referred_by_a_run_of_long_ago(desk, seconds=3602)
    run = new_run(run_id=born, family="toy", spec={}, user_id=None)
    desk.runs.submit(run, idempotency=None)
    refused = desk.refusal_to_delete()

    assert (born in refused.message, unborn in refused.message) == (True, False)


def test_a_run_of_which_nobody_can_say_whether_it_is_there_keeps_its_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path, run_store=AwayRuns)
    referred_by_a_run_of_long_ago(desk, seconds=3601)

    assert desk.refusal_to_delete().code is ErrorCode.STORE_UNAVAILABLE
    assert desk.store.find(sha256(DATA)) is not None


def test_an_upload_becomes_a_file_and_the_second_of_the_same_bytes_is_no_new_one(desk: Desk) -> None:
    first = desk.files.complete(desk.uploaded(DATA))
    again_id = desk.uploaded(DATA)
    again = desk.files.complete(again_id)

    assert (first.is_new, again.is_new) == (True, False)
    assert first.file == again.file == desk.files.find(sha256(DATA))
    with pytest.raises(AppError) as gone:
        desk.files.find_upload(again_id)
    assert gone.value.code is ErrorCode.FILE_NOT_FOUND


def test_an_upload_outlives_a_store_that_is_away(desk: Desk) -> None:
    upload_id = desk.uploaded(DATA)
    desk.store.is_away_for = "put"
    with pytest.raises(AppError):
        desk.files.complete(upload_id)
    desk.store.is_away_for = ""

    assert desk.files.complete(upload_id).file.file_id == sha256(DATA)


def test_an_upload_that_is_being_completed_is_not_given_up_nor_completed_twice(tmp_path: Path) -> None:
    store = Slow()
    desk, seen = Desk(tmp_path, store=store), list[ErrorCode]()
    upload_id = desk.uploaded(DATA)

    def meanwhile() -> None:
        for way in (desk.files.abort, desk.files.complete):
            with pytest.raises(AppError) as refused:
                way(upload_id)
            seen.append(refused.value.code)

    store.meanwhile = meanwhile
    assert desk.files.complete(upload_id).file.file_id == sha256(DATA)

    assert seen == [ErrorCode.CONFLICT] * 2


def test_an_upload_can_be_given_up(desk: Desk) -> None:
    upload_id = desk.uploaded(DATA)
    desk.files.abort(upload_id)

    with pytest.raises(AppError):
        desk.files.complete(upload_id)
    assert desk.store.find(sha256(DATA)) is None


def test_files_are_listed_and_read_by_their_ids(desk: Desk) -> None:
    ids = sorted(desk.store.stock(bytes([number])) for number in range(5))
    page = desk.files.list_files(prefix="", after=ids[0], limit=2)

    assert ([file.file_id for file in page.files], page.has_more) == (ids[1:3], True)
    desk.store.stock(DATA)
    assert b"".join(desk.files.read(sha256(DATA), start=2, stop=4)) == DATA[2:4]
