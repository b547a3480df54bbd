"""Room in the cache of corpora: what was used longest ago goes, what is in use stays, and a fetch makes its own."""

import gc
import os
from pathlib import Path

import pytest

from model_trainer.core.errors import ErrorCode
from tests.unit.infra.storage.shelf import DATA, Shelf, away, breaks_at, named
from tests.unit.infra.storage.stocked_store import PIECE, sha256


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


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
