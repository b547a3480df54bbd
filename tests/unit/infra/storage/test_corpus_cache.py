"""Files of the store come once, whole and verified; they stay while somebody reads them, and go by their last use."""

import errno
import gc
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.contracts.files import FileReference, StoredFile
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.files import sha256_of
from model_trainer.infra.storage.corpus_cache import (
    AT_ONCE_BYTES,
    NEAR_AT_ONCE_BYTES,
    CachedFile,
    LocalCorpusCache,
)
from model_trainer.infra.storage.stores.local import LocalStore
from tests.unit.infra.storage.stocked_store import PIECE, StockedStore, sha256

DATA = bytes(range(256)) * 2
PLENTY = 1 << 50


def named(data: bytes, suffix: str = ".txt") -> FileReference:
    return FileReference(file_id=sha256(data), suffix=suffix)


class Shelf:
    """A cache over a store that can be watched."""

    def __init__(self, folder: Path, *, max_bytes: int = PLENTY, min_free_bytes: int = 0) -> None:
        self.folder = folder / "corpus_cache"
        self.store = StockedStore()
        self.settings = CorpusCacheSettings(max_bytes=max_bytes, min_free_bytes=min_free_bytes)
        self.free_bytes = PLENTY
        self.paused: Callable[[], None] = lambda: None
        self.cache = LocalCorpusCache(
            self.folder,
            store=self.store,
            settings=self.settings,
            free_bytes=lambda _folder: self.free_bytes,
            pause=lambda _seconds: self.paused(),
        )

    def fetch(self, data: bytes, suffix: str = ".txt") -> CachedFile:
        self.store.stock(data)
        return self.cache.fetch(named(data, suffix))

    def fetch_unheld(self, *files: bytes) -> None:
        """The first one was used longest ago; nobody holds them."""
        for number, data in enumerate(files):
            path = self.fetch(data).path
            gc.collect()
            os.utime(path.parent, (1000 + number, 1000 + number))

    def refusal(self, data: bytes) -> ErrorCode:
        with pytest.raises(AppError) as refused:
            self.cache.fetch(named(data))
        return refused.value.code

    def inside(self) -> list[str]:
        """Everything that lies in the cache."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def breaks_at(number: int, error: Exception) -> Callable[[int], None]:
    def at_piece(piece: int) -> None:
        if piece == number:
            raise error

    return at_piece


def away() -> AppError:
    return AppError(ErrorCode.STORE_UNAVAILABLE, "away")


def test_a_file_is_fetched_once_and_nobody_can_write_to_it(shelf: Shelf) -> None:
    first, second = shelf.fetch(DATA), shelf.fetch(DATA)

    assert first.path == second.path == shelf.folder / sha256(DATA) / f"{sha256(DATA)}.txt"
    assert (first.path.read_bytes(), first.num_bytes) == (DATA, len(DATA))
    assert first.path.stat().st_mode & 0o222 == 0
    assert shelf.store.starts == [0]


def test_an_empty_file_is_fetched_like_any_other(shelf: Shelf) -> None:
    assert shelf.fetch(b"").num_bytes == 0


def test_how_far_a_fetch_has_come_is_told(shelf: Shelf) -> None:
    told: list[tuple[int, int]] = []
    shelf.store.stock(DATA)
    shelf.cache.fetch(named(DATA), report=lambda done, total: told.append((done, total)))

    assert told == [(end, len(DATA)) for end in range(PIECE, len(DATA) + 1, PIECE)]


@pytest.mark.parametrize("error", [away(), AskedToStop()], ids=["away", "stopped"])
def test_a_fetch_that_broke_off_goes_on_where_it_stood(shelf: Shelf, error: Exception) -> None:
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(3, error)
    with pytest.raises(type(error)):
        shelf.cache.fetch(named(DATA))
    shelf.store.at_piece = lambda _number: None

    assert shelf.cache.fetch(named(DATA)).path.read_bytes() == DATA
    assert shelf.store.starts == [0, 3 * PIECE]


def test_whoever_only_lacked_the_name_reads_nothing_again(shelf: Shelf) -> None:
    entry = shelf.folder / shelf.store.stock(DATA)
    entry.mkdir(parents=True)
    (entry / f".tmp-{len(DATA)}").write_bytes(DATA)

    assert shelf.cache.fetch(named(DATA)).path.read_bytes() == DATA
    assert shelf.store.starts == []


def test_what_an_earlier_fetch_left_damaged_is_fetched_again(shelf: Shelf) -> None:
    entry = shelf.folder / shelf.store.stock(DATA)
    entry.mkdir(parents=True)
    (entry / f".tmp-{len(DATA)}").write_bytes(b"\0" * 100)

    assert shelf.cache.fetch(named(DATA)).path.read_bytes() == DATA
    assert shelf.store.starts == [100, 0]


def test_a_file_that_the_store_has_damaged_is_refused_and_leaves_nothing(shelf: Shelf) -> None:
    shelf.store.damage(shelf.store.stock(DATA), DATA[:-1] + b"\0")

    assert shelf.refusal(DATA) is ErrorCode.ARTIFACT_CORRUPT
    assert shelf.inside() == []


def test_a_file_that_the_store_has_not_is_not_found_and_leaves_nothing(shelf: Shelf) -> None:
    assert shelf.refusal(DATA) is ErrorCode.DATA_NOT_FOUND
    assert shelf.inside() == []


def test_a_file_that_is_deleted_while_it_comes_is_not_found(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(1, AppError(ErrorCode.FILE_NOT_FOUND, "gone"))

    assert shelf.refusal(DATA) is ErrorCode.DATA_NOT_FOUND


def test_a_full_disk_is_said_to_be_full(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(1, OSError(errno.ENOSPC, "No space left on device"))

    with pytest.raises(AppError, match="APP__DATA_ROOT") as full:
        shelf.cache.fetch(named(DATA))
    assert full.value.code is ErrorCode.DISK_FULL


def test_a_folder_that_cannot_be_written_to_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shelf = Shelf(tmp_path / "file")
    shelf.store.stock(DATA)

    assert shelf.refusal(DATA) is ErrorCode.STORAGE_READ_ONLY


def test_another_suffix_is_another_name_for_the_same_bytes(shelf: Shelf) -> None:
    first, second = shelf.fetch(DATA), shelf.fetch(DATA, ".jsonl")

    assert first.path.samefile(second.path)
    assert (second.path.suffix, shelf.store.starts) == (".jsonl", [0])
    assert [entry.num_bytes for entry in shelf.cache.entries()] == [len(DATA)]


def test_two_who_want_the_same_file_share_one_fetch(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    is_coming, somebody_waits = threading.Event(), threading.Event()

    def at_piece(number: int) -> None:
        if number == 2:
            is_coming.set()
            assert somebody_waits.wait(20)

    shelf.store.at_piece = at_piece
    shelf.paused = somebody_waits.set
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shelf.cache.fetch, named(DATA))
        assert is_coming.wait(20)
        second = pool.submit(
            shelf.cache.fetch, named(DATA), report=lambda done, total: told.append((done, total))
        )

        assert first.result(20).path == second.result(20).path
    assert shelf.store.starts == [0]
    assert told[0][1] == len(DATA)


def test_who_waits_for_another_fetch_can_be_stopped(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    is_coming, may_go_on = threading.Event(), threading.Event()

    def at_piece(_number: int) -> None:
        is_coming.set()
        assert may_go_on.wait(20)

    def stop(_done: int, _total: int) -> None:
        raise AskedToStop

    shelf.store.at_piece = at_piece
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shelf.cache.fetch, named(DATA))
        assert is_coming.wait(20)
        with pytest.raises(AskedToStop):
            shelf.cache.fetch(named(DATA), report=stop)
        may_go_on.set()
        assert first.result(20).num_bytes == len(DATA)


def test_what_is_still_to_come_is_counted_already(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(1, away())
    assert shelf.refusal(DATA) is ErrorCode.STORE_UNAVAILABLE

    (entry,) = shelf.cache.entries()
    assert (entry.file_id, entry.num_bytes) == (sha256(DATA), len(DATA))


def test_other_things_in_the_folder_are_no_entries(shelf: Shelf) -> None:
    shelf.fetch(DATA)
    (shelf.folder / "notes").mkdir()
    (shelf.folder / ("0" * 64)).touch()

    assert [entry.file_id for entry in shelf.cache.entries()] == [sha256(DATA)]


def test_a_cache_that_was_never_used_is_empty(shelf: Shelf) -> None:
    assert shelf.cache.entries() == shelf.cache.due() == ()


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=30)
    old, middle, new = b"o" * 10, b"m" * 10, b"n" * 10
    shelf.fetch_unheld(old, middle, new)

    assert [entry.file_id for entry in shelf.cache.entries()] == list(map(sha256, (old, middle, new)))
    assert shelf.cache.due() == ()
    assert [entry.file_id for entry in shelf.cache.due(1)] == [sha256(old)]
    assert [entry.file_id for entry in shelf.cache.due(11)] == [sha256(old), sha256(middle)]


def test_using_a_file_makes_it_the_newest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=20)
    shelf.fetch_unheld(b"o" * 10, b"m" * 10)
    shelf.fetch(b"o" * 10)
    gc.collect()

    assert [entry.file_id for entry in shelf.cache.due(1)] == [sha256(b"m" * 10)]


def test_so_much_goes_that_the_disk_has_its_free_space(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, min_free_bytes=100)
    shelf.fetch_unheld(b"o" * 10, b"m" * 10)
    shelf.free_bytes = 105

    assert shelf.cache.due(5) == ()
    assert [entry.file_id for entry in shelf.cache.due(6)] == [sha256(b"o" * 10)]


def test_space_that_others_wait_for_is_not_free(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, min_free_bytes=100)
    shelf.fetch_unheld(b"o" * 10)
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(1, away())
    assert shelf.refusal(DATA) is ErrorCode.STORE_UNAVAILABLE
    shelf.free_bytes = 100 + len(DATA) - PIECE

    assert shelf.cache.due() == ()
    assert [entry.file_id for entry in shelf.cache.due(1)] == [sha256(b"o" * 10)]


def test_a_file_in_use_is_passed_over_until_nobody_uses_it(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=20)
    shelf.fetch_unheld(b"o" * 10, b"m" * 10)
    held = shelf.cache.fetch(named(b"o" * 10))
    os.utime(held.path.parent, (1, 1))
    oldest = shelf.cache.entries()[0]

    assert oldest.file_id == sha256(b"o" * 10)
    assert [entry.file_id for entry in shelf.cache.due(1)] == [sha256(b"m" * 10)]
    assert not shelf.cache.remove(oldest)
    assert held.path.exists()
    del held
    gc.collect()
    assert shelf.cache.remove(oldest)
    assert not shelf.cache.remove(oldest)
    assert shelf.inside() == [sha256(b"m" * 10), f"{sha256(b'm' * 10)}/{sha256(b'm' * 10)}.txt"]


def test_a_fetch_makes_the_room_that_it_needs(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=25)
    shelf.fetch_unheld(b"o" * 10, b"m" * 10)
    shelf.fetch(b"n" * 10)

    assert {entry.file_id for entry in shelf.cache.entries()} == {sha256(b"m" * 10), sha256(b"n" * 10)}


def test_a_fetch_that_goes_on_needs_no_room_twice(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=len(DATA) + 10)
    shelf.fetch_unheld(b"o" * 10)
    shelf.store.stock(DATA)
    shelf.store.at_piece = breaks_at(1, away())
    assert shelf.refusal(DATA) is ErrorCode.STORE_UNAVAILABLE
    shelf.store.at_piece = lambda _number: None
    shelf.cache.fetch(named(DATA))

    assert len(shelf.cache.entries()) == 2


def test_without_room_a_fetch_waits_for_another_day(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=15)
    held = shelf.fetch(b"o" * 10)
    shelf.store.stock(b"n" * 10)

    assert shelf.refusal(b"n" * 10) is ErrorCode.DISK_FULL
    assert [entry.file_id for entry in shelf.cache.entries()] == [sha256(b"o" * 10)]
    assert held.path.exists()


def test_a_file_that_no_cache_could_hold_is_refused_for_good(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=9)
    shelf.store.stock(b"n" * 10)

    assert shelf.refusal(b"n" * 10) is ErrorCode.CONFIG_INVALID


def test_a_removal_that_was_killed_is_ended_by_the_next_one(shelf: Shelf) -> None:
    shelf.fetch(DATA)
    abandoned = shelf.folder / ".tmp-01J00000000000000000000000"
    abandoned.mkdir()
    (abandoned / "a.txt").write_bytes(DATA)

    assert shelf.cache.make_room(1) == ()
    assert not abandoned.exists()


def in_local_store(tmp_path: Path, data: bytes) -> LocalStore:
    source = tmp_path / "source"
    source.write_bytes(data)
    store = LocalStore(tmp_path / "store")
    store.put(source, file_id=sha256(data), num_bytes=len(data))
    return store


def test_a_store_on_the_same_disk_lends_its_bytes(tmp_path: Path) -> None:
    store = in_local_store(tmp_path, DATA)
    settings = CorpusCacheSettings(max_bytes=0, min_free_bytes=0)
    cache = LocalCorpusCache(tmp_path / "cache", store=store, settings=settings, place_of=store.path_of)
    for found in (cache.look(named(DATA)), cache.fetch(named(DATA, ".jsonl"))):
        assert isinstance(found, CachedFile)
        assert found.path.samefile(str(store.path_of(sha256(DATA))))

    (entry,) = cache.entries()
    assert entry.num_bytes == 0
    assert cache.due() == ()


def near_cache(tmp_path: Path, store: LocalStore) -> LocalCorpusCache:
    settings = CorpusCacheSettings(max_bytes=PLENTY, min_free_bytes=0)
    return LocalCorpusCache(tmp_path / "cache", store=store, settings=settings, place_of=store.path_of)


@pytest.mark.parametrize("way", ["fetch", "look"])
def test_bytes_that_a_store_on_the_same_disk_has_damaged_are_not_lent(tmp_path: Path, way: str) -> None:
    store = in_local_store(tmp_path, DATA)
    place, cache = store.path_of(sha256(DATA)), near_cache(tmp_path, store)
    assert place is not None
    place.chmod(0o644)
    place.write_bytes(DATA[:-1] + b"x")

    with pytest.raises(AppError) as damaged:
        cache.fetch(named(DATA)) if way == "fetch" else cache.look(named(DATA))

    assert damaged.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert cache.entries() == ()
    assert place.read_bytes() == DATA[:-1] + b"x"


def test_a_check_that_is_broken_off_lends_nothing_and_begins_again(tmp_path: Path) -> None:
    store = in_local_store(tmp_path, DATA)
    cache = near_cache(tmp_path, store)
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise AskedToStop

    with pytest.raises(AskedToStop):
        cache.fetch(named(DATA), report=stop)
    assert cache.entries() == ()

    entry = cache.place_of_entry(named(DATA))
    entry.mkdir()
    os.link(str(store.path_of(sha256(DATA))), entry / ".tmp-link")  # as a process that was killed leaves it
    assert cache.fetch(named(DATA)).path.read_bytes() == DATA
    assert told == [(len(DATA), len(DATA))]
    assert [path.name for path in entry.iterdir()] == [f"{sha256(DATA)}.txt"]


def test_a_look_lends_what_is_checked_in_a_moment_and_no_more(tmp_path: Path) -> None:
    data = b"x" * (AT_ONCE_BYTES + 1)
    near = near_cache(tmp_path / "near", in_local_store(tmp_path, data))
    assert isinstance(near.look(named(data)), CachedFile)

    (tmp_path / "large").mkdir()
    with (tmp_path / "large" / "source").open("wb") as file:
        file.truncate(NEAR_AT_ONCE_BYTES + 1)
    store = LocalStore(tmp_path / "store")
    file_id = sha256_of(tmp_path / "large" / "source")
    store.put(tmp_path / "large" / "source", file_id=file_id, num_bytes=NEAR_AT_ONCE_BYTES + 1)
    found = near_cache(tmp_path / "large", store).look(FileReference(file_id=file_id, suffix=".txt"))
    assert isinstance(found, StoredFile)


def test_a_store_on_another_disk_is_copied_from(tmp_path: Path) -> None:
    store = in_local_store(tmp_path, DATA)
    settings = CorpusCacheSettings(max_bytes=PLENTY, min_free_bytes=0)
    cache = LocalCorpusCache(
        tmp_path / "cache", store=store, settings=settings, place_of=lambda _id: tmp_path / "elsewhere"
    )

    assert cache.fetch(named(DATA)).path.read_bytes() == DATA
    assert [entry.num_bytes for entry in cache.entries()] == [len(DATA)]


def test_a_look_fetches_what_is_small(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    found = shelf.cache.look(named(DATA))

    assert isinstance(found, CachedFile)
    assert found.path.read_bytes() == DATA


def test_a_look_leaves_what_is_large_where_it_is(shelf: Shelf) -> None:
    data = b"x" * (AT_ONCE_BYTES + 1)
    shelf.store.stock(data)
    found = shelf.cache.look(named(data))

    assert isinstance(found, StoredFile)
    assert found.num_bytes == len(data)
    assert (shelf.inside(), shelf.store.starts) == ([], [])


def test_a_look_at_what_is_here_reads_nothing_of_the_store(shelf: Shelf) -> None:
    data = b"x" * (AT_ONCE_BYTES + 1)
    held = shelf.fetch(data)
    found = shelf.cache.look(named(data, ".jsonl"))

    assert isinstance(found, CachedFile)
    assert found.path.samefile(held.path)
    assert shelf.store.starts == [0]


def test_a_look_does_not_wait_for_a_fetch(shelf: Shelf) -> None:
    shelf.store.stock(DATA)
    is_coming, may_go_on = threading.Event(), threading.Event()

    def at_piece(_number: int) -> None:
        is_coming.set()
        assert may_go_on.wait(20)

    shelf.store.at_piece = at_piece
    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(shelf.cache.fetch, named(DATA))
        assert is_coming.wait(20)
        assert isinstance(shelf.cache.look(named(DATA)), StoredFile)
        may_go_on.set()
        fetching.result(20)


def test_who_only_looks_needs_neither_room_nor_a_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere, full = Shelf(tmp_path / "file"), Shelf(tmp_path, max_bytes=15)
    held = full.fetch(b"o" * 10)
    for shelf in (nowhere, full):
        shelf.store.stock(b"n" * 10)
        assert isinstance(shelf.cache.look(named(b"n" * 10)), StoredFile)
    assert held.path.exists()


def test_a_look_says_what_is_wrong_with_the_file(shelf: Shelf) -> None:
    with pytest.raises(AppError) as unknown:
        shelf.cache.look(named(DATA))
    shelf.store.damage(shelf.store.stock(DATA), DATA[:-1] + b"\0")
    with pytest.raises(AppError) as damaged:
        shelf.cache.look(named(DATA))

    assert unknown.value.code is ErrorCode.DATA_NOT_FOUND
    assert damaged.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_clean_up_that_races_a_reader_loses(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    files = [bytes([number]) * 300 for number in range(3)]
    for data in files:
        shelf.store.stock(data)
    is_over = threading.Event()

    def clean() -> int:
        removed = 0
        while not is_over.is_set():
            removed += sum(shelf.cache.remove(entry) for entry in shelf.cache.entries())
        return removed

    def read(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(150):
            data = draw.choice(files)
            held = shelf.cache.fetch(named(data, draw.choice([".txt", ".md"])))
            assert held.path.read_bytes() == data
            assert held.path.exists()

    with ThreadPoolExecutor() as pool:
        cleaning = pool.submit(clean)
        reading = [pool.submit(read, seed) for seed in range(3)]
        try:
            for reader in reading:
                reader.result(60)
        finally:
            is_over.set()
        assert cleaning.result(20) > 0
