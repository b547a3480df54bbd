"""Files of the store come once, whole and verified; they stay while somebody reads them, and go by their last use."""

import errno
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from tests.unit.infra.storage.shelf import DATA, Shelf, away, breaks_at, named
from tests.unit.infra.storage.stocked_store import PIECE, sha256


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


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


def test_a_removal_that_was_killed_is_ended_by_the_next_one(shelf: Shelf) -> None:
    shelf.fetch(DATA)
    abandoned = shelf.folder / ".tmp-01J00000000000000000000000"
    abandoned.mkdir()
    (abandoned / "a.txt").write_bytes(DATA)

    assert shelf.cache.make_room(1) == ()
    assert not abandoned.exists()


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
