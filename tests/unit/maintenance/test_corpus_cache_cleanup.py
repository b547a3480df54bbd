"""The corpus cache is brought within its bounds, and what somebody reads stays."""

import errno
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.contracts.files import FileReference
from model_trainer.core.ports.storage import CorpusCacheEntry
from model_trainer.infra.storage.corpus_cache import LocalCorpusCache
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.maintenance.corpus_cache_cleanup import CorpusCacheCleaner


def entry(name: str) -> CorpusCacheEntry:
    return CorpusCacheEntry(file_id=name, path=Path("/data/corpus_cache") / name, num_bytes=10, used_at=1.0)


class Cache:
    """Three entries are due: one can be removed, one is in use by then, one cannot be removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def entries(self) -> tuple[CorpusCacheEntry, ...]:
        return (*self.due(), entry("young"))

    def due(self, need_bytes: int = 0) -> tuple[CorpusCacheEntry, ...]:
        assert need_bytes == 0
        return (entry("stuck"), entry("taken"), entry("old"))

    def remove(self, entry: CorpusCacheEntry) -> bool:
        if entry.file_id == "stuck":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        self.removed.append(entry.file_id)
        return entry.file_id != "taken"

    def make_room(self, need_bytes: int) -> tuple[CorpusCacheEntry, ...]:
        raise AssertionError(need_bytes)


def test_what_is_due_goes_and_each_removal_is_told() -> None:
    cache = Cache()

    with capture_logs() as lines:
        number = CorpusCacheCleaner(cache, dry_run=False).clean()

    assert number == 1
    assert cache.removed == ["taken", "old"]
    assert [(line["event"], Path(line["path"]).name, line["bytes_freed"]) for line in lines] == [
        ("cleanup_failed", "stuck", 0),
        ("cleanup_completed", "old", 10),
    ]
    assert lines[0]["detail"] == "Operation not permitted"
    assert lines[1]["files_deleted"] == 1


def test_a_dry_run_removes_nothing_and_says_what_would_go() -> None:
    cache = Cache()

    removals = list(CorpusCacheCleaner(cache, dry_run=True).removals())

    assert cache.removed == []
    assert [(each.path.name, each.fate, each.num_bytes) for each in removals] == [
        ("stuck", "due", 10),
        ("taken", "due", 10),
        ("old", "due", 10),
    ]


NUM_BYTES = 2000
ROUNDS = 60


class Files:
    """Files of a store, and two caches of them in one folder: one that is read from, one that has to go altogether."""

    def __init__(self, tmp_path: Path) -> None:
        store = MemoryStore()
        self.references: list[FileReference] = []
        for number in range(3):
            path = tmp_path / f"{number}.txt"
            path.write_bytes(f"{number}\n".encode() * (NUM_BYTES // 2))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            store.put(path, file_id=digest, num_bytes=NUM_BYTES)
            self.references.append(FileReference(file_id=digest, suffix=".txt"))
        folder = tmp_path / "corpus_cache"
        roomy = CorpusCacheSettings(max_bytes=100 * NUM_BYTES, min_free_bytes=0)
        none = CorpusCacheSettings(max_bytes=0, min_free_bytes=0)
        self.cache = LocalCorpusCache(folder, store=store, settings=roomy, pause=lambda _: None)
        self.cleaner = CorpusCacheCleaner(LocalCorpusCache(folder, store=store, settings=none), dry_run=False)

    def is_read_well(self, reference: FileReference) -> bool:
        """Whether a file that was fetched can be opened and read for as long as it is held."""
        cached = self.cache.fetch(reference)
        return hashlib.sha256(cached.path.read_bytes()).hexdigest() == reference.file_id


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_an_entry_that_somebody_reads_outlives_the_clean_up(files: Files) -> None:
    held = files.cache.fetch(files.references[0])
    assert files.is_read_well(files.references[1])

    assert files.cleaner.clean() == 1
    assert held.path.stat().st_size == NUM_BYTES

    del held
    assert files.cleaner.clean() == 1
    assert files.cache.entries() == ()


def test_a_clean_up_that_races_readers_takes_nothing_from_under_them(files: Files) -> None:
    ended = threading.Event()
    removed: list[int] = []

    def clean() -> None:
        while not ended.is_set():
            removed.append(files.cleaner.clean())

    def read(reader: int) -> list[bool]:
        return [files.is_read_well(files.references[(reader + each) % 3]) for each in range(ROUNDS)]

    with ThreadPoolExecutor(max_workers=4) as threads:
        cleaning = threads.submit(clean)
        try:
            outcomes = list(threads.map(read, range(3)))
        finally:
            ended.set()
        cleaning.result()

    assert all(all(each) for each in outcomes)
    assert sum(removed) > 0
