"""What the store knows of a run, for one that Redis has lost: what the run needs there, and its events where its folder has gone."""

import tempfile
from pathlib import Path

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunKind, RunRecord
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.core.stored_artifact import form_at, things_stored_at
from model_trainer.orchestrators.needs import things_needed
from model_trainer.worker.kept_events import read_events

EVENTS = "events.jsonl"


class StoredSide:
    """Both methods raise STORE_UNAVAILABLE, FILE_NOT_FOUND or ARTIFACT_CORRUPT when it cannot be known."""

    def __init__(self, *, references: References, store: ArtifactStore) -> None:
        """Nothing is asked yet."""
        self._references = references
        self._store = store

    def refer(self, record: RunRecord) -> None:
        """Says again what a run was ordered with, then what it has left in the store; CONFLICT while one of these is being
        removed."""
        needed = things_needed(record.spec)
        if needed:
            self._references.refer(record.run_id, needed)
        if record.artifact_file_id is not None:
            stored = things_stored_at(
                self._store, record.artifact_file_id, kind=_kind_of(record), item_id=record.run_id
            )
            self._references.refer(record.run_id, stored)

    def events(self, record: RunRecord) -> tuple[StoredEvent, ...]:
        """The events that lie in the store; none for a run that is not there, or in a tarball."""
        if record.artifact_file_id is None:
            return ()
        form = form_at(self._store, record.artifact_file_id, kind=_kind_of(record), item_id=record.run_id)
        files = {} if form is None else {file.path: file.sha256 for file in form.files}
        if EVENTS not in files:
            return ()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / EVENTS
            with path.open("wb") as file:
                file.writelines(self._store.read(files[EVENTS]))
            return read_events(path)


def _kind_of(record: RunRecord) -> ArtifactKind:
    return "tokenizers" if record.kind is RunKind.TOKENIZER else "models"
