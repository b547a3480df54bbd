"""Asking a store that may be away: one line in the log for an outage, and an answer to go on with."""

import threading
from collections.abc import Callable
from typing import TypeVar

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

log = get_logger(__name__)

Answer = TypeVar("Answer")


class PatientAsker:
    """Bears with a store that is away for a while or refuses one thing. For several threads: an outage is one outage."""

    def __init__(self) -> None:
        """The store is taken to be there."""
        self._store_is_there = True
        self._lock = threading.Lock()

    def ask(self, question: Callable[[], Answer]) -> Answer | None:
        """The store's answer; None when it is away or fails: the next look asks again."""
        try:
            answer = question()
        except AppError as error:
            if error.code is not ErrorCode.STORE_UNAVAILABLE:
                log.error("maintenance_failed", error_code=error.code, detail=error.message)
            elif self._note(is_there=False):
                log.warning("store_unavailable", error_code=error.code, detail=error.message)
            return None
        if self._note(is_there=True):
            log.info("store_available")
        return answer

    def _note(self, *, is_there: bool) -> bool:
        """Whether this is news."""
        with self._lock:
            is_news = self._store_is_there is not is_there
            self._store_is_there = is_there
        return is_news
