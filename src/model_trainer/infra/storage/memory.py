"""Storage that leaves nothing behind. Jobs write real files, so these are real folders that go when their owner does."""

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

from model_trainer.infra.storage.artifact_tree import LocalArtifactTree
from model_trainer.infra.storage.corpus_root import LocalCorpusRoot


class MemoryArtifactTree(LocalArtifactTree):
    """An artifact tree in a temporary folder."""

    def __init__(self) -> None:
        """Starts empty."""
        self.root = _folder_living_with(self)
        super().__init__(self.root / "artifacts", self.root / "runs")


class MemoryCorpusRoot(LocalCorpusRoot):
    """A data root in a temporary folder, with the given files in it."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        """`files`: text (as UTF-8) or bytes by relative name."""
        self.root = _folder_living_with(self)
        super().__init__(self.root)
        for name, content in files.items():
            self.put(name, content)

    def put(self, name: str, content: str | bytes) -> None:
        """Adds or replaces a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


NO_ORDER = 1 << 60
"""Of a holder that works on none: no order is newer."""


class MemoryRunLocks:
    """Locks within this process. A holder of an older order is not killed, it just has the lock no more."""

    def __init__(self, *, host: str = "this-host") -> None:
        """Nothing is held."""
        self._host = host
        self._guard = threading.Lock()
        self._epochs: dict[str, int] = {}

    @property
    def host(self) -> str:
        """This machine's name."""
        return self._host

    def take(self, run_id: str, *, epoch: int) -> "MemoryHeldLock | None":
        """See RunLocks."""
        with self._guard:
            if self._epochs.get(run_id, -1) >= epoch:
                return None
            self._epochs[run_id] = epoch
        return MemoryHeldLock(lambda: self.forget(run_id, epoch=epoch))

    def take_if_free(self, run_id: str) -> "MemoryHeldLock | None":
        """See RunLocks."""
        with self._guard:
            if run_id in self._epochs:
                return None
            self._epochs[run_id] = NO_ORDER
        return MemoryHeldLock(lambda: self.forget(run_id, epoch=NO_ORDER))

    def is_free(self, run_id: str) -> bool:
        """See RunLocks."""
        with self._guard:
            return run_id not in self._epochs

    def forget(self, run_id: str, *, epoch: int) -> None:
        """As when the holder has died."""
        with self._guard:
            if self._epochs.get(run_id) == epoch:
                del self._epochs[run_id]


class MemoryHeldLock:
    """A lock of MemoryRunLocks."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release
        """See HeldLock."""


def _folder_living_with(owner: object) -> Path:
    folder = tempfile.mkdtemp(prefix="model-trainer-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
