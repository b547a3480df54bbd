"""Lock files of runs that have ended: nobody will lock them again, and a folder should not grow for ever."""

from typing import Protocol, runtime_checkable

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import RunLocks

log = get_logger(__name__)


class EndedRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def get(self, run_id: str) -> RunRecord:
        """The record."""
        ...


@runtime_checkable
class LockFiles(Protocol):
    """Locks that leave files behind."""

    def run_ids(self) -> tuple[str, ...]:
        """The runs that have a lock file."""
        ...

    def remove(self, run_id: str) -> bool:
        """Takes the lock file of an ended run away; False when somebody has the lock."""
        ...


class LockFileCleaner:
    """Takes lock files away where they are files, once their run has ended."""

    def __init__(self, *, runs: EndedRuns, locks: RunLocks) -> None:
        """Nothing is removed yet."""
        self._runs = runs
        self._locks = locks

    def clean(self) -> int:
        """How many went. A run that the store does not know may be lost rather than ended: its lock stays."""
        if not isinstance(self._locks, LockFiles):
            return 0
        locks = self._locks
        return sum(self._has_ended(run_id) and _removed(locks, run_id) for run_id in locks.run_ids())

    def _has_ended(self, run_id: str) -> bool:
        try:
            return self._runs.get(run_id).status.is_terminal
        except AppError:
            return False


def _removed(locks: LockFiles, run_id: str) -> bool:
    try:
        return locks.remove(run_id)
    except OSError as error:
        log.warning("lock_file_not_removed", run_id=run_id, detail=str(error))
        return False
