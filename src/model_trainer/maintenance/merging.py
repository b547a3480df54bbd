"""Takes over what another machine has added to an artifact that was changed here too, so that what is stored next has both."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from model_trainer.core.artifact_files import MODEL
from model_trainer.core.contracts.manifest import ArtifactFile, ArtifactKind
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder
from model_trainer.core.ports.store import ArtifactStore
from model_trainer.core.stored_artifact import StoredForm, missing_here
from model_trainer.core.tarball import PIECE_BYTES, unpack, write_verified
from model_trainer.maintenance.leftovers import alone_with
from model_trainer.worker.manifests import read_manifest, take_over


def merge_into(
    folder: Path,
    theirs: StoredForm | None,
    store: ArtifactStore,
    file_id: str,
    *,
    kind: ArtifactKind,
    item_id: str,
) -> tuple[str, ...]:
    """Brings into our copy what the one that is stored at `file_id` has more; the paths that came.

    `theirs`: its form; None of a tarball, which is unpacked beside the folder. May be done again after it was interrupted. Raises
    BlockingIOError while a job changes the model's files here, FILE_NOT_FOUND and ARTIFACT_CORRUPT when something of theirs
    cannot be had, STORE_UNAVAILABLE, DISK_FULL: nothing of ours is lost then.
    """
    with _beside(folder) as making, _nobody_changes(folder):
        if theirs is None:
            theirs = unpack(store.read(file_id), making, kind=kind, item_id=item_id)
            read = _reader_of(making)
        else:
            read = _reader(store)
        ours = read_manifest(folder)
        files = missing_here(ours, theirs.manifest)
        with _beside(folder) as coming:
            for file in files:
                write_verified(coming / file.path, read(file), sha256=file.sha256, num_bytes=file.num_bytes)
            for file in files:
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                (coming / file.path).replace(target)
                fsync_folder(target.parent)
        take_over(folder, files, theirs.manifest)
    return tuple(file.path for file in files)


def _reader(store: ArtifactStore) -> Callable[[ArtifactFile], Iterator[bytes]]:
    def read(file: ArtifactFile) -> Iterator[bytes]:
        return store.read(file.sha256)

    return read


def _reader_of(folder: Path) -> Callable[[ArtifactFile], Iterator[bytes]]:
    def read(file: ArtifactFile) -> Iterator[bytes]:
        with (folder / file.path).open("rb") as source:
            while piece := source.read(PIECE_BYTES):
                yield piece

    return read


def _nobody_changes(folder: Path) -> AbstractContextManager[None]:
    """Inside, no job replaces files of the model: they lock the folder of its weights."""
    weights = folder / MODEL
    return alone_with(weights) if weights.is_dir() else nullcontext()


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    with (
        disk_errors(folder),
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder.parent) as making,
    ):
        yield Path(making)
