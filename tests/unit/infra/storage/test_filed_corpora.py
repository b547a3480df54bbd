"""A file of the store stands wherever a path does: fetched for who reads it, left where it is for who only asks."""

import gc
from pathlib import Path

import pytest

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import LABELLED_SUFFIXES
from model_trainer.infra.storage.corpus_cache import AT_ONCE_BYTES, LocalCorpusCache
from model_trainer.infra.storage.corpus_root import CACHE_FOLDER
from model_trainer.infra.storage.filed_corpora import FiledCorpora
from model_trainer.infra.storage.memory import MemoryCorpusRoot
from tests.unit.infra.storage.stocked_store import StockedStore, sha256

TEXT = b"text to learn from\n" * 10
LARGE = b"x" * (AT_ONCE_BYTES + 1)


class Place:
    """Corpora, and the store behind them."""

    def __init__(self) -> None:
        self.store = StockedStore()
        self.paths = MemoryCorpusRoot({"a.txt": "a"})
        self.cache = LocalCorpusCache(
            self.paths.root / CACHE_FOLDER,
            store=self.store,
            settings=CorpusCacheSettings(max_bytes=1 << 30, min_free_bytes=0),
        )
        self.corpora = FiledCorpora(self.paths, cache=self.cache)

    def refusals(self, path: str) -> set[tuple[ErrorCode, str]]:
        """Of both ways to ask; each names the field."""
        found = set()
        for ask in (self.corpora.locate, self.corpora.look_up):
            with pytest.raises(AppError) as refused:
                ask(path, suffixes=LABELLED_SUFFIXES, pointer="/data_paths/1")
            (fault,) = refused.value.faults
            assert fault.pointer == "/data_paths/1"
            assert refused.value.message == f"data_paths {fault.message}."
            found.add((refused.value.code, fault.message))
        return found


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_file_of_the_store_is_a_corpus_of_one_file(place: Place) -> None:
    file_id = place.store.stock(TEXT)
    told: list[tuple[int, int]] = []
    source = place.corpora.locate(
        f"sha256:{file_id}.md", report=lambda done, total: told.append((done, total))
    )

    assert (source.corpus_path, source.names) == (f"sha256:{file_id}.md", (f"{file_id}.md",))
    assert (source.base / source.names[0]).read_bytes() == TEXT
    assert (source.num_bytes, source.is_near) == (len(TEXT), True)
    assert told[-1] == (len(TEXT), len(TEXT))


def test_without_a_suffix_it_is_plain_text(place: Place) -> None:
    file_id = place.store.stock(TEXT)

    assert place.corpora.locate(f"sha256:{file_id}").names == (f"{file_id}.txt",)
    assert place.corpora.look_up(f"sha256:{file_id}").names == (f"{file_id}.txt",)


def test_a_path_is_found_under_the_data_root_as_before(place: Place) -> None:
    told: list[tuple[int, int]] = []

    assert place.corpora.locate("a.txt", report=lambda *far: told.append(far)).names == ("a.txt",)
    assert place.corpora.look_up("a.txt").names == ("a.txt",)
    assert told == []


def test_a_source_keeps_its_file_from_being_removed_for_as_long_as_it_is_there(place: Place) -> None:
    source = place.corpora.locate(f"sha256:{place.store.stock(TEXT)}")
    (entry,) = place.cache.entries()

    assert not place.cache.remove(entry)
    assert (source.base / source.names[0]).exists()
    del source
    gc.collect()
    assert place.cache.remove(entry)


def test_who_only_asks_finds_a_small_file_here_and_a_large_one_far_away(place: Place) -> None:
    small = place.corpora.look_up(f"sha256:{place.store.stock(TEXT)}")
    large = place.corpora.look_up(f"sha256:{place.store.stock(LARGE)}")

    assert small.is_near
    assert (small.base / small.names[0]).read_bytes() == TEXT
    assert (large.is_near, large.num_bytes) == (False, len(LARGE))
    assert not (large.base / large.names[0]).exists()


def test_a_file_that_has_been_fetched_is_near(place: Place) -> None:
    path = f"sha256:{place.store.stock(LARGE)}"
    fetched, asked = place.corpora.locate(path), place.corpora.look_up(path)

    assert asked == fetched
    assert asked.is_near


def test_what_cannot_be_used_is_refused_alike_by_both(place: Place) -> None:
    file_id, nothing = place.store.stock(TEXT), place.store.stock(b"")
    expected = {
        f"sha256:{'0' * 64}.csv": (ErrorCode.DATA_NOT_FOUND, "POST /files"),
        f"sha256:{file_id}.txt": (ErrorCode.DATA_FORMAT_UNSUPPORTED, "supported are .csv, .jsonl, .parquet"),
        f"sha256:{nothing}.csv": (ErrorCode.DATA_EMPTY, "empty"),
        f"sha256:{file_id.upper()}.csv": (ErrorCode.DATA_NOT_FOUND, "64 digits"),
        "sha256:../../etc/passwd": (ErrorCode.DATA_NOT_FOUND, "64 digits"),
        f"sha256:{file_id}/../../x.csv": (ErrorCode.DATA_NOT_FOUND, "64 digits"),
    }
    for path, (code, words) in expected.items():
        ((found, message),) = place.refusals(path)
        assert found is code
        assert words in message


def test_an_empty_file_is_refused_also_where_it_is_far_away(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = StockedStore()
    settings = CorpusCacheSettings(max_bytes=1, min_free_bytes=0)
    cache = LocalCorpusCache(tmp_path / "file" / "cache", store=store, settings=settings)
    with pytest.raises(AppError) as refused:
        FiledCorpora(MemoryCorpusRoot({}), cache=cache).look_up(f"sha256:{store.stock(b'')}")

    assert refused.value.code is ErrorCode.DATA_EMPTY


def test_a_store_that_is_away_is_no_wrong_field(place: Place) -> None:
    def away(_number: int) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "The store is away.")

    place.store.stock(TEXT)
    place.store.at_piece = away
    with pytest.raises(AppError) as caught:
        place.corpora.locate(f"sha256:{sha256(TEXT)}")

    assert (caught.value.message, caught.value.faults) == ("The store is away.", ())
