"""Removes what nobody will finish or use: abandoned temporary files, and token caches unused for long.

Never touches an artifact: only names that start with the temporary prefix, and the entries of the cache folder.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.core.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something to remove."""

    path: Path
    num_files: int
    num_bytes: int
    used_at: float
    """When anything in it was written or read last; seconds since 1970."""


class LeftoverCleaner:
    """Applies APP__CLEANUP__* to the folders of this installation."""

    def __init__(
        self,
        *,
        roots: Sequence[Path],
        cache_folder: Path | None,
        policy: CleanupSettings,
        now: Callable[[], float] = time.time,
        delete: Callable[[Path], None] | None = None,
    ) -> None:
        """Nothing is removed yet.

        Args:
            roots: where temporary files may lie, at any depth.
            cache_folder: each of its entries is a cache that can be made again; None: there is none to look at.
            policy: whether and when.
            now: the clock that files are stamped by.
            delete: takes a file or folder away; raises OSError when it cannot.
        """
        self._roots = tuple(roots)
        self._cache_folder = cache_folder
        self._policy = policy
        self._now = now
        self._delete = delete or delete_whole

    def clean(self) -> int:
        """Removes what is due (or only logs it, in a dry run); returns how many leftovers went."""
        if not self._policy.enabled:
            return 0
        oldest_kept = self._now() - self._policy.grace_period_seconds
        try:
            due = [leftover for leftover in self.leftovers() if leftover.used_at <= oldest_kept]
        except OSError as error:
            place: object = error.filename
            _log_failure(Path(str(place)), error)
            return 0
        return sum(self._remove(leftover) for leftover in due)

    def leftovers(self) -> Iterator[Leftover]:
        """Everything that is temporary or a cache, however young."""
        places = [place for root in self._roots for place in temporary_places(root)]
        if self._cache_folder is not None:
            places += [entry for entry in _children(self._cache_folder) if entry not in places]
        for place in places:
            leftover = _measured(place)
            if leftover is not None:
                yield leftover

    def _remove(self, leftover: Leftover) -> bool:
        if self._policy.dry_run:
            log.info(
                "cleanup_dry_run",
                path=str(leftover.path),
                bytes_freed=leftover.num_bytes,
                num_removed=leftover.num_files,
                dry_run=True,
            )
            return False
        try:
            self._delete(leftover.path)
        except (FileNotFoundError, BlockingIOError):
            return False  # its owner finished it after all, another clean-up was faster, or a job holds it
        except OSError as error:
            _log_failure(leftover.path, error)
            return False
        log.info(
            "cleanup_completed",
            path=str(leftover.path),
            bytes_freed=leftover.num_bytes,
            num_removed=leftover.num_files,
            dry_run=False,
        )
        return True


def delete_whole(path: Path) -> None:
    """Removes a file, a link or a folder; a folder loses its name first, so that nobody opens half of what is going.

    Raises BlockingIOError for a folder that somebody has locked: a token cache that a job is using.
    """
    if path.is_dir() and not path.is_symlink():
        with alone_with(path):
            going = path.rename(path.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}"))
        shutil.rmtree(going)
    else:
        path.unlink()


@contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Inside, nobody else has the folder locked; raises BlockingIOError when somebody has."""
    import fcntl  # here: Windows has none, and runs no services

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _log_failure(path: Path, error: OSError) -> None:
    log.error("cleanup_failed", path=str(path), bytes_freed=0, num_removed=0, detail=error.strerror or "")


def temporary_places(folder: Path, *, skip: Set[Path] = frozenset()) -> Iterator[Path]:
    """Files and folders with a temporary name, at any depth but below those of `skip`; links are not followed."""
    for child in _children(folder):
        if child.name.startswith(TEMPORARY_PREFIX):
            yield child
        elif child.is_dir() and not child.is_symlink() and child not in skip:
            yield from temporary_places(child, skip=skip)


def _children(folder: Path) -> list[Path]:
    """The entries of a folder, sorted; none when it has gone meanwhile."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _measured(place: Path) -> Leftover | None:
    """Sizes and the last use of a file or folder; None when it has gone meanwhile."""
    paths = [place]
    num_files = num_bytes = 0
    used_at = 0.0
    try:
        while paths:
            path = paths.pop()
            status = path.lstat()
            used_at = max(used_at, status.st_mtime)
            if stat.S_ISDIR(status.st_mode):
                paths += path.iterdir()
            else:
                # Reading a token file leaves its mark in atime alone. A folder's atime says only that we looked.
                used_at = max(used_at, status.st_atime)
                num_files += 1
                num_bytes += status.st_size
    except FileNotFoundError:
        return None
    return Leftover(path=place, num_files=num_files, num_bytes=num_bytes, used_at=used_at)
