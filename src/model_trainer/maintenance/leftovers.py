"""Removes what nobody will finish or use: abandoned temporary files and uploads, and token caches unused for long.

Never touches an artifact: only names that start with the temporary prefix, and the entries of folders it is given.
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
from model_trainer.maintenance.telling import Removal, tell


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
        passing: Sequence[Path],
        policy: CleanupSettings,
        now: Callable[[], float] = time.time,
        delete: Callable[[Path], None] | None = None,
    ) -> None:
        """Nothing is removed yet.

        Args:
            roots: where temporary files may lie, at any depth.
            passing: folders whose entries are not for good: caches that can be made again, uploads on their way.
            policy: whether and when.
            now: the clock that files are stamped by.
            delete: takes a file or folder away; raises OSError when it cannot.
        """
        self._roots = tuple(roots)
        self._passing = tuple(passing)
        self._policy = policy
        self._now = now
        self._delete = delete or delete_whole

    def clean(self) -> int:
        """Removes what is due (or only logs it, in a dry run); returns how many leftovers went."""
        if self._policy.enabled is False:
            return 0
        oldest_kept = self._now() - self._policy.grace_period_seconds
        try:
            due = [leftover for leftover in self.leftovers() if leftover.used_at <= oldest_kept]
        except OSError as error:
            place: object = error.filename
            _tell_failure(Path(str(place)), error)
            return 0
        return sum(self._remove(leftover) for leftover in due)

    def leftovers(self) -> Iterator[Leftover]:
        """Everything that is temporary or passing, however young."""
        places = [place for root in self._roots for place in temporary_places(root)]
        for folder in self._passing:
            places += [entry for entry in _children(folder) if entry not in places]
        for place in places:
            leftover = _measured(place)
            if leftover is not None:
                yield leftover

    def _remove(self, leftover: Leftover) -> bool:
        path, num_files, num_bytes = leftover.path, leftover.num_files, leftover.num_bytes
        if self._policy.dry_run:
            tell(Removal(path=path, fate="due", num_files=num_files, num_bytes=num_bytes))
            return False
        try:
            self._delete(path)
        except (FileNotFoundError, BlockingIOError):
            return False  # its owner finished it after all, another clean-up was faster, or somebody holds it
        except OSError as error:
            _tell_failure(path, error)
            return False
        tell(Removal(path=path, fate="removed", num_files=num_files, num_bytes=num_bytes))
        return True


def delete_whole(path: Path) -> None:
    """Removes a file, a link or a folder; a folder loses its name first, so that nobody opens half of what is going.

    Raises BlockingIOError for a folder that somebody has locked: a token cache that a job is using, an upload that a part
    is coming for.
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


def _tell_failure(path: Path, error: OSError) -> None:
    tell(Removal(path=path, fate="failed", detail=error.strerror or ""))


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
