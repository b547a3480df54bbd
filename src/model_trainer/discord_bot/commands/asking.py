"""Questions to the API from an event loop: the client waits in threads, a few at a time, and what suggestions need is kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from model_trainer.client import TrainerClient
from model_trainer.client.views import FamiliesView, RunView, TokenizerView
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging.logger import get_logger

AT_ONCE = 4
KEPT_SECONDS = 30.0
RECENT = 100
"""Runs and tokenizers that are looked at for a suggestion: one page of the API."""

T = TypeVar("T")
_log = get_logger(__name__)


class Asking:
    """Questions to one API. Close it at the end."""

    def __init__(
        self, client: TrainerClient, *, at_once: int = AT_ONCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="asking")
        self._families: _Kept[FamiliesView] = _Kept(clock)
        self._runs: _Kept[tuple[RunView, ...]] = _Kept(clock)
        self._tokenizers: _Kept[tuple[TokenizerView, ...]] = _Kept(clock)

    async def ask(self, question: Callable[[TrainerClient], T]) -> T:
        """The answer. AppErrors pass through; any other fault is logged and becomes INTERNAL."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, question, self._client)
        except AppError:
            raise
        except Exception as error:
            _log.error("question_to_api_failed", detail=type(error).__name__)
            message = "The bot could not ask the API: its log says why."
            raise AppError(ErrorCode.INTERNAL, message) from error

    async def families(self, *, newer: bool = False) -> FamiliesView:
        """What can be trained, as it was at most half a minute ago; `newer`: as it is now."""
        if newer:
            self._families.forget("")
        return await self._families.get("", lambda: self.ask(lambda client: client.families()))

    async def recent_runs(self, status: str | None = None) -> tuple[RunView, ...]:
        """The newest trainings, of one status where it is given, as they were at most half a minute ago."""
        filters = {} if status is None else {"status": status}

        def newest(client: TrainerClient) -> tuple[RunView, ...]:
            return tuple(islice(client.runs(limit=RECENT, filters=filters), RECENT))

        return await self._runs.get(status, lambda: self.ask(newest))

    async def recent_tokenizers(self) -> tuple[TokenizerView, ...]:
        """The newest tokenizers that are ready, as they were at most half a minute ago."""

        def newest(client: TrainerClient) -> tuple[TokenizerView, ...]:
            return tuple(islice(client.tokenizers(limit=RECENT, filters={"status": "completed"}), RECENT))

        return await self._tokenizers.get("", lambda: self.ask(newest))

    def runs_changed(self) -> None:
        """Somebody has changed a run: what is kept of them is old."""
        self._runs.forget_all()

    def close(self) -> None:
        """Lets waiting questions fall; those on their way end by the client's own timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Kept(Generic[T]):
    """Answers by key, each asked for once at a time, however many wait for it, and kept for a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: dict[Hashable, tuple[asyncio.Future[T], float]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        answer, asked_at = self._answers.get(key, (None, 0.0))
        now = self._clock()
        if answer is None or (answer.done() and (_failed(answer) or now - asked_at >= KEPT_SECONDS)):
            answer = asyncio.ensure_future(ask())
            self._answers[key] = (answer, now)
        # Who stops waiting does not stop the question: its answer serves the next one.
        return await asyncio.shield(answer)

    def forget(self, key: Hashable) -> None:
        self._answers.pop(key, None)

    def forget_all(self) -> None:
        self._answers.clear()


def _failed(answer: asyncio.Future[T]) -> bool:
    return answer.cancelled() or answer.exception() is not None
