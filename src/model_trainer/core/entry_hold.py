"""A cache entry in use: a lock that the clean-up respects, held for as long as something refers to it."""

import os
import weakref
from pathlib import Path
from typing import Self


class EntryHold:
    """Keeps the clean-up from an entry. Nobody has to let go: the lock ends with this object, or with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def of(cls, entry: Path) -> Self | None:
        """Holds `entry`, with as many others as like; None when there is no such folder."""
        import fcntl  # here: Windows has none, and runs no jobs

        try:
            hold = cls(os.open(entry, os.O_RDONLY))
        except FileNotFoundError:
            return None
        fcntl.flock(hold._descriptor, fcntl.LOCK_SH)
        return hold

    def touch(self) -> None:
        """Marks the entry as used now: the grace of the clean-up begins anew when the process dies."""
        os.utime(self._descriptor)
