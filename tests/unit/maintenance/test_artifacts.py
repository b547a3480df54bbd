"""Artifacts after their runs: brought up to date in the store, and nothing let go that somebody may need."""

import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import Outcome, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import FaultyStore, StoreFault
from tests.unit.maintenance.room import LAYOUTS, Room
from tests.unit.worker.bench import ShakyStore
from tests.unit.worker.sealed import FILES


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["models", "tokenizers"])
def test_what_a_completed_run_left_is_stored_and_then_removed_and_comes_back(
    room: Room, layout: Layout, kind: ArtifactKind
) -> None:
    room.layout = layout
    keeper = room.keeper_now()
    run_id = room.house.completed(kind=kind)
    before = room.house.content(run_id, kind)
    assert keeper.remove_due() == (), "not before it is stored"
    keeper.store_due()
    assert room.file_id(run_id) in room.in_store()
    (kept,) = room.house.tree.kept_records()
    assert kept.record == room.house.bench.store.get(run_id)
    with capture_logs() as lines:
        (removal,) = keeper.remove_due()
    assert (removal.fate, removal.run_id, removal.num_files) == ("removed", run_id, len(before))
    assert removal.num_bytes == sum(map(len, before.values()))
    assert removal.path == room.house.folder / "artifacts" / kind / run_id
    assert [(line["event"], line["run_id"]) for line in lines] == [("cleanup_completed", run_id)]
    assert not room.is_here(run_id, kind)
    assert room.house.temporary() == []
    assert (room.house.folder / "runs" / run_id / "record.json").is_file()
    room.house.tree.folder(kind, run_id)
    assert room.house.content(run_id, kind) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_later_job_adds_is_stored_too_and_what_it_replaces_let_go(room: Room, layout: Layout) -> None:
    room.layout = layout
    keeper = room.keeper_now()
    run_id = room.house.completed()
    keeper.store_due()
    first, stored_first = room.file_id(run_id), room.in_store()
    with (room.house.local.folder("models", run_id) / "logs.jsonl").open("ab") as log:
        log.write(b"more\n")
    room.add(run_id, "calibration.json", b"{}")
    keeper.store_due()
    second = room.file_id(run_id)
    assert first is not None
    assert second not in (None, first)
    assert first not in room.in_store(), "nobody can ask for it any more"
    assert room.house.bench.references.referred_by(f"file:{first}", limit=1) == ()
    assert room.house.bench.references.referred_by(f"file:{second}", limit=1) == (run_id,)
    if layout == "files":
        kept = {file.sha256 for file in room.house.manifest(run_id).files}
        assert room.in_store() == {second, *kept}, "the older log has gone, the weights have stayed"
        assert len(stored_first - room.in_store()) == 2
    room.house.forget_copy(run_id)
    assert (room.house.tree.folder("models", run_id) / "calibration.json").read_bytes() == b"{}"


def test_what_another_run_needs_too_is_not_deleted(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    first = room.file_id(run_id)
    assert first is not None
    room.house.bench.references.refer("another", [f"file:{first}"])
    room.add(run_id, "calibration.json", b"{}")
    room.keeper.store_due()
    assert first in room.in_store()


@pytest.mark.parametrize("code", [ErrorCode.CONFLICT, ErrorCode.STORE_UNAVAILABLE])
def test_what_somebody_else_removes_is_left_to_them_and_an_absent_redis_is_said_so(
    room: Room, code: ErrorCode
) -> None:
    class Busy(MemoryReferences):
        def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
            raise AppError(code, "Not now.")

    room.house.bench.references = Busy()
    keeper, run_id = room.keeper_now(), room.house.completed()
    keeper.store_due()
    first = room.file_id(run_id)
    room.add(run_id, "calibration.json", b"{}")
    if code is ErrorCode.CONFLICT:
        keeper.store_due()
    else:
        with pytest.raises(AppError, match="Not now"):
            keeper.store_due()
    assert first in room.in_store()
    assert room.file_id(run_id) not in (None, first)


def test_what_the_run_was_ordered_with_stays_its_own_although_its_artifact_has_it_no_more(room: Room) -> None:
    log = hashlib.sha256(FILES["logs.jsonl"]).hexdigest()
    run_id = room.house.completed(spec={"corpus_path": f"sha256:{log}.txt"})
    room.keeper.store_due()
    with (room.house.local.folder("models", run_id) / "logs.jsonl").open("ab") as file:
        file.write(b"more\n")
    room.add(run_id, "calibration.json", b"{}")
    room.keeper.store_due()
    assert log in room.in_store()
    assert room.house.bench.references.referred_by(f"file:{log}", limit=1) == (run_id,)


def test_files_that_are_replaced_stay_in_the_store_for_whoever_has_brought_the_same(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    old = next(file for file in room.house.manifest(run_id).files if file.path == "config.json")
    room.add(run_id, "config.json", b"{ }")
    room.keeper.store_due()
    assert old.sha256 in room.in_store()
    assert room.house.bench.references.referred_by(f"file:{old.sha256}", limit=1) == ()


def test_an_account_of_before_that_cannot_be_read_any_more_does_no_harm(room: Room) -> None:
    run_id = room.house.completed()
    room.house.bench.store.point_at_artifact(run_id, file_id="0" * 64, epoch=None)
    room.keeper.store_due()
    assert room.file_id(run_id) in room.in_store()


def test_a_store_that_goes_away_after_the_last_file_is_said_so(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    first = room.file_id(run_id)
    room.add(run_id, "calibration.json", b"{}")
    reads_and_puts = 2 + len(room.house.manifest(run_id).files) + 1
    room.house.store.trouble.script = [*[None] * reads_and_puts, StoreFault.REFUSED]
    with pytest.raises(AppError) as caught:
        room.keeper.store_due()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert room.file_id(run_id) in room.in_store() - {first}, "it is stored all the same"


def test_the_copy_of_a_run_that_redis_has_lost_stays_as_it_is(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.bench.store.forget(run_id)
    keeper = room.keeper_now()
    keeper.store_due()
    assert keeper.remove_due() == ()
    assert room.is_here(run_id)


class Unheard(ShakyStore):
    """Says where an artifact is, and the answer gets lost."""

    def point_at_artifact(
        self, run_id: str, *, file_id: str, epoch: int | None, instead_of: str | None = None
    ) -> RunRecord:
        super().point_at_artifact(run_id, file_id=file_id, epoch=epoch, instead_of=instead_of)
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Away.")


def test_an_account_that_may_be_pointed_at_is_not_let_go(room: Room) -> None:
    bench = room.house.bench
    bench.store = Unheard(queue=bench.queue, clock=lambda: bench.now, announce=lambda _: None)
    run_id = room.house.completed()
    keeper = room.keeper_now()
    with pytest.raises(AppError):
        keeper.store_due()
    assert room.file_id(run_id) in room.in_store()


def test_while_nobody_can_say_what_another_machine_has_stored_nothing_is(room: Room) -> None:
    run_id = room.house.completed()
    room.house.bench.store.point_at_artifact(run_id, file_id="0" * 64, epoch=None)
    room.house.store.trouble.script = [StoreFault.REFUSED]
    with pytest.raises(AppError) as caught:
        room.keeper.store_due()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert room.file_id(run_id) == "0" * 64


def test_an_unchanged_artifact_costs_the_store_nothing(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.store.calls.clear()
    looks = room.house.bench.store.looks
    room.keeper.store_due()
    room.keeper_now().store_due()
    assert room.house.store.calls == []
    assert room.house.bench.store.looks == looks
    assert room.is_here(run_id)


def test_only_what_has_completed_is_stored(room: Room) -> None:
    record, lease, _ = room.house.begun()
    failed, failed_lease, account = room.house.begun()
    room.house.bench.store.finish(failed_lease, Outcome(status=RunStatus.FAILED, message="No."))
    account.seal_as_recorded(room.house.bench.store.get(failed.run_id), room.house.tree)
    nothing = room.house.bench.submitted()
    room.house.tree.create("models", nothing)
    (room.house.folder / "artifacts" / "models" / "notes").mkdir()
    (room.house.folder / "artifacts" / "models" / new_ulid()).write_text("no folder")
    room.keeper.store_due()
    assert room.in_store() == set()
    assert room.keeper.remove_due() == ()
    room.house.bench.store.finish(lease, Outcome(status=RunStatus.COMPLETED, message="Done."))
    room.keeper.store_due()
    assert room.file_id(record.run_id) in room.in_store()


def test_a_run_that_redis_has_lost_is_left_until_it_is_back(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.bench.store.forget(run_id)
    room.add(run_id, "more.json", b"{}")
    room.keeper.store_due()
    assert room.keeper.remove_due() == ()
    assert room.is_here(run_id)


@pytest.mark.parametrize(
    "fault", [StoreFault.REFUSED, StoreFault.CUT, StoreFault.ANSWER_LOST, StoreFault.FULL]
)
def test_a_look_that_the_store_ends_is_taken_up_by_the_next(room: Room, fault: StoreFault) -> None:
    run_ids = [room.house.completed() for _ in range(2)]
    room.house.store.trouble.script = [None, fault]
    with pytest.raises(AppError) as caught:
        room.keeper.store_due()
    assert caught.value.code in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.DISK_FULL)
    assert room.keeper.remove_due() == ()
    room.keeper.store_due()
    assert all(room.file_id(run_id) in room.in_store() for run_id in run_ids)


def test_redis_that_is_away_ends_a_look_too(room: Room) -> None:
    run_id = room.house.completed()
    room.house.bench.store.gets_refused = 1
    with pytest.raises(AppError) as caught:
        room.keeper.store_due()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    room.keeper.store_due()
    assert room.file_id(run_id) in room.in_store()


@pytest.mark.parametrize("way", ["corrupt", "no folder", "being removed"])
def test_one_artifact_that_cannot_be_stored_keeps_no_other_away(room: Room, way: str) -> None:
    bad, good = room.house.completed(files={**FILES, "x": b"bad"}), room.house.completed()
    folder = room.house.local.folder("models", bad)
    if way == "corrupt":
        (folder / "x").write_bytes(b"BAD")
    elif way == "no folder":
        (folder / "x").unlink()
        (folder / "x").mkdir()
    else:
        sha256 = next(file.sha256 for file in room.house.manifest(bad).files if file.path == "x")
        room.house.bench.references.begin_removal(f"file:{sha256}", owner="test", seconds=60)
    with capture_logs() as lines:
        room.keeper.store_due()
        room.keeper.store_due()
    told = [line for line in lines if line["event"] == "artifact_not_stored"]
    assert [line["run_id"] for line in told] == [bad] * (1 if way == "corrupt" else 2)
    assert room.file_id(good) in room.in_store()
    assert room.file_id(bad) is None
    assert [removal.run_id for removal in room.keeper.remove_due()] == [good]
    assert room.is_here(bad)


def test_a_manifest_that_changes_while_it_is_stored_is_stored_again(room: Room) -> None:
    run_id = room.house.completed()

    class Busy(FaultyStore):
        is_done = False

        def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
            if not self.is_done:
                self.is_done = True
                room.add(run_id, "late.json", b"{}")
            return super().put(path, file_id=file_id, num_bytes=num_bytes)

    room.house.store = Busy(room.house.bench.files)
    keeper = room.keeper_now()
    keeper.store_due()
    first = room.file_id(run_id)
    assert first in room.in_store()
    keeper.store_due()
    assert room.file_id(run_id) not in (None, first)
    assert keeper.remove_due()[0].fate == "removed"
