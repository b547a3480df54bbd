"""An artifact store whose calls fail now and then, in the ways a store elsewhere lets a caller down.

It stands before a store that works. Every call is noted in `calls`; what becomes of it is told by `trouble`, which a test
may change at any time, also from another thread.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from model_trainer.core.contracts.files import FilePage, StoredFile
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import ArtifactStore


class StoreFault(StrEnum):
    """What becomes of one call."""

    REFUSED = "refused before anything was done"
    ANSWER_LOST = "carried out, its answer lost"
    CUT = "broken off in the middle: a put stores nothing, a read gives half of what was asked for"
    FULL = "no room: DISK_FULL, for a put; refused, for any other call"


@dataclass
class StoreTrouble:
    """What is wrong now."""

    is_down: bool = False
    """Every call is refused."""
    script: list[StoreFault | None] = field(default_factory=list)
    """What becomes of the next calls, one after another; None: it works. When it has run out, `share` decides."""
    share: float = 0.0
    """So many of all calls fail, each way but FULL as often as the others."""
    delay_seconds: float = 0.0
    """Before each call."""
    damaged: set[str] = field(default_factory=set)
    """Files whose first byte comes back changed."""


class FaultyStore:
    """See ArtifactStore. A fault is STORE_UNAVAILABLE, or DISK_FULL."""

    def __init__(self, store: ArtifactStore, *, seed: int = 0) -> None:
        """Works, for now."""
        self.trouble = StoreTrouble()
        self.calls: list[tuple[str, str]] = []
        """Each call's verb (find, put, read, delete, list, check) and its file's id."""
        self._store = store
        self._source = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def is_local(self) -> bool:
        return self._store.is_local

    def find(self, file_id: str) -> StoredFile | None:
        fault = self._begin("find", file_id)
        found = self._store.find(file_id)
        _lose(fault)
        return found

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        fault = self._begin("put", file_id)
        if fault is StoreFault.CUT:
            raise _away(fault)
        stored = self._store.put(path, file_id=file_id, num_bytes=num_bytes)
        _lose(fault)
        return stored

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        fault = self._begin("read", file_id)
        _lose(fault if fault is StoreFault.ANSWER_LOST else None)
        data = bytearray(b"".join(self._store.read(file_id, start=start, stop=stop)))
        if file_id in self.trouble.damaged and start == 0 and data:
            data[0] ^= 1
        half = len(data) // 2
        yield bytes(data[:half])
        _lose(fault)
        yield bytes(data[half:])

    def delete(self, file_id: str) -> None:
        fault = self._begin("delete", file_id)
        self._store.delete(file_id)
        _lose(fault)

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        fault = self._begin("list", prefix)
        page = self._store.list_files(prefix=prefix, after=after, limit=limit)
        _lose(fault)
        return page

    def check(self) -> None:
        _lose(self._begin("check", ""))

    def _begin(self, verb: str, file_id: str) -> StoreFault | None:
        """What becomes of the call; raises what keeps it from being carried out."""
        with self._lock:
            self.calls.append((verb, file_id))
            fault = self._draw()
            is_down = self.trouble.is_down
        time.sleep(self.trouble.delay_seconds)
        if fault is StoreFault.FULL and verb == "put":
            raise AppError(ErrorCode.DISK_FULL, f"Made to fail: {fault.value}.")
        if is_down or fault in (StoreFault.REFUSED, StoreFault.FULL):
            raise _away(fault or StoreFault.REFUSED)
        return fault

    def _draw(self) -> StoreFault | None:
        trouble = self.trouble
        if trouble.script:
            return trouble.script.pop(0)
        if self._source.random() >= trouble.share:
            return None
        return self._source.choice([StoreFault.REFUSED, StoreFault.ANSWER_LOST, StoreFault.CUT])


def _lose(fault: StoreFault | None) -> None:
    if fault is not None:
        raise _away(fault)


def _away(fault: StoreFault) -> AppError:
    return AppError(ErrorCode.STORE_UNAVAILABLE, f"Made to fail: {fault.value}.")
