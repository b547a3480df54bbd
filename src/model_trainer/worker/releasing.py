"""What a run is said to need of the store for its artifact's sake: taken back when the run does not end with that artifact."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.files import references_in
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError
from model_trainer.core.files import sha256_of
from model_trainer.core.ports.store import References
from model_trainer.core.stored_artifact import stored_things
from model_trainer.worker.manifests import read_manifest


def release_artifact(references: References, record: RunRecord, things: Iterable[str]) -> None:
    """The run needs these no more, but for what it was ordered with. Raises STORE_UNAVAILABLE."""
    ordered_with = {f"file:{file_id}" for file_id in references_in(record.spec)}
    references.release(record.run_id, sorted(set(things) - ordered_with))


def release_handed_in(references: References, record: RunRecord, folder: Path) -> None:
    """The same for what a worker that was lost may have stored of this folder: the folder was sealed as complete then, and is
    still. Raises STORE_UNAVAILABLE."""
    things = set() if record.artifact_file_id is None else {f"file:{record.artifact_file_id}"}
    with suppress(AppError):  # without a manifest that can be read nothing was stored
        manifest = read_manifest(folder)
        if manifest.status == "completed":
            things.update(stored_things(manifest, file_id=sha256_of(folder / MANIFEST)))
    if things:
        release_artifact(references, record, things)
