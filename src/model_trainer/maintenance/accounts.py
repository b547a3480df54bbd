"""The account of a run that ended without its worker: its last events, its manifest and its record, and nothing torn."""

from pathlib import Path

from model_trainer.core.artifact_files import MANIFEST
from model_trainer.core.contracts.run import FOLLOW_UP_FOLDERS, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.core.ports.storage import ArtifactTree, RunLocks
from model_trainer.core.ports.store import References
from model_trainer.maintenance.asking import PatientAsker
from model_trainer.maintenance.folders import folder_of
from model_trainer.maintenance.leftovers import alone_with, delete_whole, temporary_places
from model_trainer.maintenance.reaper import Keep
from model_trainer.worker.account import close_account, close_evaluation
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.releasing import release_handed_in

log = get_logger(__name__)

ACCOUNTS_AT_ONCE = 100


class AccountCloser:
    """Brings ends to disk that nobody brought there."""

    def __init__(
        self,
        *,
        runs: RunStore,
        artifacts: ArtifactTree,
        locks: RunLocks,
        references: References,
        keep: Keep,
        asker: PatientAsker,
    ) -> None:
        """Nothing is written yet."""
        self._references = references
        self._runs = runs
        self._artifacts = artifacts
        self._locks = locks
        self._keep = keep
        self._asker = asker

    def close_due(self) -> None:
        """One look. What cannot be brought to disk now stays for the next look and delays no other."""
        for run_id in self._asker.ask(self._due) or ():
            try:
                if self.close(run_id):
                    self._runs.accounted(run_id)
            except (AppError, OSError, ValueError) as error:
                log.warning("account_not_closed", run_id=run_id, detail=str(error))

    def close(self, run_id: str) -> bool:
        """Whether there is nothing left to do. A run that goes on again is left alone; an owner that has lost it but
        still works is waited for."""
        record = self._found(run_id)
        if record is None or not record.status.is_terminal:
            return True
        lock = self._locks.take_if_free(run_id)
        if lock is None:
            return False
        try:
            record = self._found(run_id)  # it may have been resumed before the lock was ours
            if record is not None and record.status.is_terminal:
                return self._close(record)
        finally:
            lock.release()
        return True

    def _due(self) -> tuple[str, ...]:
        return self._runs.unaccounted(ACCOUNTS_AT_ONCE)

    def _found(self, run_id: str) -> RunRecord | None:
        try:
            return self._runs.get(run_id)
        except AppError as error:
            if error.code is ErrorCode.RUN_NOT_FOUND:
                return None
            raise

    def _close(self, record: RunRecord) -> bool:
        """Whether all of it is on disk; the store may have been away for the last events."""
        folder, is_whole = folder_of(record, self._artifacts), True
        if folder is not None:
            _sweep(folder)
            is_whole = EventMirror(folder / "events.jsonl").catch_up(self._runs, record.run_id)
            if record.kind.follow_up_folder is None:
                if record.status is not RunStatus.COMPLETED:
                    release_handed_in(
                        self._references, record, folder
                    )  # first: this changes what the manifest says
                close_account(record, self._artifacts)
            elif record.parent_run_id is not None and (folder.parent.parent / MANIFEST).exists():
                evaluated = self._runs.get(record.parent_run_id)
                close_evaluation(record, self._artifacts, evaluated=evaluated)
            log.info("account_closed", run_id=record.run_id, status=record.status.value)
        self._keep(record.run_id)
        return is_whole


def _sweep(folder: Path) -> None:
    """Removes what the dead owner was writing. Later jobs on the model have locks of their own, and folders of their own below."""
    with alone_with(folder):  # who adds to the manifest of this folder writes a temporary file too
        for place in list(
            temporary_places(folder, skip=frozenset(folder / name for name in FOLLOW_UP_FOLDERS.values()))
        ):
            delete_whole(place)
            log.info("abandoned_file_removed", path=str(place))
