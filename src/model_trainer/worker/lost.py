"""Which owners on this machine are dead, by the kernel's word: no lease has to run out for them."""

from typing import Protocol

from model_trainer.core.contracts.run import Holder
from model_trainer.core.ports.storage import RunLocks


class KnowsHolders(Protocol):
    """The part of core/ports/runs.py's RunStore that is needed here."""

    def held(self) -> tuple[Holder, ...]:
        """Who holds a run now."""
        ...


def lost_holders(runs: KnowsHolders, locks: RunLocks) -> tuple[Holder, ...]:
    """The holders on this host whose lock is free. The lock is taken before the claim and outlives no process, so a
    holder without it has gone; one that ended properly meanwhile is known to the store by its epoch."""
    return tuple(
        holder for holder in runs.held() if holder.host == locks.host and locks.is_free(holder.run_id)
    )
