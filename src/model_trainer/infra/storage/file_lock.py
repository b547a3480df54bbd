"""The kernel's lock on one file or folder, for the time of a with-block. Ends with the process, whatever becomes of it."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

NOT_SUPPORTED = frozenset({errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL})
"""What file systems without flock answer."""

Way = Literal["shared", "alone", "alone_at_once"]
"""With others that share it; alone, after waiting for all others; alone, or not at all."""
GLANCE_SECONDS = 0.1
"""Between two looks of one who waits and must be heard meanwhile."""


@contextmanager
def locked(place: Path, way: Way, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside, the lock of a folder, or of a file (made when it is missing), is ours.

    `alone_at_once` raises BlockingIOError while others have it, and where the system has no such lock: nobody can tell then.
    The other ways go on without. `waiting`, called again and again while others have it, may raise to wait no longer.
    """
    import fcntl  # here: Windows has none, and imports this file though it runs no services

    kind = {"shared": fcntl.LOCK_SH, "alone": fcntl.LOCK_EX, "alone_at_once": fcntl.LOCK_EX | fcntl.LOCK_NB}
    descriptor = os.open(place, os.O_RDONLY | (0 if place.is_dir() else os.O_CREAT), 0o666)
    try:
        try:
            if waiting is None:
                fcntl.flock(descriptor, kind[way])
            else:
                while not _taken_at_once(descriptor, kind[way]):
                    waiting()
                    time.sleep(GLANCE_SECONDS)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
            if way == "alone_at_once":
                raise BlockingIOError(error.errno, "This file system has no locks") from error
        yield
    finally:
        os.close(descriptor)


def _taken_at_once(descriptor: int, kind: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
