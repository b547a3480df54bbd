"""Locks on folders (flock): shared by those who read what is inside, alone by who fills or removes it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_trainer.core.entry_hold import EntryHold


def held(folder: Path) -> EntryHold | None:
    """The folder, locked with others for as long as what is returned is there; None when it is not there, or somebody has
    it alone."""
    descriptor = _opened(folder)
    if descriptor is None:
        return None
    hold = EntryHold(descriptor)  # closes it in any case
    is_ours = _try_to_lock(descriptor, is_shared=True, waits=False) and _is_of(descriptor, folder)
    return hold if is_ours else None


@contextmanager
def alone_in(folder: Path, *, waits: bool = False) -> Iterator[bool]:
    """Inside, whether the folder is there and nobody else has it; with `waits` after those who have it."""
    descriptor = _opened(folder)
    if descriptor is None:
        yield False
        return
    try:
        # A folder that was removed before it was locked is not the one that has its name now.
        yield _try_to_lock(descriptor, is_shared=False, waits=waits) and _is_of(descriptor, folder)
    finally:
        os.close(descriptor)


def status_of(folder: Path) -> os.stat_result | None:
    """What the disk says of it; None when it is not there."""
    try:
        return folder.stat()
    except FileNotFoundError:
        return None


def _opened(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None


def _try_to_lock(descriptor: int, *, is_shared: bool, waits: bool) -> bool:
    import fcntl  # here: Windows has none, and runs no services

    how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, how if waits else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_of(descriptor: int, folder: Path) -> bool:
    found = status_of(folder)
    return found is not None and os.path.samestat(os.fstat(descriptor), found)
