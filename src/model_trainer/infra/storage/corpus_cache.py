"""Files of the store, fetched for reading into <data root>/corpus_cache: verified, shared, within bounds."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.config.settings import CorpusCacheSettings
from model_trainer.core.contracts.files import FileReference, StoredFile, is_file_id
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.entry_hold import EntryHold
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import CorpusCacheEntry, FetchReport, nobody_listens
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.infra.storage.folder_locks import alone_in, held, status_of

AT_ONCE_BYTES = 4 << 20
"""So small a file is fetched while a request waits for its answer."""
NEAR_AT_ONCE_BYTES = 64 << 20
"""The same of a store on this machine: it is read once, and linked."""
PIECE_BYTES = 1 << 20
GLANCE_SECONDS = 0.1
"""Between two looks at a fetch that another process is at."""
READ_ONLY = 0o444
ROOT_SETTING = "APP__DATA_ROOT"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file that lies here, whole, for as long as this object does."""

    path: Path
    num_bytes: int
    hold: EntryHold


@dataclass(frozen=True, slots=True)
class _Seen:
    entry: CorpusCacheEntry
    missing_bytes: int
    """Still to come: they take no space on the disk yet."""


class LocalCorpusCache:
    """`<folder>/<file_id>/<file_id><suffix>`: an entry a file, under each suffix it was asked for by.

    Who reads an entry has its folder locked with others (flock), who fills or removes it has it alone. What has come of a
    file lies in its entry as `.tmp-<bytes of the whole>`, so that others count what is still to come, and the next fetch
    goes on there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: ArtifactStore,
        settings: CorpusCacheSettings,
        place_of: Callable[[str], Path | None] | None = None,
        free_bytes: Callable[[Path], int] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """The folder is made when something is first fetched.

        Args:
            folder: where entries lie.
            store: where they come from.
            settings: the bounds.
            place_of: where a store on a disk of this machine keeps a file; such a file is linked instead of copied where
                both are on the same disk.
            free_bytes: of the disk that a folder is on.
            pause: waits between two looks.
        """
        self._folder = folder.absolute()
        self._store = store
        self._settings = settings
        self._place_of = place_of or _nowhere
        self._free_bytes = free_bytes or _free_bytes
        self._pause = pause

    def fetch(self, reference: FileReference, *, report: FetchReport = nobody_listens) -> CachedFile:
        """The file, fetched where it is not here; who comes while it is being fetched waits for that.

        Raises DATA_NOT_FOUND where the store has no such file, CONFIG_INVALID for one that is larger than the cache may
        become, ARTIFACT_CORRUPT, DISK_FULL, STORAGE_READ_ONLY and STORE_UNAVAILABLE.
        """
        entry = self.place_of_entry(reference)
        with self._writing():
            while (cached := _taken(entry, reference)) is None:
                with _filling(entry) as is_alone:
                    if is_alone:
                        self._fill(entry, reference, self._stored(reference), report=report)
                if not is_alone:
                    report(*_progress(entry))
                    self._pause(GLANCE_SECONDS)
            return cached

    def look(self, reference: FileReference) -> CachedFile | StoredFile:
        """The file, if it is here or can be had at once; else what the store knows of it. Raises what fetch() does, but
        DISK_FULL and STORAGE_READ_ONLY: who only looks may do without the file."""
        entry = self.place_of_entry(reference)
        stored = self._stored(reference)
        try:
            with _filling(entry) as is_alone:
                if is_alone and stored.num_bytes <= self._at_once_bytes(reference):
                    self._fill(entry, reference, stored, report=nobody_listens)
            return _taken(entry, reference) or stored
        except (AppError, OSError) as error:
            if isinstance(error, AppError) and error.code is not ErrorCode.DISK_FULL:
                raise
            log.warning("corpus_cache_not_written", detail=str(error))
            return stored

    def place_of_entry(self, reference: FileReference) -> Path:
        """The folder that a file lies in once it has been fetched."""
        return self._folder / reference.file_id

    def entries(self) -> tuple[CorpusCacheEntry, ...]:
        """See CorpusCache."""
        return tuple(seen.entry for seen in self._seen())

    def due(self, need_bytes: int = 0) -> tuple[CorpusCacheEntry, ...]:
        """See CorpusCache."""
        seen = self._seen()
        excess = self._excess(seen, need_bytes)
        found: list[CorpusCacheEntry] = []
        for entry in (each.entry for each in seen):
            if excess > 0 and entry.num_bytes and not _is_in_use(entry.path):
                excess -= entry.num_bytes
                found.append(entry)
        return tuple(found)

    def remove(self, entry: CorpusCacheEntry) -> bool:
        """See CorpusCache."""
        going = self._folder / f"{TEMPORARY_PREFIX}{new_ulid()}"
        with alone_in(entry.path) as is_ours:
            if is_ours:
                entry.path.rename(going)
        shutil.rmtree(going, ignore_errors=True)
        return is_ours

    def make_room(self, need_bytes: int) -> tuple[CorpusCacheEntry, ...]:
        """See CorpusCache."""
        for abandoned in self._folder.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(abandoned, ignore_errors=True)  # whose remover died half-way
        removed = tuple(entry for entry in self.due(need_bytes) if self.remove(entry))
        for entry in removed:
            log.info(
                "cleanup_completed",
                path=str(entry.path),
                bytes_freed=entry.num_bytes,
                files_deleted=1,
                dry_run=False,
            )
        if self._excess(self._seen(), need_bytes) > 0:
            raise AppError(
                ErrorCode.DISK_FULL,
                f"The corpus cache has no room for {need_bytes:,} more bytes: other runs read what is in it. Wait for them, "
                "free some space, or change APP__CORPUS_CACHE__MAX_BYTES or APP__CORPUS_CACHE__MIN_FREE_BYTES.",
            )
        return removed

    def _stored(self, reference: FileReference) -> StoredFile:
        stored = self._store.find(reference.file_id)
        if stored is None:
            raise _not_stored()
        return stored

    def _fill(
        self, entry: Path, reference: FileReference, stored: StoredFile, *, report: FetchReport
    ) -> None:
        """Makes the entry whole; nobody else is at it."""
        if _whole(entry) is not None or self._link(entry, reference, stored, report=report):
            return
        if stored.num_bytes > self._settings.max_bytes:
            raise AppError(
                ErrorCode.CONFIG_INVALID,
                f"has {stored.num_bytes:,} bytes, more than the corpus cache may hold; raise APP__CORPUS_CACHE__MAX_BYTES where "
                "the services run",
            )
        part = self._begun(entry, stored.num_bytes)
        was_resumed = part.stat().st_size > 0
        is_right = self._brought(part, stored, report=report)
        if was_resumed and not is_right:
            os.truncate(part, 0)  # what an earlier fetch left was damaged, as by a power cut
            is_right = self._brought(part, stored, report=report)
        if not is_right:
            part.unlink()
            raise _damaged()
        part.chmod(READ_ONLY)
        part.replace(entry / reference.name)
        fsync_folder(entry)

    def _at_once_bytes(self, reference: FileReference) -> int:
        is_near = self._place_of(reference.file_id) is not None
        return NEAR_AT_ONCE_BYTES if is_near else AT_ONCE_BYTES

    def _link(
        self, entry: Path, reference: FileReference, stored: StoredFile, *, report: FetchReport
    ) -> bool:
        """Whether the entry is whole now, by another name for the bytes that a store on the same disk has."""
        place = self._place_of(reference.file_id)
        if place is None:
            return False
        linked = entry / f"{TEMPORARY_PREFIX}link"
        linked.unlink(missing_ok=True)  # of a fetch that was killed
        try:
            os.link(place, linked, follow_symlinks=False)
        except OSError:
            return False  # on another disk, or no links here: it is copied then
        try:
            with linked.open("rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(PIECE_BYTES):
                    digest.update(piece)
                    report(file.tell(), stored.num_bytes)
            if digest.hexdigest() != stored.file_id:
                raise _damaged()
            linked.replace(entry / reference.name)
        finally:
            linked.unlink(missing_ok=True)
        return True

    def _begun(self, entry: Path, num_bytes: int) -> Path:
        """The file that the bytes go to, with room for all of them."""
        part = entry / f"{TEMPORARY_PREFIX}{num_bytes}"
        with alone_in(self._folder, waits=True):  # two that make room at once would both count on it
            self.make_room(0 if part.exists() else num_bytes)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        return part

    def _brought(self, part: Path, stored: StoredFile, *, report: FetchReport) -> bool:
        """Brings the part to its full length; whether it is the right file."""
        digest = hashlib.sha256()
        with part.open("r+b") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
            done = file.tell()
            for piece in self._read(stored, start=done):
                file.write(piece)
                digest.update(piece)
                done += len(piece)
                report(done, stored.num_bytes)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest() == stored.file_id

    def _read(self, stored: StoredFile, *, start: int) -> Iterator[bytes]:
        if start >= stored.num_bytes:
            return
        try:
            yield from self._store.read(stored.file_id, start=start)
        except AppError as error:
            if error.code is not ErrorCode.FILE_NOT_FOUND:
                raise
            raise _not_stored() from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Inside, a folder that cannot be written to is told as such."""
        try:
            with disk_errors(self._folder, setting=ROOT_SETTING):
                yield
        except OSError as error:
            raise AppError(
                ErrorCode.STORAGE_READ_ONLY,
                f"cannot be fetched: the corpus cache {self._folder} cannot be written to ({error.strerror}); let the services write "
                "there",
            ) from error

    def _seen(self) -> list[_Seen]:
        """All entries, longest unused first."""
        try:
            entries = [path for path in self._folder.iterdir() if is_file_id(path.name)]
        except FileNotFoundError:
            entries = []
        found = [seen for path in entries if (seen := _looked_at(path)) is not None]
        return sorted(found, key=_by_last_use)

    def _excess(self, seen: list[_Seen], need_bytes: int) -> int:
        """So many bytes must go before `need_bytes` may come."""
        if status_of(self._folder) is None:
            return 0
        total = sum(each.entry.num_bytes for each in seen)
        to_come = need_bytes + sum(each.missing_bytes for each in seen)
        free = self._free_bytes(self._folder)
        return max(
            total + need_bytes - self._settings.max_bytes, self._settings.min_free_bytes + to_come - free
        )


def _by_last_use(seen: _Seen) -> tuple[float, str]:
    return seen.entry.used_at, seen.entry.file_id


def _taken(entry: Path, reference: FileReference) -> CachedFile | None:
    """The whole file under the name asked for, held; None when it is not whole, or others are at it."""
    hold = held(entry)
    if hold is None:
        return None
    whole = _whole(entry)
    if whole is None:
        return None
    path = entry / reference.name
    if not path.exists():
        with suppress(FileExistsError):
            os.link(whole, path)
    hold.touch()
    return CachedFile(path=path, num_bytes=path.stat().st_size, hold=hold)


@contextmanager
def _filling(entry: Path) -> Iterator[bool]:
    """Makes an entry's folder; inside, whether nobody else is at it. A folder that stays empty goes again."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # pathlib's exist_ok fails for a folder that is removed at that moment
        entry.mkdir()
    with alone_in(entry) as is_alone:
        try:
            yield is_alone
        finally:
            if is_alone:
                with suppress(OSError):
                    entry.rmdir()


def _is_in_use(entry: Path) -> bool:
    with alone_in(entry) as is_free:
        return not is_free


def _whole(entry: Path) -> Path | None:
    """The file under one of its names; None before it is whole."""
    with os.scandir(entry) as names:
        return next((entry / each.name for each in names if not each.name.startswith(TEMPORARY_PREFIX)), None)


def _progress(entry: Path) -> tuple[int, int]:
    """How many bytes have come, of how many."""
    seen = _looked_at(entry)
    return (0, 0) if seen is None else (seen.entry.num_bytes - seen.missing_bytes, seen.entry.num_bytes)


def _looked_at(entry: Path) -> _Seen | None:
    """What an entry takes; None when it has gone meanwhile."""
    names: dict[int, int] = {}
    num_bytes = missing_bytes = 0
    try:
        used_at = entry.stat().st_mtime
        for path in entry.iterdir():
            status = path.lstat()
            planned = path.name.removeprefix(TEMPORARY_PREFIX)
            names[status.st_ino] = names.get(status.st_ino, 0) + 1
            if planned.isdigit():
                num_bytes += int(planned)
                missing_bytes += max(0, int(planned) - status.st_size)
            elif (
                names[status.st_ino] == status.st_nlink
            ):  # the last of its names; with one elsewhere it takes nothing here
                num_bytes += status.st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = CorpusCacheEntry(file_id=entry.name, path=entry, num_bytes=num_bytes, used_at=used_at)
    return _Seen(entry=found, missing_bytes=missing_bytes)


def _damaged() -> AppError:
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT,
        "is damaged in the store: its bytes have another digest; DELETE it there and upload it again",
    )


def _not_stored() -> AppError:
    return AppError(
        ErrorCode.DATA_NOT_FOUND,
        "is not in the store; upload it with POST /files (`model-trainer file upload`)",
    )


def _nowhere(_file_id: str) -> None:
    """Of a store whose files cannot be reached by a path."""


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
