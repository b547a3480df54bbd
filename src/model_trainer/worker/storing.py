"""Brings a sealed artifact folder into the store, file by file or as one tarball. May be done again and again: what the store
has is passed over."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.manifest import ArtifactFile, ArtifactKind
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached, pass_by
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.core.stored_artifact import StoredForm, stored_form, stored_things
from model_trainer.core.tarball import changed, pack

Layout = Literal["files", "tarball"]
Report = Callable[[float], None]
"""Told the share that is stored; may raise to stop."""
Refer = Callable[[Sequence[str]], None]
"""Says, before anything is stored, which files (`file:<file_id>`) are needed from now on."""

_REPLACED_ONLY = ".safetensors"
"""Of files that are only ever replaced by a new one, never written to, large or not: see engine/tensor_files.py."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact that the store has acknowledged."""

    file_id: str
    """Its address: the digest of its manifest, or of its tarball."""
    manifest_sha256: str


def read_form(folder: Path, *, kind: ArtifactKind, item_id: str) -> StoredForm:
    """What a folder's manifest says now. Raises ARTIFACT_CORRUPT."""
    try:
        manifest_bytes = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise changed(MANIFEST) from error
    return stored_form(manifest_bytes, kind=kind, item_id=item_id)


def store_artifact(
    form: StoredForm,
    folder: Path,
    store: ArtifactStore,
    *,
    layout: Layout,
    refer: Refer,
    report: Report = lambda _: None,
    reached: Reached = pass_by,
) -> StoredArtifact:
    """Stores every file that the manifest lists, then the manifest; or all of them as one tarball.

    Of a log that has grown since, the sealed beginning is stored. Raises ARTIFACT_CORRUPT when a file is not as the manifest says,
    what the store raises, and what `refer` and `report` do.
    """
    reached(Failpoint.UPLOAD_BEGUN)
    match layout:
        case "files":
            file_id = _store_files(form, folder, store, refer=refer, report=report, reached=reached)
        case "tarball":
            file_id = _store_tarball(form, folder, store, refer=refer, reached=reached)
        case _:
            assert_never(layout)
    reached(Failpoint.UPLOAD_MANIFEST_STORED)
    return StoredArtifact(file_id=file_id, manifest_sha256=form.manifest_sha256)


def _store_files(
    form: StoredForm,
    folder: Path,
    store: ArtifactStore,
    *,
    refer: Refer,
    report: Report,
    reached: Reached,
) -> str:
    file_id = form.manifest_sha256
    refer(stored_things(form.manifest, file_id=file_id))
    done, total = 0, max(1, form.num_bytes)
    for file in form.files:
        report(done / total)
        with _naming(file.path):
            _store_file(folder / file.path, file, store)
        done += file.num_bytes
        reached(Failpoint.UPLOAD_FILE_STORED)
    report(1.0)
    with _beside(folder) as copy:
        # The bytes that were read and that name the files: the manifest itself may be another one by now.
        copy.write_bytes(form.manifest_bytes)
        store.put(copy, file_id=file_id, num_bytes=len(form.manifest_bytes))
    return file_id


def _store_file(path: Path, file: ArtifactFile, store: ArtifactStore) -> None:
    if store.is_local and path.suffix == _REPLACED_ONLY:
        # A local store links files that nobody will write to, instead of keeping gigabytes twice.
        path.chmod(path.stat().st_mode & 0o444)
    store.put(path, file_id=file.sha256, num_bytes=file.num_bytes)


def _store_tarball(
    form: StoredForm, folder: Path, store: ArtifactStore, *, refer: Refer, reached: Reached
) -> str:
    with _beside(folder) as tarball:
        with disk_errors(tarball), tarball.open("wb") as target:
            file_id, num_bytes = pack(form, folder, target)
        refer((f"file:{file_id}",))
        reached(Failpoint.UPLOAD_FILE_STORED)
        tarball.chmod(0o444)
        store.put(tarball, file_id=file_id, num_bytes=num_bytes)
    return file_id


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A temporary file on the disk of the artifact, where the clean-up finds it."""
    with (
        disk_errors(folder),
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as making,
    ):
        yield Path(making) / folder.name


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """What is wrong with a file of the folder is said with its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise changed(path) from error
    except AppError as error:
        if error.code is not ErrorCode.DIGEST_MISMATCH:
            raise
        raise changed(path) from error
