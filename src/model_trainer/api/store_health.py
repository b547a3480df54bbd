"""Whether the artifact store can be worked with, for those who ask often: one look serves all for a few seconds."""

import threading
import time
from collections.abc import Callable

from model_trainer.core.errors import AppError
from model_trainer.core.ports.store import ArtifactStore

FRESH_SECONDS = 5.0


class StoreHealth:
    """Remembers what the store last said. For several threads: one of them looks, the others take the answer before."""

    def __init__(self, store: ArtifactStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        """The store is not asked yet; `clock`: seconds since some moment."""
        self._store = store
        self._clock = clock
        self._looking = threading.Lock()
        self._fault: str | None = None
        self._stale_at = clock()

    def fault(self) -> str | None:
        """What is wrong with it, and the way out; None for a store that works."""
        if self._clock() >= self._stale_at and self._looking.acquire(blocking=False):
            try:
                self._fault = self._look()
                self._stale_at = self._clock() + FRESH_SECONDS
            finally:
                self._looking.release()
        return self._fault

    def _look(self) -> str | None:
        try:
            self._store.check()
        except AppError as error:
            return error.message
        return None
