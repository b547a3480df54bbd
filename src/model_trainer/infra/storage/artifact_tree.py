"""Artifact folders and run pointers on this machine's disk. Knows names and places, not what the files hold."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.contracts.manifest import ArtifactKind, RunPointer
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, write_atomically
from model_trainer.core.ports.storage import KeptRecord
from model_trainer.infra.storage.installation import installation_id_of
from model_trainer.infra.storage.kept_records import keep_record, read_records

CACHE_FOLDER = "cache"


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
        folder = self._artifacts_root / kind / item_id
        if not stat.S_ISDIR(_mode(folder)):
            raise _not_found(f"There is no {item_id} among the {kind}.")
        return folder

    def exists(self, kind: ArtifactKind, item_id: str) -> bool:
        """Whether the item has a folder."""
        return is_ulid(item_id) and stat.S_ISDIR(_mode(self._artifacts_root / kind / item_id))

    def file(self, kind: ArtifactKind, item_id: str, path: str) -> Path:
        """A regular file inside an item's folder; raises ARTIFACT_NOT_FOUND for anything else.

        `path` is relative, with forward slashes, as files() names it.
        """
        found = self.folder(kind, item_id)
        *folders, name = path.split("/")
        for part in folders:
            found /= part
            if not _is_plain(part) or not stat.S_ISDIR(_mode(found)):
                raise _no_file(path)
        found /= name
        if not _is_plain(name) or not stat.S_ISREG(_mode(found)):
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
        """Writes `<runs root>/<run_id>/manifest.json` atomically."""
        folder = self._run_folder(pointer.run_id)
        write_atomically(folder / "manifest.json", pointer.model_dump_json(indent=2).encode() + b"\n")

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


def _is_plain(name: str) -> bool:
    return (
        name not in ("", ".", "..") and not name.startswith(TEMPORARY_PREFIX) and not set(name) & set("\\\0:")
    )


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
