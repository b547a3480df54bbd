"""Finds runs whose worker has gone, and ends that nobody brought to disk. What becomes of a run is the store's to decide."""

from collections.abc import Callable
from typing import Protocol

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

ACCOUNTS_AT_ONCE = 100


class StaleRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def reap(self) -> tuple[str, ...]:
        """Puts lost runs back to the queue or to an end; returns their ids."""
        ...

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """Some of the runs that ended without their owner and are not on disk yet."""
        ...


class Reaper:
    """Asks the store for work, and bears with a store that is away for a while or refuses one thing."""

    def __init__(self, store: StaleRuns, *, close_accounts: Callable[[tuple[str, ...]], None]) -> None:
        """Nothing is asked yet; `close_accounts` brings ends to disk, and tells the store of those it brought."""
        self._store = store
        self._close_accounts = close_accounts
        self._store_is_there = True

    def reap(self) -> int:
        """One look; returns how many runs were rescued, 0 when the store cannot say."""
        rescued = self._asked(self._store.reap)
        if rescued:
            log.warning("stale_runs_rescued", num_rescued=len(rescued), detail=" ".join(rescued))
        return len(rescued)

    def account(self) -> None:
        """Has the ends of runs brought to disk; one that cannot be stays for the next look and delays no other."""
        for run_id in self._asked(lambda: self._store.unaccounted(ACCOUNTS_AT_ONCE)):
            try:
                self._close_accounts((run_id,))
            except (AppError, OSError, ValueError) as error:
                log.warning("account_not_closed", run_id=run_id, detail=str(error))

    def _asked(self, question: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """The store's answer; none when it is away, and none when it fails: the next look asks again."""
        try:
            answer = question()
        except AppError as error:
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                log.error("maintenance_failed", error_code=error.code, detail=error.message)
                return ()
            if self._store_is_there:  # one line for an outage, not one every two seconds
                log.warning("store_unavailable", error_code=error.code, detail=error.message)
            self._store_is_there = False
            return ()
        if not self._store_is_there:
            log.info("store_available")
        self._store_is_there = True
        return answer
