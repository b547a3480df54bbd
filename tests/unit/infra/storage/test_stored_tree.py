"""Artifacts that have left this machine come back whole, or not at all."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.stored_tree import MOST_AT_ONCE, StoredArtifactTree
from model_trainer.worker.storing import Layout
from tests.faults.faulty_store import StoreFault
from tests.unit.infra.storage.stored_runs import LAYOUTS, store_again, stored
from tests.unit.worker.sealed import House, always


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("only", ["record", "pointer", "both"])
@pytest.mark.parametrize("kind", ["models", "tokenizers"])
def test_an_artifact_comes_back_as_it_was(
    house: House, layout: Layout, only: str, kind: ArtifactKind
) -> None:
    run_id = stored(house, kind=kind, layout=layout, only=only)
    before = house.content(run_id, kind)
    house.forget_copy(run_id, kind)
    if only == "pointer":
        house.bench.store.forget(run_id)
    assert house.tree.exists(kind, run_id)
    assert house.tree.here(kind, run_id) is None
    assert house.tree.folder(kind, run_id).is_dir()
    assert house.content(run_id, kind) == before
    assert house.temporary() == []


def test_each_way_to_an_artifact_brings_it_back(house: House) -> None:
    run_id = stored(house)
    ways = (
        lambda: house.tree.folder("models", run_id),
        lambda: house.tree.file("models", run_id, "config.json"),
        lambda: house.tree.files("models", run_id),
    )
    for way in ways:
        house.forget_copy(run_id)
        assert way()
        assert house.local.here("models", run_id) is not None
    house.forget_copy(run_id)
    with house.tree.use("models", run_id) as folder:
        assert (folder / "config.json").is_file()


def test_what_is_neither_here_nor_stored_is_not_found_and_leaves_no_trace(house: House) -> None:
    run_id, unknown = house.completed(), new_ulid()
    house.forget_copy(run_id)
    for each in (run_id, unknown, "x"):
        assert not house.tree.exists("models", each)
        for ask in (house.tree.folder, house.tree.files):
            with pytest.raises(AppError) as caught:
                ask("models", each)
            assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert not (house.folder / "runs" / unknown).exists()


def test_a_model_is_not_found_among_the_tokenizers(house: House) -> None:
    run_id = stored(house)
    house.forget_copy(run_id)
    assert not house.tree.exists("tokenizers", run_id)
    house.bench.store.forget(run_id)
    assert not house.tree.exists("tokenizers", run_id), "the pointer says so too"
    assert house.tree.exists("models", run_id)


def test_while_redis_is_away_the_pointer_tells(house: House) -> None:
    run_id = stored(house)
    house.forget_copy(run_id)
    house.bench.store.gets_refused = 100
    assert house.tree.folder("models", run_id).is_dir()


def test_a_defect_of_the_record_is_not_hidden(house: House) -> None:
    def broken(_: str) -> RunRecord:
        raise AppError(ErrorCode.INTERNAL, "a defect")

    tree = StoredArtifactTree(house.local, store=house.store, record_of=broken)
    with pytest.raises(AppError, match="a defect"):
        tree.exists("models", new_ulid())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_machine_gets_it_with_a_pointer_of_its_own(
    house: House, tmp_path: Path, layout: Layout
) -> None:
    run_id = stored(house, layout=layout)
    local = LocalArtifactTree(tmp_path / "other" / "artifacts", tmp_path / "other" / "runs")
    tree = StoredArtifactTree(local, store=house.store, record_of=house.bench.store.get)
    with tree.use("models", run_id) as folder:
        assert {name: (folder / name).read_bytes() for name in tree.files("models", run_id)} == house.content(
            run_id
        )
    ours, theirs = house.tree.read_pointer(run_id), tree.read_pointer(run_id)
    assert ours is not None
    assert ours == theirs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", ["damaged", "gone", "short"])
def test_damage_in_the_store_is_said_and_nothing_half_restored(
    house: House, layout: Layout, way: str
) -> None:
    run_id = stored(house, layout=layout)
    manifest = house.manifest(run_id)
    address = house.bench.store.get(run_id).artifact_file_id
    assert address is not None
    victims = [address] if layout == "tarball" else [address, manifest.files[-1].sha256]
    house.forget_copy(run_id)
    for victim in victims:
        if way == "damaged":
            house.store.trouble.damaged = {victim}
        elif way == "gone":
            house.bench.files.delete(victim)
        else:
            house.bench.files.damage(victim, b"".join(house.bench.files.read(victim))[:-1])
        with pytest.raises(AppError) as caught:
            house.tree.folder("models", run_id)
        assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
        assert house.local.here("models", run_id) is None
        assert house.temporary() == []


def test_a_store_that_is_away_is_said_so_and_asked_again(house: House) -> None:
    run_id = stored(house)
    before = house.content(run_id)
    house.forget_copy(run_id)
    for fault in (StoreFault.REFUSED, StoreFault.CUT):
        house.store.trouble.script = [None, None, fault]
        with pytest.raises(AppError) as caught:
            house.tree.folder("models", run_id)
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        assert house.local.here("models", run_id) is None
        assert house.temporary() == []
    house.tree.folder("models", run_id)
    assert house.content(run_id) == before


@dataclass
class _MovesOn:
    """Records of which the artifact is stored anew while somebody reads the older one."""

    house: House
    newer: str | None = None
    looks: int = 0

    def get(self, run_id: str) -> RunRecord:
        self.looks += 1
        if self.looks == 3 and self.newer is not None:
            self.house.bench.store.point_at_artifact(run_id, file_id=self.newer, epoch=None)
        return self.house.bench.store.get(run_id)


def test_an_artifact_that_was_stored_anew_meanwhile_comes_back_as_it_is_now(house: House) -> None:
    run_id = stored(house)
    old = house.bench.store.get(run_id).artifact_file_id
    store_again(house, run_id, layout="tarball")
    newer = house.bench.store.get(run_id).artifact_file_id
    assert old is not None
    assert newer != old
    house.bench.store.point_at_artifact(run_id, file_id=old, epoch=None)
    house.bench.files.delete(old)
    house.forget_copy(run_id)
    tree = StoredArtifactTree(house.local, store=house.store, record_of=_MovesOn(house, newer).get)
    assert tree.folder("models", run_id).is_dir()
    pointer = tree.read_pointer(run_id)
    assert pointer is not None
    assert pointer.artifact_file_id == newer


class Enough(Exception):
    """Somebody wants to stop."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_who_brings_a_copy_back_is_told_of_it_and_may_stop(house: House, layout: Layout) -> None:
    run_id = stored(house, layout=layout)
    house.forget_copy(run_id)
    told: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            raise Enough

    with pytest.raises(Enough), house.tree.use("models", run_id, report=report):
        pass
    assert house.local.here("models", run_id) is None
    assert house.temporary() == []
    with house.tree.use("models", run_id, report=lambda done, total: told.append((done, total))):
        pass
    num_bytes = sum(file.num_bytes for file in house.manifest(run_id).files)
    if layout == "files":
        assert told[-1] == (num_bytes, num_bytes)
    else:
        assert told[-1][0] > num_bytes
        assert told[-1][1] == 0
    dones = [done for done, total in told[2:] if total == told[-1][1]]
    assert dones == sorted(dones)


def test_who_waits_for_another_to_bring_it_back_may_stop(house: House) -> None:
    run_id = stored(house)
    house.forget_copy(run_id)

    def report(_done: int, _total: int) -> None:
        raise Enough

    with (
        house.local.fetching(run_id, waiting=lambda: None),
        pytest.raises(Enough),
        house.tree.use("models", run_id, report=report),
    ):
        pass


def test_a_few_wait_for_a_slow_store_and_the_next_is_sent_away(house: House) -> None:
    run_ids = [stored(house) for _ in range(MOST_AT_ONCE + 1)]
    for run_id in run_ids:
        house.forget_copy(run_id)
    is_open, begun = threading.Event(), threading.Semaphore(0)

    def report(_done: int, _total: int) -> None:
        begun.release()
        is_open.wait(10)

    def use(run_id: str) -> None:
        with house.tree.use("models", run_id, report=report):
            pass

    with ThreadPoolExecutor(MOST_AT_ONCE) as threads:
        waiting = [threads.submit(use, run_id) for run_id in run_ids[1:]]
        for _ in waiting:
            assert begun.acquire(timeout=10)
        with pytest.raises(AppError, match="Ask again") as caught:
            house.tree.file("models", run_ids[0], "config.json")
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        is_open.set()
        for each in waiting:
            each.result()
    assert house.tree.file("models", run_ids[0], "config.json").is_file(), "they have made room"


@pytest.mark.parametrize("only", ["neither", "pointer"])
def test_a_copy_that_no_record_speaks_of_is_used_as_it_is(house: House, only: str) -> None:
    run_id = house.completed()
    if only == "pointer":
        store_again(house, run_id, only="pointer")
    with house.tree.use("models", run_id) as folder:
        assert folder.is_dir()


def test_several_who_want_it_fetch_it_once(house: House) -> None:
    run_id = stored(house)
    house.forget_copy(run_id)
    house.store.calls.clear()
    house.store.trouble.delay_seconds = 0.01
    together = threading.Barrier(4)

    def use() -> bytes:
        together.wait(10)
        with house.tree.use("models", run_id) as folder:
            return (folder / "config.json").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert {each.result() for each in [threads.submit(use) for _ in range(4)]} == {b"{}\n"}
    reads = [file_id for verb, file_id in house.store.calls if verb == "read"]
    assert len(reads) == len(set(reads))


def _use_elsewhere(root: Path, run_id: str, ready: threading.Event, done: threading.Event) -> None:
    with LocalArtifactTree(root / "artifacts", root / "runs").use("models", run_id):
        ready.set()
        done.wait(30)


def test_a_copy_that_another_process_uses_is_not_removed(house: House) -> None:
    run_id = stored(house)
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_use_elsewhere, args=(house.folder, run_id, ready, done))
    process.start()
    assert ready.wait(30)
    assert not house.tree.remove("models", run_id, if_still=always)
    assert house.local.here("models", run_id) is not None
    done.set()
    process.join(30)
    assert house.tree.remove("models", run_id, if_still=always)


def test_a_removal_that_races_users_takes_nothing_from_under_them(house: House) -> None:
    run_id = stored(house)
    is_over = threading.Event()
    removed = 0

    def use() -> int:
        times = 0
        while not is_over.is_set():
            with house.tree.use("models", run_id) as folder:
                assert (folder / "config.json").read_bytes() == b"{}\n"
                assert (folder / "manifest.json").is_file()
            times += 1
        return times

    with ThreadPoolExecutor(2) as threads:
        users = [threads.submit(use) for _ in range(2)]
        give_up_at = time.monotonic() + 30.0
        while removed < 10 and time.monotonic() < give_up_at:
            removed += house.tree.remove("models", run_id, if_still=always)
        is_over.set()
        assert any(user.result() > 0 for user in users)
    assert removed == 10
    assert house.temporary() == []


def test_a_removal_asks_before_it_takes_anything(house: House) -> None:
    run_id = stored(house)
    asked: list[Path] = []

    def no(folder: Path) -> bool:
        asked.append(folder)
        return False

    assert not house.tree.remove("models", run_id, if_still=no)
    assert asked == [house.local.folder("models", run_id)]
    assert not house.tree.remove("models", new_ulid(), if_still=always)


def test_what_went_between_two_looks_is_not_removed_twice(house: House) -> None:
    run_id = stored(house)

    class Late(LocalArtifactTree):
        looks = 0

        def here(self, kind: ArtifactKind, item_id: str) -> Path | None:
            self.looks += 1
            return super().here(kind, item_id) if self.looks == 1 else None

    assert not Late(house.folder / "artifacts", house.folder / "runs").remove(
        "models", run_id, if_still=always
    )
