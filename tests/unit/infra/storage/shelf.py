"""A cache of corpora over a store in memory, for its tests."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.contracts.files import FileReference
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.corpus_cache import (
    CachedFile,
    LocalCorpusCache,
)
from tests.unit.infra.storage.stocked_store import StockedStore, sha256

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


def breaks_at(number: int, error: Exception) -> Callable[[int], None]:
    def at_piece(piece: int) -> None:
        if piece == number:
            raise error

    return at_piece


def away() -> AppError:
    return AppError(ErrorCode.STORE_UNAVAILABLE, "away")
