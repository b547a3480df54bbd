"""Artifacts after their runs: brought up to date in the store, removed here when nobody uses them, and never before."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.config import load_settings
from model_trainer.core.contracts.files import StoredFile
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import Outcome, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.maintenance.artifacts import ArtifactKeeper
from model_trainer.maintenance.telling import Removal
from model_trainer.worker.manifests import seal_again
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import FaultyStore, StoreFault
from tests.unit.worker.bench import ShakyStore
from tests.unit.worker.sealed import FILES, House

LAYOUTS: tuple[Layout, ...] = ("files", "tarball")


@dataclass
class Room:
    """A house with somebody who looks after it."""

    house: House
    enabled: bool | None = True
    dry_run: bool = False
    verify: bool = True
    grace_seconds: int = 0
    layout: Layout = "files"
    later_seconds: float = 10.0
    """How much time has passed since everything that was done."""

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.keeper = self.keeper_now()

    def keeper_now(self) -> ArtifactKeeper:
        """One that has not seen anything yet."""
        policy = load_settings(env_file=None).app.cleanup.model_copy(
            update={
                "enabled": self.enabled,
                "dry_run": self.dry_run,
                "verify_upload": self.verify,
                "grace_period_seconds": self.grace_seconds,
            }
        )
        return ArtifactKeeper(
            root=self.house.folder / "artifacts",
            runs=self.house.bench.store,
            artifacts=self.house.tree,
            store=self.house.store,
            references=self.house.bench.references,
            layout=self.layout,
            policy=policy,
            stop=self.stop,
            now=lambda: time.time() + self.later_seconds,
        )

    def file_id(self, run_id: str) -> str | None:
        return self.house.bench.store.get(run_id).artifact_file_id

    def in_store(self) -> set[str]:
        return {file.file_id for file in self.house.bench.files.list_files(limit=1000).files}

    def is_here(self, run_id: str, kind: ArtifactKind = "models") -> bool:
        return self.house.local.here(kind, run_id) is not None

    def add(self, run_id: str, name: str, content: bytes) -> None:
        """As a later job would."""
        folder = self.house.local.folder("models", run_id)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        seal_again(folder, {})


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(House(tmp_path))


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
