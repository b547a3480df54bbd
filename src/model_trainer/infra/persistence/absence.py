"""Remembers for a moment that the server did not answer in time, so that not every caller waits as long for nothing."""

import threading
import time
from collections.abc import Callable

from model_trainer.core.errors import AppError, ErrorCode

REMEMBERED_SECONDS = 1.0


class Absence:
    """While it lasts, one caller a moment finds out whether the server is back; the others are refused at once."""

    def __init__(
        self, *, seconds: float = REMEMBERED_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._until: float | None = None

    def check(self) -> None:
        """Returns to a caller who may try; raises STORE_UNAVAILABLE for the others."""
        with self._lock:
            if self._until is None:
                return
            now = self._clock()
            if now < self._until:
                message = "Redis did not answer a moment ago. Check that it runs, then try again."
                raise AppError(ErrorCode.STORE_UNAVAILABLE, message)
            self._until = now + self._seconds

    def noticed(self) -> None:
        """A caller waited in vain."""
        with self._lock:
            self._until = self._clock() + self._seconds

    def ended(self) -> None:
        """The server answered."""
        with self._lock:  # another thread may be between looking whether there is a moment and comparing it
            self._until = None
