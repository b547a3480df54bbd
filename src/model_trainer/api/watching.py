"""Watches runs and requests for those who follow them: one watch for all who stand at the same place, however many they are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

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


class Seen(Protocol):
    """What somebody found who looked."""

    @property
    def says_something(self) -> bool:
        """Whether a follower need not wait any longer: something came, or nothing will come any more."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What a stream found behind a position. Whether it is over is read first: what was left before the end is there to be
    read after it."""

    ending: str | None
    """Data of the event `done`, as JSON; None while more may come."""
    steps: tuple[Step, ...]

    @property
    def says_something(self) -> bool:
        """See Seen."""
        return bool(self.steps) or self.ending is not None


SeenT = TypeVar("SeenT", bound=Seen)
LookAt = Callable[[str, int], Look]
"""What lies behind a position of a run or a request; runs in a thread."""


@dataclass(slots=True)
class _Watch(Generic[SeenT]):
    task: "asyncio.Task[SeenT | AppError | None]"
    num_followers: int = 0


class Watches(Generic[SeenT]):
    """All watches of one kind. A watch lasts as long as somebody follows it."""

    def __init__(self, *, signal: RunSignal, stopping: asyncio.Event, poll_seconds: float) -> None:
        self._signal = signal
        self._stopping = stopping
        self._poll_seconds = poll_seconds
        self._watches: dict[tuple[Callable[[str, int], SeenT], str, int], _Watch[SeenT]] = {}

    async def news(
        self, look: Callable[[str, int], SeenT], item_id: str, position: int, *, patience_seconds: float
    ) -> SeenT | AppError | None:
        """What came behind `position`, or that nothing will come any more; None when patience ends or the server stops.

        A store that is away only takes longer; any other error is handed back.
        """
        place = (look, item_id, position)
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

    def _forget(self, place: tuple[Callable[[str, int], SeenT], str, int], watch: _Watch[SeenT]) -> None:
        """A newer watch of the same place stays."""
        if self._watches.get(place) is watch:
            del self._watches[place]

    async def _until_news(
        self, look: Callable[[str, int], SeenT], item_id: str, position: int
    ) -> SeenT | AppError | None:
        is_away = False
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                async with self._listening(item_id) as news:
                    try:
                        found: SeenT = await run_in_threadpool(look, item_id, position)
                    except AppError as error:
                        if error.code is not ErrorCode.STORE_UNAVAILABLE:
                            return error
                        if not is_away:
                            logger.warning(
                                "stream_without_store", detail=item_id, error_code=error.code.value
                            )
                        is_away = True
                    else:
                        is_away = False
                        if found.says_something:
                            return found
                    await asyncio.wait({news, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return None

    @asynccontextmanager
    async def _listening(self, item_id: str) -> "AsyncIterator[asyncio.Task[None]]":
        """Is done when something may have happened to the item since somebody began to look, or at the next poll: what is
        announced during a look is not missed."""
        news = asyncio.create_task(self._signal.wait(item_id, timeout_seconds=self._poll_seconds))
        try:
            yield news
        finally:
            news.cancel()
