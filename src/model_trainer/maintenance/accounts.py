"""The account of a run that ended without its worker: its last events and its manifest, written from its record."""

from pathlib import Path

from model_trainer.core.contracts.manifest import ArtifactKind
from model_trainer.core.contracts.run import RunKind, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree
from model_trainer.worker.account import close_account
from model_trainer.worker.event_mirror import EventMirror

log = get_logger(__name__)


class AccountCloser:
    """Called with the runs that the reaper touched; those that ended there are brought to their end on disk too."""

    def __init__(self, *, runs: RunStore, artifacts: ArtifactTree) -> None:
        """Nothing is written yet."""
        self._runs = runs
        self._artifacts = artifacts

    def __call__(self, run_ids: tuple[str, ...]) -> None:
        """A run that is queued again is left alone; so is one that never had a folder."""
        for run_id in run_ids:
            try:
                record = self._runs.get(run_id)
                if record.status.is_terminal:
                    self._close(record)
            except (AppError, OSError) as error:
                log.warning("account_not_closed", run_id=run_id, detail=str(error))
                if not isinstance(error, AppError) or error.code is not ErrorCode.RUN_NOT_FOUND:
                    continue  # asked for again in the next round
            self._runs.accounted(run_id)

    def _close(self, record: RunRecord) -> None:
        folder = self._folder(record)
        if folder is None or not folder.is_dir():
            return
        EventMirror(folder / "events.jsonl").catch_up(self._runs, record.run_id)
        if record.kind is not RunKind.EVALUATE:
            close_account(record, self._artifacts)
        log.info("account_closed", run_id=record.run_id, status=record.status.value)

    def _folder(self, record: RunRecord) -> Path | None:
        kind: ArtifactKind = "tokenizers" if record.kind is RunKind.TOKENIZER else "models"
        owner = record.parent_run_id if record.kind is RunKind.EVALUATE else record.run_id
        if owner is None or not self._artifacts.exists(kind, owner):
            return None
        folder = self._artifacts.folder(kind, owner)
        return folder / "eval" / record.run_id if record.kind is RunKind.EVALUATE else folder
