"""Finds runs whose worker has gone. What becomes of them is the store's to decide."""

from collections.abc import Callable
from typing import Protocol

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

log = get_logger(__name__)


class StaleRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def reap(self) -> tuple[str, ...]:
        """Puts lost runs back to the queue or to an end; returns their ids."""
        ...


class Reaper:
    """Asks the store for lost runs, and bears with a store that is away for a while."""

    def __init__(self, store: StaleRuns, *, then: Callable[[tuple[str, ...]], None]) -> None:
        """Nothing is asked yet; `then` is told the ids of the runs that were touched."""
        self._store = store
        self._then = then
        self._store_is_there = True

    def reap(self) -> int:
        """One look; returns how many runs were rescued, 0 when the store cannot be reached."""
        try:
            rescued = self._store.reap()
        except AppError as error:
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                raise
            if self._store_is_there:  # one line for an outage, not one every two seconds
                log.warning("store_unavailable", error_code=error.code, detail=error.message)
            self._store_is_there = False
            return 0
        if not self._store_is_there:
            log.info("store_available")
        self._store_is_there = True
        if rescued:
            log.warning("stale_runs_rescued", num_rescued=len(rescued), detail=" ".join(rescued))
            self._then(rescued)
        return len(rescued)
