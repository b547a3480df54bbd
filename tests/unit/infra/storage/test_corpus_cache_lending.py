"""What the cache of corpora need not fetch: bytes lent by a store on the same disk, and what only a look would need."""

import os
import threading
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
from tests.unit.infra.storage.shelf import DATA, PLENTY, Shelf, named
from tests.unit.infra.storage.stocked_store import sha256


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


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
