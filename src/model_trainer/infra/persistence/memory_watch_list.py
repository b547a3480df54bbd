"""The watch list in this process' memory: the fake that ships, with the same rules."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

from model_trainer.core.contracts.feed import WatchState
from model_trainer.infra.persistence.ends import list_not_held


class MemoryWatchList:
    """See WatchList. A lock makes each change one step."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds since some moment."""
        self._clock = clock
        self._lock = threading.Lock()
        self._holder = ""
        self._held_until = clock()
        self._state = WatchState(position=None, channel=None, notes={})

    def hold(self, holder: str, *, seconds: float) -> bool:
        """See WatchList."""
        with self._lock:
            now = self._clock()
            if self._held_until > now and self._holder != holder:
                return False
            self._holder, self._held_until = holder, now + seconds
            return True

    def let_go(self, holder: str) -> None:
        """See WatchList."""
        with self._lock:
            if self._holder == holder:
                self._held_until = self._clock()

    def load(self) -> WatchState:
        """See WatchList."""
        with self._lock:
            return self._state.model_copy(deep=True)

    def keep(
        self,
        holder: str,
        *,
        position: str | None = None,
        channel: str | None = None,
        notes: Mapping[str, str] | None = None,
        gone: Collection[str] = (),
    ) -> None:
        """See WatchList."""
        with self._lock:
            if self._holder != holder or self._held_until <= self._clock():
                raise list_not_held(holder)
            kept = {**self._state.notes, **(notes or {})}
            self._state = WatchState(
                position=position or self._state.position,
                channel=channel or self._state.channel,
                notes={run_id: note for run_id, note in kept.items() if run_id not in gone},
            )
