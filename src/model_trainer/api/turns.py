"""Work that takes long and is answered at once: a few requests at a time, some more wait, the others are sent away."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread

from model_trainer.core.errors import AppError, ErrorCode

T = TypeVar("T")


class Turns:
    """Threads of their own for one kind of work, so that it leaves those of all other requests alone."""

    def __init__(self, *, at_once: int, most: int) -> None:
        """`most`: requests in all, those that wait for a thread included."""
        self._limiter = anyio.CapacityLimiter(at_once)
        self._most = most
        self._num_in = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives, in its turn; raises SERVICE_UNAVAILABLE where too many wait."""
        if self._num_in >= self._most:
            message = f"{self._most} requests of this kind are being answered or wait already; ask again in a moment."
            raise AppError(ErrorCode.SERVICE_UNAVAILABLE, message)
        self._num_in += 1
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._num_in -= 1
