"""What an artifact in the store consists of: its manifest's bytes, and the files that these name by digest. Names are checked here.

With layout `files` the manifest and each file are stored by their digests; with `tarball` all are one archive.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.files import is_file_id
from model_trainer.core.contracts.manifest import ArtifactFile, ArtifactKind, Manifest
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, is_plain_name
from model_trainer.core.ports.store import ArtifactStore

GROWING = frozenset({"logs.jsonl", "events.jsonl"})
"""Only ever appended to: what was sealed must still stand, more may follow."""
MOST_MANIFEST_BYTES = 64 * 1024 * 1024
"""A manifest of 100,000 files has a quarter of that."""
MOST_NAME_BYTES = 1024
MOST_PART_BYTES = 255
"""Of the name of one file or folder: no common file system has longer ones."""
_REPLACES_NOTHING = "evaluate_model"
"""Of later jobs: the others give files of the model another content."""
MANIFEST_BEGINS = b"{"
"""A tarball begins with the name of its first file."""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """One artifact as its manifest describes it."""

    manifest_bytes: bytes
    manifest: Manifest
    files: tuple[ArtifactFile, ...]
    """All but the manifest itself, each once, by path."""

    @property
    def manifest_sha256(self) -> str:
        """Its address with layout `files`."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def num_bytes(self) -> int:
        """Of all files, the manifest left out."""
        return sum(file.num_bytes for file in self.files)


def stored_form(manifest_bytes: bytes, *, kind: ArtifactKind, item_id: str) -> StoredForm:
    """Reads a manifest that comes from elsewhere. Raises ARTIFACT_CORRUPT when it is no manifest of this item, or names
    files that nobody should write: outside the folder, one inside another, with a size or a digest that is none."""
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        raise corrupt("its manifest cannot be read") from error
    if (manifest.kind, manifest.item_id) != (kind, item_id):
        raise corrupt(f"its manifest is that of {manifest.item_id[:80]!r} among the {manifest.kind}")
    files = listed_files(manifest)
    taken: set[str] = set()
    for file in files:
        _require_sane(file)
        taken.update(parent.as_posix() for parent in PurePosixPath(file.path).parents)
    both = sorted(taken & {file.path for file in files})
    if both:
        raise corrupt(f"its manifest has {both[0]!r} as a file and as a folder")
    return StoredForm(manifest_bytes=manifest_bytes, manifest=manifest, files=files)


def listed_files(manifest: Manifest) -> tuple[ArtifactFile, ...]:
    """All files that a manifest knows, each once, by path; what was sealed counts before what a revision says."""
    listed = {file.path: file for revision in manifest.revisions for file in revision.files}
    listed |= {file.path: file for file in manifest.files}
    return tuple(listed[path] for path in sorted(listed))


def files_of(folder: Path) -> Iterator[Path]:
    """Everything in an artifact folder but its folders and what is temporary."""
    for path in folder.rglob("*"):
        is_temporary = any(part.startswith(TEMPORARY_PREFIX) for part in path.relative_to(folder).parts)
        if not is_temporary and (path.is_symlink() or not path.is_dir()):
            yield path


def is_all(form: StoredForm, folder: Path) -> bool:
    """Whether there is what the manifest lists, of that size, and nothing besides but the manifest itself."""
    found = {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files_of(folder)}
    return found == {file.path: file.num_bytes for file in form.files} | {MANIFEST: len(form.manifest_bytes)}


def missing_here(ours: Manifest, theirs: Manifest) -> tuple[ArtifactFile, ...]:
    """What our copy of an artifact must take from another, to have all that was added to either since they were one.

    Files that we have not; logs that have grown further there; and, where both have a file in different words, theirs if
    the latest job that changed theirs without our knowing ended after the latest that changed ours without their knowing.
    """
    here = {file.path: file for file in listed_files(ours)}
    is_theirs_newer = _changed_at(theirs, unknown_to=ours) > _changed_at(ours, unknown_to=theirs)

    def is_missing(file: ArtifactFile) -> bool:
        known = here.get(file.path)
        if known is None or known.sha256 == file.sha256:
            return known is None
        if PurePosixPath(file.path).name in GROWING:
            return file.num_bytes > known.num_bytes
        return is_theirs_newer

    return tuple(filter(is_missing, listed_files(theirs)))


def has_all_of(theirs: Manifest, ours: Manifest) -> bool:
    """Whether nothing is lost when their copy of an artifact takes the place of ours."""
    job_ids = {revision.job_id for revision in theirs.revisions}
    is_known = all(revision.job_id in job_ids for revision in ours.revisions)
    return is_known and not missing_here(theirs, ours)


def stored_things(manifest: Manifest, *, file_id: str) -> tuple[str, ...]:
    """What an artifact that is stored at `file_id` needs of the store, as References name it: itself and its files."""
    ids = {file_id, *(file.sha256 for file in listed_files(manifest))}
    return tuple(f"file:{each}" for each in sorted(ids))


def things_stored_at(
    store: ArtifactStore, file_id: str, *, kind: ArtifactKind, item_id: str
) -> tuple[str, ...]:
    """The same of an artifact that is in the store, by its manifest there; of a tarball, itself alone.

    Raises FILE_NOT_FOUND, ARTIFACT_CORRUPT, STORE_UNAVAILABLE.
    """
    form = form_at(store, file_id, kind=kind, item_id=item_id)
    return (f"file:{file_id}",) if form is None else stored_things(form.manifest, file_id=file_id)


def form_at(store: ArtifactStore, file_id: str, *, kind: ArtifactKind, item_id: str) -> StoredForm | None:
    """What the manifest that is stored at `file_id` says; None where a tarball is. Raises as things_stored_at()."""
    if not b"".join(store.read(file_id, stop=1)).startswith(MANIFEST_BEGINS):
        return None
    return stored_form(whole_manifest(store.read(file_id)), kind=kind, item_id=item_id)


def whole_manifest(pieces: Iterator[bytes]) -> bytes:
    """All pieces of a manifest together; raises ARTIFACT_CORRUPT when they are too many."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > MOST_MANIFEST_BYTES:
            raise corrupt("its manifest is too large")
    return bytes(found)


def corrupt(why: str) -> AppError:
    """An artifact that must not be used as it is."""
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT,
        f"The stored artifact is damaged: {why}. Nothing of it was used. Store it again from a copy, or make it again.",
    )


def _changed_at(manifest: Manifest, *, unknown_to: Manifest) -> str:
    """When the latest job changed files that were there before, of those that the other account does not know."""
    known = {revision.job_id for revision in unknown_to.revisions}
    changes = (
        each for each in manifest.revisions if each.job != _REPLACES_NOTHING and each.job_id not in known
    )
    return max((each.created_at for each in changes), default="")


def _require_sane(file: ArtifactFile) -> None:
    is_named = all(
        is_plain_name(part) and len(part.encode(errors="replace")) <= MOST_PART_BYTES
        for part in file.path.split("/")
    )
    if not is_named or file.path == MANIFEST or len(file.path.encode(errors="replace")) > MOST_NAME_BYTES:
        raise corrupt(f"its manifest names a file {file.path[:80]!r}")
    if file.num_bytes < 0 or not is_file_id(file.sha256):
        raise corrupt(f"its manifest has no right size and digest for {file.path[:80]!r}")
