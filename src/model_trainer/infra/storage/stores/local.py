"""The store on this machine's disk: one regular file per digest."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from model_trainer.core.contracts.files import FilePage, StoredFile, is_file_id
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder
from model_trainer.infra.storage.stores.content import (
    mismatch,
    not_found,
    pieces_of,
    require_digest,
    unavailable,
    verified,
    write_all,
)

FAN_OUT = 2
"""So many digits of the id name the folder: 100,000 files make 256 folders of 400."""
ANY_WRITE = 0o222
READ_ONLY = 0o444


class LocalStore:
    """`<folder>/<2 digits>/<62 digits>`, all read-only; what is being written lies in `<folder>/.tmp-*`.

    A file whose owner has made it read-only is linked into the store where that is possible, so that large files lie on
    the disk once; any other is copied, for somebody may write to it later (logs grow, people edit), and the store's
    content must never change with it.
    """

    def __init__(self, folder: Path, *, sync: Callable[[int], None] = os.fsync) -> None:
        """The folder is made when something is first stored.

        Args:
            folder: the store's own, on the disk that is to hold it.
            sync: makes what was written to an open file survive a power cut.
        """
        self._folder = folder.absolute()
        self._sync = sync

    @property
    def is_local(self) -> bool:
        """It is."""
        return True

    def find(self, file_id: str) -> StoredFile | None:
        """See ArtifactStore."""
        if not is_file_id(file_id):
            return None
        with self._faults():
            return _looked_at(self._path(file_id), file_id)

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        """See ArtifactStore."""
        if not is_file_id(file_id):
            raise mismatch(file_id)
        found = self.find(file_id)
        if found is not None and found.num_bytes == num_bytes:
            return found
        target = self._path(file_id)
        temporary = self._folder / f"{TEMPORARY_PREFIX}{new_ulid()}"
        with self._faults():
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._link(path, temporary, file_id=file_id, num_bytes=num_bytes):
                self._copy(path, temporary, file_id=file_id, num_bytes=num_bytes)
            with self._faults():
                stored = _described(temporary.lstat(), file_id)
                temporary.replace(target)
                for folder in (target.parent, self._folder):
                    fsync_folder(folder)
        finally:
            # There when something above failed, or another put has linked the same file: then replacing does nothing.
            temporary.unlink(missing_ok=True)
        return stored

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A file that is deleted meanwhile is read to its end all the same."""
        if not is_file_id(file_id):
            raise not_found(file_id)
        try:
            with self._faults(), self._path(file_id).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(start)
                yield from pieces_of(file, num_bytes=(size if stop is None else min(stop, size)) - start)
        except FileNotFoundError as error:
            raise not_found(file_id) from error

    def delete(self, file_id: str) -> None:
        """See ArtifactStore."""
        if is_file_id(file_id):
            with self._faults():
                self._path(file_id).unlink(missing_ok=True)

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        """See ArtifactStore. Looks into no more folders than it takes to fill the page."""
        found: list[StoredFile] = []
        with self._faults():
            for folder in _names_in(self._folder):
                if not _may_hold(folder, prefix=prefix, after=after):
                    continue
                for name in _names_in(self._folder / folder):
                    file_id = folder + name
                    if not file_id.startswith(prefix) or (after is not None and file_id <= after):
                        continue
                    stored = self.find(file_id)
                    if stored is None:
                        continue
                    if len(found) == limit:
                        return FilePage(files=tuple(found), has_more=True)
                    found.append(stored)
        return FilePage(files=tuple(found), has_more=False)

    def path_of(self, file_id: str) -> Path | None:
        """Where the bytes lie; None when they are not there. They are read-only, and stay what they are."""
        return None if self.find(file_id) is None else self._path(file_id)

    def check(self) -> None:
        """See ArtifactStore."""
        with self._faults():
            self._folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError("it cannot be written to")

    def _path(self, file_id: str) -> Path:
        return self._folder / file_id[:FAN_OUT] / file_id[FAN_OUT:]

    def _link(self, path: Path, temporary: Path, *, file_id: str, num_bytes: int) -> bool:
        """Whether `temporary` is now another name of the file, verified and durable."""
        before = path.lstat()
        if not stat.S_ISREG(before.st_mode) or before.st_mode & ANY_WRITE or before.st_size != num_bytes:
            return False
        try:
            os.link(path, temporary)
        except OSError:
            return False  # on another disk, somebody else's, linked too often, or no links here
        require_digest(temporary, file_id=file_id, num_bytes=num_bytes)
        with temporary.open("rb") as file, self._faults():
            self._sync(file.fileno())
            after = os.fstat(file.fileno())
        if (after.st_mode, after.st_mtime_ns) != (before.st_mode, before.st_mtime_ns):
            raise mismatch(file_id)  # it was written to after all
        return True

    def _copy(self, path: Path, temporary: Path, *, file_id: str, num_bytes: int) -> None:
        with path.open("rb") as source, ExitStack() as opened:
            with self._faults():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                descriptor = os.open(temporary, flags, READ_ONLY)
            opened.callback(os.close, descriptor)
            pieces = pieces_of(source, num_bytes=num_bytes)
            for piece in verified(pieces, file_id=file_id, num_bytes=num_bytes):
                with self._faults():
                    write_all(descriptor, piece)
            with self._faults():
                self._sync(descriptor)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turns faults of this disk into ours: DISK_FULL, STORE_UNAVAILABLE."""
        try:
            with disk_errors(self._folder):
                yield
        except FileNotFoundError:
            raise  # no fault of the disk: the file has gone meanwhile
        except OSError as error:
            message = (
                f"The store {self._folder} cannot be used. Check that APP__ARTIFACTS_ROOT is on a disk that works and that"
                " this service may write there."
            )
            raise unavailable(message, detail=error.strerror or str(error)) from error


def _looked_at(path: Path, file_id: str) -> StoredFile | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return _described(found, file_id)


def _described(found: os.stat_result, file_id: str) -> StoredFile:
    return StoredFile(file_id=file_id, num_bytes=found.st_size, stored_at_ms=found.st_mtime_ns // 1_000_000)


def _names_in(folder: Path) -> list[str]:
    """Sorted; none when it is not there."""
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return []


def _may_hold(folder: str, *, prefix: str, after: str | None) -> bool:
    """Whether ids that begin with `folder` can be on the page."""
    behind = after is None or folder >= after[:FAN_OUT]
    return len(folder) == FAN_OUT and behind and folder.startswith(prefix[:FAN_OUT])
