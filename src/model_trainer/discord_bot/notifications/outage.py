"""Bearing with something that is away for a while: growing pauses, one line in the log at its begin and one at its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

Answer = TypeVar("Answer")


class Outage:
    """Of one thing, which several tasks may need."""

    def __init__(self, thing: str) -> None:
        """`thing`: as the log calls it."""
        self._thing = thing
        self._pause_seconds = 0.0

    def failed(self, why: str, *, at_least_seconds: float = 0.0) -> float:
        """It is away; how many seconds to wait before it is asked again."""
        if not self._pause_seconds:
            log.warning("outage_began", detail=f"{self._thing}: {why}")
        self._pause_seconds = min(LONGEST_PAUSE_SECONDS, self._pause_seconds * 2 or FIRST_PAUSE_SECONDS)
        return max(self._pause_seconds, at_least_seconds)

    def over(self) -> None:
        """It answered."""
        if self._pause_seconds:
            log.info("outage_over", detail=self._thing)
        self._pause_seconds = 0.0

    async def bear(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks until the store is there; every error but STORE_UNAVAILABLE goes through."""
        while True:
            try:
                answer = await question()
            except AppError as error:
                if error.code is not ErrorCode.STORE_UNAVAILABLE:
                    raise
                await asyncio.sleep(self.failed(error.message))
            else:
                self.over()
                return answer
