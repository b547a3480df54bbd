"""Watches runs for those who follow them: one watch for all who stand at the same place, however many they are."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from starlette.concurrency import run_in_threadpool

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunSignal

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a stream and the position behind it, which is its id."""

    position: int
    name: str
    json_text: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a stream found behind a position. The record is read first: what a terminal record's worker left is there
    to be read after it."""

    record: RunRecord
    steps: tuple[Step, ...]

    @property
    def says_something(self) -> bool:
        """Whether a follower need not wait any longer: something came, or nothing will come any more."""
        return bool(self.steps) or self.record.status.is_terminal


LookAt = Callable[[str, int], Look]
"""What lies behind a position of a run; runs in a thread."""
_Place = tuple[LookAt, str, int]


@dataclass(slots=True)
class _Watch:
    task: "asyncio.Task[Look | AppError | None]"
    num_followers: int = 0


class Watches:
    """All watches of one app. A watch lasts as long as somebody follows it."""

    def __init__(self, *, signal: RunSignal, stopping: asyncio.Event, poll_seconds: float) -> None:
        self._signal = signal
        self._stopping = stopping
        self._poll_seconds = poll_seconds
        self._watches: dict[_Place, _Watch] = {}

    async def news(
        self, look: LookAt, run_id: str, position: int, *, patience_seconds: float
    ) -> Look | AppError | None:
        """What came behind `position`, or that nothing will come any more; None when patience ends or the server stops.

        A store that is away only takes longer; any other error is handed back.
        """
        place = (look, run_id, position)
        watch = self._watches.get(place)
        if watch is None or watch.task.done():
            watch = self._watches[place] = _Watch(asyncio.create_task(self._until_news(*place)))
        watch.num_followers += 1
        try:
            await asyncio.wait({watch.task}, timeout=patience_seconds)
        finally:
            watch.num_followers -= 1
            # Whoever asks after the news begins a watch anew; one that nobody follows any more ends.
            if watch.task.done() or watch.num_followers == 0:
                self._forget(place, watch)
                watch.task.cancel()
        return watch.task.result() if watch.task.done() else None

    def _forget(self, place: _Place, watch: _Watch) -> None:
        """A newer watch of the same place stays."""
        if self._watches.get(place) is watch:
            del self._watches[place]

    async def _until_news(self, look: LookAt, run_id: str, position: int) -> Look | AppError | None:
        is_away = False
        while not self._stopping.is_set():
            try:
                found: Look = await run_in_threadpool(look, run_id, position)
            except AppError as error:
                if error.code is not ErrorCode.STORE_UNAVAILABLE:
                    return error
                if not is_away:
                    logger.warning("stream_without_store", run_id=run_id, error_code=error.code.value)
                is_away = True
            else:
                is_away = False
                if found.says_something:
                    return found
            await self._wait(run_id)
        return None

    async def _wait(self, run_id: str) -> None:
        """Returns when something may have happened to the run, at the next poll, or when the server stops."""
        async with anyio.create_task_group() as either:

            async def until_stopping() -> None:
                await self._stopping.wait()
                either.cancel_scope.cancel()

            either.start_soon(until_stopping)
            await self._signal.wait(run_id, timeout_seconds=self._poll_seconds)
            either.cancel_scope.cancel()
