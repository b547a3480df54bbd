"""A store in memory that tells what was read of it, and breaks off when a test wants it to."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from model_trainer.infra.storage.stores.memory import MemoryStore

PIECE = 64


def sha256(data: bytes) -> str:
    """A file_id."""
    return hashlib.sha256(data).hexdigest()


class StockedStore(MemoryStore):
    """Gives small pieces; `at_piece` is called before each with its number and may raise or wait."""

    def __init__(self, *, is_local: bool = False) -> None:
        super().__init__(is_local=is_local)
        self.starts: list[int] = []
        """Where each read began."""
        self.at_piece: Callable[[int], None] = lambda _number: None

    def stock(self, data: bytes) -> str:
        """Puts a file in, and tells its id."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self.put(Path(file.name), file_id=sha256(data), num_bytes=len(data))
        return sha256(data)

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore."""
        self.starts.append(start)
        data = b"".join(super().read(file_id, start=start, stop=stop))
        for number, begin in enumerate(range(0, len(data), PIECE)):
            self.at_piece(number)
            yield data[begin : begin + PIECE]
