"""Files that are whole or absent, and files opened without following a link. Knows no folder of ours."""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode

TEMPORARY_PREFIX = ".tmp-"
"""What is being written has a name that starts like this; readers pass it over, the clean-up removes it."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; memory does not grow with the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_plain_name(name: str) -> bool:
    """Whether a file or folder may be called so where names come from elsewhere: one part of a path, on any system, and not
    the name of something unfinished."""
    return (
        name not in ("", ".", "..")
        and not name.startswith(TEMPORARY_PREFIX)
        and not set(name) & set("\\/\0:")
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, durably: a reader, or a crash at any moment, finds the old bytes or the new ones.

    Raises DISK_FULL; the old file stays then.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    try:
        with disk_errors(path), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # there only when something above failed
    fsync_folder(path.parent)


def fsync_folder(folder: Path, *, platform: str = sys.platform) -> None:
    """Makes names created, renamed or removed in `folder` survive a power cut."""
    if platform == "win32":
        return  # Windows cannot open a folder, and its renames are journalled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path, *, below: Path | None = None) -> BinaryIO:
    """A regular file, open for reading; no link is followed at its end, nor anywhere below the folder `below`.

    What is checked is what is open, so that nothing can be swapped in between. Raises DATA_NOT_FOUND, and
    DATA_PATH_FORBIDDEN for links, folders, devices, pipes and sockets. Not for Windows, which has no such flags; no
    service runs there.
    """
    # Opening a named pipe blocks until somebody writes to it, but for O_NONBLOCK; regular files do not care.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        if below is None:
            descriptor = os.open(path, flags)
        else:
            descriptor = _open_below(below, path.relative_to(below).parts, flags=flags)
    except FileNotFoundError as error:
        raise AppError(ErrorCode.DATA_NOT_FOUND, f"{path.name} is not there any more.") from error
    except OSError as error:
        # ELOOP for a link at the end, ENOTDIR for a link on the way, ENXIO for a socket, EACCES, ENAMETOOLONG.
        raise _forbidden(path, error.strerror) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _forbidden(path, "not a regular file")
    return os.fdopen(descriptor, "rb")


def is_disk_full(error: Exception) -> bool:
    """Whether an exception means that a disk or a quota is full, also as libraries written in Rust word it."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    return any(f"(os error {number})" in str(error) for number in _NO_SPACE)


@contextmanager
def disk_errors(path: Path, *, setting: str = "APP__ARTIFACTS_ROOT") -> Iterator[None]:
    """Inside, a disk that is full raises DISK_FULL; other faults of the disk pass as they are. `setting` says which disk."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise AppError(
            ErrorCode.DISK_FULL,
            f"The disk is full. Free some space, or point {setting} to a larger disk.",
            facts={"path": path.name},
        ) from error


def _open_below(folder: Path, parts: tuple[str, ...], *, flags: int) -> int:
    """Opens name by name, each relative to the folder opened before it: a swapped folder is not followed."""
    enter = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    descriptor = os.open(folder, os.O_RDONLY)
    for place, part in enumerate(parts, start=1):
        try:
            inner = os.open(part, flags if place == len(parts) else enter, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _forbidden(path: Path, why: str | None) -> AppError:
    return AppError(
        ErrorCode.DATA_PATH_FORBIDDEN,
        f"{path.name} cannot be read as a regular file ({why}). Put the file itself there, not a link to it.",
        facts={"path": path.name},
    )
