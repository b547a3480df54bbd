"""Local copies of stored artifacts: removed when nobody uses them, and never before the store has them whole."""

import os
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.maintenance.telling import Removal
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import FaultyStore
from tests.unit.maintenance.room import LAYOUTS, Room
from tests.unit.worker.sealed import FILES, House


@pytest.mark.parametrize(
    ("enabled", "is_local", "is_removed"),
    [(None, True, False), (None, False, True), (True, True, True), (False, False, False)],
)
def test_copies_go_by_default_only_where_the_store_is_elsewhere(
    room: Room, enabled: bool | None, is_local: bool, is_removed: bool
) -> None:
    room.enabled = enabled
    room.house.store = FaultyStore(MemoryStore(is_local=is_local))
    run_id = room.house.completed()
    keeper = room.keeper_now()
    keeper.store_due()
    keeper.remove_due()
    assert room.is_here(run_id) is not is_removed


def test_a_dry_run_says_what_it_would_do_and_does_not(room: Room) -> None:
    room.dry_run = True
    run_id = room.house.completed()
    keeper = room.keeper_now()
    keeper.store_due()
    with capture_logs() as lines:
        (removal,) = keeper.remove_due()
    assert removal.fate == "due"
    assert [(line["event"], line["files_deleted"]) for line in lines] == [("cleanup_dry_run", len(FILES) + 1)]
    assert room.is_here(run_id)


def test_a_copy_stays_for_its_grace_period_from_its_last_use(room: Room) -> None:
    room.grace_seconds, room.later_seconds = 100, 90.0
    run_id = room.house.completed()
    keeper = room.keeper_now()
    keeper.store_due()
    assert keeper.remove_due() == ()
    room.later_seconds = 110.0
    room.house.tree.folder("models", run_id)
    assert room.house.tree.used_at("models", run_id) > time.time() - 5
    assert keeper.remove_due()[0].fate == "removed"


@pytest.mark.parametrize("is_verified", [True, False])
def test_the_second_reading_finds_damage_and_may_be_left_out(room: Room, is_verified: bool) -> None:
    room.verify = is_verified
    run_id = room.house.completed()
    keeper = room.keeper_now()
    keeper.store_due()
    room.house.store.trouble.damaged = {room.house.manifest(run_id).files[0].sha256}
    with capture_logs() as lines:
        (removal,) = keeper.remove_due()
    assert removal.fate == ("failed" if is_verified else "removed")
    assert room.is_here(run_id) is is_verified
    if is_verified:
        assert room.house.manifest(run_id).files[0].sha256 in removal.detail
        told = [line["event"] for line in lines]
        assert told == ["stored_files_replaced", "cleanup_failed"], "it was tried"
        room.house.store.calls.clear()
        assert keeper.remove_due() == ()
        assert room.house.store.calls == [], "gigabytes are not read again to find out the same"
        room.add(run_id, "late.json", b"{}")
        keeper.store_due()
        assert keeper.remove_due()[0].fate == "failed", "it has changed: it is tried again"
    else:
        assert [verb for verb, _ in room.house.store.calls if verb == "read"] == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", ["damaged", "gone"])
def test_what_is_damaged_in_the_store_is_replaced_from_a_copy_that_has_it(
    room: Room, layout: Layout, way: str
) -> None:
    room.layout = layout
    run_id = room.house.completed()
    before = room.house.content(run_id)
    keeper = room.keeper_now()
    keeper.store_due()
    address = room.file_id(run_id)
    assert address is not None
    victims = [address] if layout == "tarball" else [address, room.house.manifest(run_id).files[-1].sha256]
    for victim in victims:
        if way == "gone":
            room.house.bench.files.delete(victim)
        else:
            whole = b"".join(room.house.bench.files.read(victim))
            room.house.bench.files.damage(victim, whole[:-1] + b"?")
    (removal,) = keeper.remove_due()
    assert removal.fate == "removed"
    room.house.tree.folder("models", run_id)
    assert room.house.content(run_id) == before


def test_what_is_just_being_removed_is_put_back_the_next_time(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    address, references = room.file_id(run_id), room.house.bench.references
    assert address is not None
    room.house.bench.files.delete(address)
    references.release(run_id, [f"file:{address}"])
    references.begin_removal(f"file:{address}", owner="somebody", seconds=60)
    assert [removal.fate for removal in room.keeper.remove_due()] == ["failed"]
    references.end_removal(f"file:{address}", owner="somebody")
    assert [removal.fate for removal in room.keeper.remove_due()] == ["removed"]


def test_a_copy_that_is_damaged_itself_heals_nothing(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    victim = next(file for file in room.house.manifest(run_id).files if file.path == "config.json")
    room.house.bench.files.damage(victim.sha256, b"[]\n")
    (room.house.local.folder("models", run_id) / "config.json").write_bytes(b"??\n")
    (removal,) = room.keeper.remove_due()
    assert removal.fate == "failed"
    assert "'config.json'" in removal.detail
    assert victim.sha256 in room.in_store(), "what is left of it stays"
    assert room.is_here(run_id)


def test_a_dry_run_heals_nothing_and_seals_nothing(room: Room) -> None:
    room.dry_run = True
    keeper = room.keeper_now()
    damaged, unsealed = room.house.completed(), room.house.completed(files={**FILES, "x": b"other"})
    keeper.store_due()
    gone = room.file_id(damaged)
    assert gone is not None
    room.house.bench.files.delete(gone)
    (room.house.local.folder("models", unsealed) / "late.json").write_bytes(b"{}")
    before = room.house.content(unsealed)
    assert [removal.fate for removal in keeper.remove_due()] == ["failed"]
    assert gone not in room.in_store()
    assert room.house.content(unsealed) == before


class Short(FaultyStore):
    """Has all files, one byte short."""

    def find(self, file_id: str) -> StoredFile | None:
        found = super().find(file_id)
        return None if found is None else found.model_copy(update={"num_bytes": found.num_bytes - 1})


def test_what_the_store_has_in_another_length_is_not_removed(room: Room) -> None:
    room.verify = False
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.store = Short(room.house.bench.files)
    assert room.keeper_now().remove_due()[0].fate == "failed"
    assert room.is_here(run_id)


def test_while_the_store_is_away_nothing_goes(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.store.trouble.is_down = True
    with pytest.raises(AppError) as caught:
        room.keeper.remove_due()
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert room.is_here(run_id)


def test_a_copy_in_use_stays(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.store.calls.clear()
    with room.house.tree.use("models", run_id) as folder:
        assert room.keeper.remove_due() == ()
        assert (folder / "config.json").is_file()
    assert room.house.store.calls == [], "nothing is read back of what cannot go"
    assert room.keeper.remove_due()[0].fate == "removed"


class Meanwhile(FaultyStore):
    """Somebody does something while the clean-up reads."""

    def __init__(self, house: House, act: Callable[[], object]) -> None:
        super().__init__(house.bench.files)
        self.act: Callable[[], object] | None = act

    def find(self, file_id: str) -> StoredFile | None:
        if self.act is not None:
            act, self.act = self.act, None
            act()
        return super().find(file_id)


@pytest.mark.parametrize("what", ["used", "sealed", "written"])
def test_a_copy_that_somebody_turns_to_while_the_clean_up_reads_stays(room: Room, what: str) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    folder = room.house.local.folder("models", run_id)
    mark = room.house.folder / "runs" / run_id / "in_use"
    acts: dict[str, Callable[[], object]] = {
        "used": lambda: os.utime(mark, (time.time() + 60, time.time() + 60)),
        "sealed": lambda: room.add(run_id, "late.json", b"{}"),
        "written": lambda: (folder / "late.json").write_bytes(b"{}"),
    }
    room.house.store = Meanwhile(room.house, acts[what])
    assert room.keeper_now().remove_due() == ()
    assert room.is_here(run_id)


def test_what_came_after_the_last_seal_is_stored_before_anything_goes(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    folder = room.house.local.folder("models", run_id)
    (folder / "eval" / "last.json").write_bytes(b"{}")
    assert room.keeper.remove_due() == ()
    room.keeper.store_due()
    assert room.keeper.remove_due()[0].fate == "removed"
    assert (room.house.tree.folder("models", run_id) / "eval" / "last.json").is_file()


def test_what_a_job_is_still_writing_is_not_sealed(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    with room.house.tree.use("models", run_id) as folder:
        (folder / "eval" / "half.json").write_bytes(b"{")
        room.house.store.calls.clear()
        assert room.keeper.remove_due() == ()
        assert room.house.store.calls == [], "nothing is read of what cannot go"
        assert "eval/half.json" not in [file.path for file in room.house.manifest(run_id).files]
    room.keeper.remove_due()
    assert "eval/half.json" in [file.path for file in room.house.manifest(run_id).files]


def test_a_record_that_is_older_than_what_lies_here_is_moved_on_and_nothing_goes_before(room: Room) -> None:
    """Redis has lost its last second."""
    run_id = room.house.completed()
    room.keeper.store_due()
    old = room.file_id(run_id)
    assert old is not None
    room.add(run_id, "late.json", b"{}")
    room.keeper.store_due()
    newer = room.file_id(run_id)
    room.house.bench.store.point_at_artifact(run_id, file_id=old, epoch=None)
    assert room.keeper.remove_due() == ()
    assert room.is_here(run_id)
    room.keeper.store_due()
    assert room.file_id(run_id) == newer
    assert room.keeper.remove_due()[0].fate == "removed"
    assert (room.house.tree.folder("models", run_id) / "late.json").is_file()


def test_what_has_changed_since_it_was_stored_stays(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.add(run_id, "late.json", b"{}")
    assert room.keeper.remove_due() == ()
    assert room.is_here(run_id)


def test_temporary_files_are_no_part_of_an_artifact(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    folder = room.house.local.folder("models", run_id)
    (folder / ".tmp-x").mkdir()
    (folder / ".tmp-x" / "half").write_bytes(b"x")
    assert room.keeper.remove_due()[0].num_files == len(FILES) + 1


def test_what_the_store_links_to_frees_no_bytes(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    folder = room.house.local.folder("models", run_id)
    os.link(folder / "model.safetensors", room.house.folder / "linked")
    (removal,) = room.keeper.remove_due()
    assert removal.num_files == len(FILES) + 1
    assert removal.num_bytes < len(FILES["model.safetensors"])


def test_a_copy_that_went_meanwhile_is_nothing_to_tell(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    folder = room.house.local.folder("models", run_id)
    room.house.store = Meanwhile(room.house, lambda: (folder / "manifest.json").unlink())
    assert room.keeper_now().remove_due() == ()


def test_a_disk_that_refuses_is_told(room: Room) -> None:
    run_id = room.house.completed()
    room.keeper.store_due()
    room.house.bench.files.delete(room.house.manifest(run_id).files[0].sha256)

    class Broken(FaultyStore):
        def find(self, file_id: str) -> StoredFile | None:
            raise OSError(5, "Input/output error")

    room.house.store = Broken(room.house.bench.files)
    (removal,) = room.keeper_now().remove_due()
    assert isinstance(removal, Removal)
    assert (removal.fate, removal.detail) == ("failed", "[Errno 5] Input/output error")


def test_a_process_that_is_to_end_leaves_both_between_two_files(room: Room) -> None:
    run_id = room.house.completed()
    room.stop.set()
    room.keeper.store_due()
    assert room.file_id(run_id) is None
    room.stop.clear()
    room.keeper.store_due()
    room.stop.set()
    assert room.keeper.remove_due() == ()
    assert room.is_here(run_id)
    room.stop.clear()
    assert len(room.keeper.remove_due()) == 1


def test_an_installation_without_artifacts_has_nothing_to_look_after(room: Room) -> None:
    room.keeper.store_due()
    assert room.keeper.remove_due() == ()
