"""Where the files of a run lie."""

from pathlib import Path

from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunKind, RunRecord
from model_trainer.core.ports.storage import ArtifactTree


def folder_of(record: RunRecord, artifacts: ArtifactTree) -> Path | None:
    """The folder a run writes to; None when it never came so far as to have one, or when it has left this machine."""
    kind: ArtifactKind = "tokenizers" if record.kind is RunKind.TOKENIZER else "models"
    follow_up = record.kind.follow_up_folder
    owner = record.run_id if follow_up is None else record.parent_run_id
    folder = None if owner is None else artifacts.here(kind, owner)
    if folder is None:
        return None
    if follow_up is not None:
        folder = folder / follow_up / record.run_id
    return folder if folder.is_dir() else None
