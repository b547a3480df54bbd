"""Brings one artifact out of the store into an empty folder: every name checked, every digest, and nothing beside them."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import fsync_folder
from model_trainer.core.ports.storage import FetchReport, nobody_listens
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.core.stored_artifact import MANIFEST_BEGINS, corrupt, stored_form, whole_manifest
from model_trainer.core.tarball import unpack, write_verified


def fetch_artifact(
    store: ArtifactStore,
    file_id: str,
    folder: Path,
    *,
    kind: ArtifactKind,
    item_id: str,
    report: FetchReport = nobody_listens,
) -> None:
    """Writes all files of a stored artifact into `folder`, durably, the manifest last.

    `file_id` is that of its manifest or of its tarball: the content says which. `report` is told after each piece; of a
    tarball nobody knows how much is to come. Raises ARTIFACT_CORRUPT for anything that is missing or is not as the manifest
    says, STORE_UNAVAILABLE, DISK_FULL; what was written by then is the caller's to remove.
    """
    pieces = _told(_read(store, file_id), report=report)
    first = next(pieces, b"")
    content = _verified(chain([first], pieces), file_id)
    if first.startswith(MANIFEST_BEGINS):
        _fetch_files(store, content, folder, kind=kind, item_id=item_id, report=report)
    else:
        unpack(content, folder, kind=kind, item_id=item_id)
    for place in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        fsync_folder(place)


def _fetch_files(
    store: ArtifactStore,
    content: Iterator[bytes],
    folder: Path,
    *,
    kind: ArtifactKind,
    item_id: str,
    report: FetchReport,
) -> None:
    manifest_bytes = whole_manifest(content)
    form = stored_form(manifest_bytes, kind=kind, item_id=item_id)
    done = 0
    for file in form.files:
        pieces = _told(_read(store, file.sha256), report=report, done=done, total=form.num_bytes)
        write_verified(folder / file.path, pieces, sha256=file.sha256, num_bytes=file.num_bytes)
        done += file.num_bytes
    write_verified(
        folder / MANIFEST, iter([manifest_bytes]), sha256=form.manifest_sha256, num_bytes=len(manifest_bytes)
    )


def _told(pieces: Iterator[bytes], *, report: FetchReport, done: int = 0, total: int = 0) -> Iterator[bytes]:
    for piece in pieces:
        done += len(piece)
        report(done, total)
        yield piece


def _verified(pieces: Iterator[bytes], file_id: str) -> Iterator[bytes]:
    """The same pieces; raises behind the last one unless they are the file that was asked for."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != file_id:
        raise corrupt(f"the store has other bytes under {file_id}")


def _read(store: ArtifactStore, file_id: str) -> Iterator[bytes]:
    try:
        yield from store.read(file_id)
    except AppError as error:
        if error.code is not ErrorCode.FILE_NOT_FOUND:
            raise
        raise corrupt(f"the store has no file {file_id} any more") from error
