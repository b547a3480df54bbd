"""Artifact folders and run pointers on this machine's disk. Knows names and places, not what the files hold."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.contracts.ids import is_ulid, new_ulid
from model_trainer.core.contracts.manifest import ArtifactKind, RunPointer
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import (
    TEMPORARY_PREFIX,
    disk_errors,
    fsync_folder,
    is_plain_name,
    write_atomically,
)
from model_trainer.core.ports.storage import FetchReport, KeptRecord, nobody_listens
from model_trainer.infra.storage.file_lock import locked
from model_trainer.infra.storage.installation import installation_id_of
from model_trainer.infra.storage.kept_records import keep_record, read_records

CACHE_FOLDER = "cache"
POINTER = "manifest.json"
IN_USE = "in_use"
"""Locked by those who use an artifact, and by whoever removes its folder; its time of last change is that of the last use."""
FETCHING = "fetching"
"""Locked by whoever brings an artifact back."""


class LocalArtifactTree:
    """`<artifacts root>/{models,tokenizers}/<id>/...`, `<artifacts root>/cache`, `<artifacts root>/installation.json`,
    `<runs root>/<run_id>/{manifest,record}.json`."""

    def __init__(self, artifacts_root: Path, runs_root: Path) -> None:
        """Folders are made when they are first written to."""
        self._artifacts_root = artifacts_root.absolute()
        self._runs_root = runs_root.absolute()
        self._installation_id: str | None = None

    def create(self, kind: ArtifactKind, item_id: str) -> Path:
        """The folder of an item, made when it is missing."""
        self._require_id(item_id)
        folder = self._artifacts_root / kind / item_id
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return self.folder(kind, item_id)

    def folder(self, kind: ArtifactKind, item_id: str) -> Path:
        """The folder of an item; raises ARTIFACT_NOT_FOUND, also for an id of another shape and for a link."""
        self._require_id(item_id)
        folder = self.here(kind, item_id)
        if folder is None:
            raise _not_found(f"There is no {item_id} among the {kind}.")
        self._note_use(item_id)
        return folder

    def here(self, kind: ArtifactKind, item_id: str) -> Path | None:
        """The folder of an item; None when it has none, also for an id of another shape and for a link."""
        folder = self._artifacts_root / kind / item_id
        return folder if is_ulid(item_id) and stat.S_ISDIR(_mode(folder)) else None

    @contextmanager
    def use(
        self, kind: ArtifactKind, item_id: str, *, report: FetchReport = nobody_listens
    ) -> Iterator[Path]:
        """The folder of an item; inside the with-block remove() finds it in use, in all processes of this machine. Raises
        ARTIFACT_NOT_FOUND. It is here or nowhere: nothing is fetched, and `report` has nothing to be told."""
        self.folder(kind, item_id)  # first: for what does not exist nothing is made
        with self.held(item_id):
            yield self.folder(kind, item_id)

    @contextmanager
    def held(self, item_id: str) -> Iterator[None]:
        """Inside, remove() finds the item in use, whether it has a folder or not; raises ARTIFACT_NOT_FOUND for an id of
        another shape."""
        place = self._run_folder(item_id) / IN_USE
        with locked(place, "shared"):
            place.touch()
            try:
                yield
            finally:
                self._note_use(item_id)

    def used_at(self, kind: ArtifactKind, item_id: str) -> float:
        """When folder() or use() was asked for the item last, or its folder made; in seconds since 1970."""
        places = (self._runs_root / item_id / IN_USE, self._artifacts_root / kind / item_id)
        return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)

    def remove(self, kind: ArtifactKind, item_id: str, *, if_still: Callable[[Path], bool]) -> bool:
        """Takes the folder of an item away; False when it is not here or in use, or when `if_still` says no.

        It loses its name first: a crash leaves a temporary folder that the clean-up removes, never half an artifact.
        """
        return self._take_away(kind, item_id, if_still=if_still, successor=None)

    def replace(
        self, kind: ArtifactKind, item_id: str, successor: Path, *, if_still: Callable[[Path], bool]
    ) -> bool:
        """As remove(), and `successor`, a folder of new_place(), has the name at once."""
        return self._take_away(kind, item_id, if_still=if_still, successor=successor)

    def _take_away(
        self, kind: ArtifactKind, item_id: str, *, if_still: Callable[[Path], bool], successor: Path | None
    ) -> bool:
        if self.here(kind, item_id) is None:
            return False
        try:
            with locked(self._run_folder(item_id) / IN_USE, "alone_at_once"):
                folder = self.here(kind, item_id)
                if folder is None or not if_still(folder):
                    return False
                going = folder.rename(folder.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}"))
                if successor is not None:
                    successor.rename(folder)
                fsync_folder(folder.parent)
        except BlockingIOError:
            return False
        shutil.rmtree(going)
        return True

    def new_place(self, kind: ArtifactKind, item_id: str) -> tuple[Path, Path]:
        """Where the folder of an item that is not here belongs, and a new temporary folder beside it."""
        self._require_id(item_id)
        making = self._artifacts_root / kind / f"{TEMPORARY_PREFIX}{new_ulid()}"
        with disk_errors(making):
            making.mkdir(parents=True)
        return self._artifacts_root / kind / item_id, making

    @contextmanager
    def fetching(self, item_id: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """Inside, nobody else on this machine brings the item back; who waits for that has `waiting` called meanwhile."""
        with locked(self._run_folder(item_id) / FETCHING, "alone", waiting=waiting):
            yield

    def exists(self, kind: ArtifactKind, item_id: str) -> bool:
        """Whether the item has a folder."""
        return self.here(kind, item_id) is not None

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        """A regular file inside an item's folder; raises ARTIFACT_NOT_FOUND for anything else.

        `path` is relative, with forward slashes, as files() names it.
        """
        found = self.folder(kind, item_id)
        *folders, name = path.split("/")
        for part in folders:
            found /= part
            if not is_plain_name(part) or not stat.S_ISDIR(_mode(found)):
                raise _no_file(path)
        found /= name
        if not is_plain_name(name) or not stat.S_ISREG(_mode(found)):
            raise _no_file(path)
        return found

    def files(self, kind: ArtifactKind, item_id: str) -> tuple[str, ...]:
        """Relative names of all regular files of an item, sorted; temporary ones and links left out."""
        folder = self.folder(kind, item_id)
        return tuple(sorted(path.relative_to(folder).as_posix() for path in _regular_files(folder)))

    def cache_folder(self) -> Path:
        """Where token blocks are kept between runs; made when it is missing."""
        folder = self._artifacts_root / CACHE_FOLDER
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_pointer(self, pointer: RunPointer) -> None:
        """Writes `<runs root>/<run_id>/manifest.json` atomically. Where the artifact is stored stays known from the pointer
        before when this one does not say."""
        folder = self._run_folder(pointer.run_id)
        with locked(folder, "alone"):
            before = self.read_pointer(pointer.run_id)
            if pointer.artifact_file_id is None and before is not None:
                stored: dict[str, object] = {
                    "artifact_file_id": before.artifact_file_id,
                    "stored_manifest_sha256": before.stored_manifest_sha256,
                }
                pointer = pointer.model_copy(update=stored)
            write_atomically(folder / POINTER, pointer.model_dump_json(indent=2).encode() + b"\n")

    def read_pointer(self, run_id: str) -> RunPointer | None:
        """The pointer of a run; None when there is none that can be read."""
        self._require_id(run_id)
        try:
            return RunPointer.model_validate_json((self._runs_root / run_id / POINTER).read_bytes())
        except (OSError, ValidationError):
            return None

    def installation_id(self) -> str:
        """Whose artifacts these are: a ULID, made and kept on disk at the first call of any process."""
        if self._installation_id is None:
            self._installation_id = installation_id_of(self._artifacts_root)
        return self._installation_id

    def keep_record(self, record: RunRecord) -> None:
        """Writes `<runs root>/<run_id>/record.json` atomically; an older record does not replace a newer one."""
        keep_record(self._run_folder(record.run_id), record, installation_id=self.installation_id())

    def kept_records(self) -> Iterator[KeptRecord]:
        """All records on disk, oldest id first; one that cannot be read comes with the reason."""
        return read_records(self._runs_root)

    def free_bytes(self) -> int:
        """Free space where artifacts go, also before the folder is there."""
        places = (self._artifacts_root, *self._artifacts_root.parents)
        return shutil.disk_usage(next(place for place in places if place.exists())).free

    def _run_folder(self, run_id: str) -> Path:
        self._require_id(run_id)
        folder = self._runs_root / run_id
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _note_use(self, item_id: str) -> None:
        with suppress(
            OSError
        ):  # no folder of such a run, a disk that may only be read: nothing will be removed there
            (self._runs_root / item_id / IN_USE).touch()

    def _require_id(self, item_id: str) -> None:
        if not is_ulid(item_id):
            raise _not_found("An artifact's id is a 26-character ULID, as returned when it was made.")


def _regular_files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _regular_files(folder / entry.name)
            elif entry.is_file(follow_symlinks=False):
                yield folder / entry.name


def _mode(path: Path) -> int:
    """The kind of what is there, links not followed; 0 for nothing."""
    try:
        return path.lstat().st_mode
    except (
        OSError,
        ValueError,
    ):  # missing, or a name that no file can have: too long, a NUL, a lone surrogate
        return 0


def _no_file(path: str) -> AppError:
    return _not_found(f"The artifact has no file {path[:200]!r}; its listing names all it has.")


def _not_found(message: str) -> AppError:
    return AppError(ErrorCode.ARTIFACT_NOT_FOUND, message)
