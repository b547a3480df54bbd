"""One stack per state folder, told by a file lock that the kernel lets go when its last holder dies."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from model_trainer.core.errors import AppError, ErrorCode


class FolderLock:
    """Holds a folder for one owner. Children that inherit `descriptor` hold it too, until they have gone."""

    def __init__(self, folder: Path, *, patience_seconds: float = 5.0) -> None:
        """`patience_seconds`: how long to wait for a killed owner's children to go."""
        self._file = folder / "stack.lock"
        self._patience_seconds = patience_seconds
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """What children inherit to hold the lock too."""
        if self._descriptor is None:
            raise AppError(ErrorCode.INTERNAL, "The state folder was not locked first; this is a defect.")
        return self._descriptor

    def __enter__(self) -> Self:
        """Takes the lock; raises STACK_FAILED when somebody else keeps it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + self._patience_seconds
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                holder = os.read(descriptor, 20).decode(errors="replace").strip()
                os.close(descriptor)
                raise AppError(
                    ErrorCode.STACK_FAILED,
                    f"Another stack (process {holder}) uses {self._file.parent}. "
                    "Stop it, or start this one with a state folder of its own.",
                )
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets the lock go (children that inherited it may hold it a little longer)."""
        os.close(self.descriptor)
        self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    import fcntl  # here: Windows has none, and imports this file though it cannot run a stack

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
