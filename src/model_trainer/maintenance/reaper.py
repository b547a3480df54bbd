"""Finds runs whose worker has gone. What becomes of a run is the store's to decide."""

from collections.abc import Callable
from typing import Protocol

from model_trainer.core.contracts.run import Holder
from model_trainer.core.logging import get_logger
from model_trainer.maintenance.asking import PatientAsker

log = get_logger(__name__)


class StaleRuns(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def reap(self, lost: tuple[Holder, ...] = ()) -> tuple[str, ...]:
        """Puts lost runs back to the queue or to an end; returns their ids."""
        ...


class Keep(Protocol):
    """Has the records of some runs copied to disk."""

    def __call__(self, *run_ids: str) -> None: ...


class Reaper:
    """Looks at this machine for holders that are dead, and asks the store to act on them and on leases that ran out."""

    def __init__(
        self,
        store: StaleRuns,
        *,
        find_lost: Callable[[], tuple[Holder, ...]],
        keep: Keep,
        asker: PatientAsker,
    ) -> None:
        """Nothing is asked yet.

        Args:
            store: what decides.
            find_lost: who holds a run and is known to be dead, before the lease has run out.
            keep: has the records of those runs that changed copied to disk.
            asker: bears with a store that is away.
        """
        self._store = store
        self._find_lost = find_lost
        self._keep = keep
        self._asker = asker

    def reap(self) -> int:
        """One look; returns how many runs were touched, 0 when the store cannot say."""
        # Two questions: when the first one fails, leases that ran out are looked after all the same.
        lost = self._asker.ask(self._lost_here) or ()
        touched = self._asker.ask(lambda: self._store.reap(lost)) or ()
        if touched:
            log.warning("stale_runs_rescued", num_rescued=len(touched), detail=" ".join(touched))
            self._keep(*touched)
        return len(touched)

    def _lost_here(self) -> tuple[Holder, ...]:
        try:
            return self._find_lost()
        except OSError as error:  # locks that cannot be looked at: the leases alone decide
            log.warning("locks_not_readable", detail=str(error))
            return ()
