"""The store that ships as a fake: bytes in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from model_trainer.core.contracts.files import FilePage, StoredFile
from model_trainer.infra.storage.stores.content import PIECE_BYTES, not_found, pieces_of, verified


class MemoryStore:
    """Files in a dictionary. Safe to share between threads."""

    def __init__(self, *, is_local: bool = True, clock: Callable[[], float] = time.time) -> None:
        """Starts empty.

        Args:
            is_local: what it says of itself; False stands for a store elsewhere.
            clock: seconds since 1970.
        """
        self._is_local = is_local
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, tuple[StoredFile, bytes]] = {}

    @property
    def is_local(self) -> bool:
        """As it was made."""
        return self._is_local

    def find(self, file_id: str) -> StoredFile | None:
        """See ArtifactStore."""
        with self._lock:
            found = self._files.get(file_id)
        return None if found is None else found[0]

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        """See ArtifactStore."""
        found = self.find(file_id)
        if found is not None and found.num_bytes == num_bytes:
            return found
        with path.open("rb") as file:
            pieces = pieces_of(file, num_bytes=num_bytes)
            data = b"".join(verified(pieces, file_id=file_id, num_bytes=num_bytes))
        stored = StoredFile(file_id=file_id, num_bytes=num_bytes, stored_at_ms=int(self._clock() * 1000))
        with self._lock:
            return self._files.setdefault(file_id, (stored, data))[0]

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A file that is deleted meanwhile is read to its end all the same."""
        with self._lock:
            found = self._files.get(file_id)
        if found is None:
            raise not_found(file_id)
        data = found[1][:stop]
        for begin in range(start, len(data), PIECE_BYTES):
            yield data[begin : begin + PIECE_BYTES]

    def delete(self, file_id: str) -> None:
        """See ArtifactStore."""
        with self._lock:
            self._files.pop(file_id, None)

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        """See ArtifactStore."""
        with self._lock:
            found = sorted(
                (file_id, stored)
                for file_id, (stored, _) in self._files.items()
                if file_id.startswith(prefix) and (after is None or file_id > after)
            )
        return FilePage(files=tuple(stored for _, stored in found[:limit]), has_more=len(found) > limit)

    def check(self) -> None:
        """It always works."""

    def damage(self, file_id: str, data: bytes) -> None:
        """As when the store's disk has changed a file; its id and its length on record stay."""
        with self._lock:
            self._files[file_id] = (self._files[file_id][0], data)
