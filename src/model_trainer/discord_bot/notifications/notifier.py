"""Follows all runs for the owner, and goes on where it was: holds the watch list, reads the feed, tells what is due."""

import asyncio
import time
from collections.abc import Callable, Collection

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.feed import EventFeed, WatchList
from model_trainer.discord_bot.notifications.messenger import Messenger
from model_trainer.discord_bot.notifications.notebook import Notebook
from model_trainer.discord_bot.notifications.outage import Outage
from model_trainer.discord_bot.notifications.teller import Curve, Teller

log = get_logger(__name__)

HOLD_SECONDS = 15.0
"""How long after a bot was killed another one may begin."""
RENEW_SECONDS = 4.0
LOOK_SECONDS = 5.0
"""The feed is read at least this often, also when no signal comes."""
CANCEL_SECONDS = 0.2
"""Between two tries at ending a task."""


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Notifier:
    """One bot's notifications. Whatever it was doing when it ended, another one does to the end."""

    def __init__(
        self,
        feed: EventFeed,
        watch_list: WatchList,
        messenger: Messenger,
        curve: Curve,
        *,
        holder: str,
        owner_id: int,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """`holder`: under which name it holds the list; `clock`: milliseconds since 1970, goes on over restarts."""
        self._feed = feed
        self._list = watch_list
        self._holder = holder
        self._store = Outage("store")
        self._notebook = Notebook(feed, watch_list, holder=holder, owner_id=owner_id)
        self._teller = Teller(self._notebook, messenger, curve, store=self._store, clock=clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then it lets go of the list. What is not told by then is told at the next start."""
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.gather(stopping, working, return_exceptions=True)
            self._notebook.close()
            await self._let_go()
        if not working.cancelled():
            working.result()  # it ends by itself for an error alone

    async def watch(self, run_id: str) -> None:
        """From here on the run is told, whoever ordered it, and also after restarts.

        Raises SERVICE_UNAVAILABLE while the list is not held, STORE_UNAVAILABLE when Redis is away.
        """
        await self._notebook.watch(run_id)

    async def unwatch(self, run_id: str) -> bool:
        """The run is not told any more, until it is watched; whether it was told before. Raises as watch() does."""
        return await self._notebook.unwatch(run_id)

    def watched(self) -> tuple[str, ...]:
        """Ids of the runs that are told and have not ended, newest first; none while the list is not held."""
        return self._notebook.watched()

    async def _work(self) -> None:
        while True:
            await self._take_hold()
            await self._follow()
            self._notebook.close()
            log.warning("watch_list_lost")

    async def _take_hold(self) -> None:
        """Returns when the list is held: by one bot at a time."""
        is_held = await self._hold()
        if not is_held:
            log.warning("watch_list_held_by_another_bot")
        while not is_held:
            await asyncio.sleep(RENEW_SECONDS)
            is_held = await self._hold()

    async def _hold(self) -> bool:
        return await self._store.bear(self._hold_once)

    async def _hold_once(self) -> bool:
        return await asyncio.to_thread(self._list.hold, self._holder, seconds=HOLD_SECONDS)

    async def _follow(self) -> None:
        """Returns when the list is not held any more."""
        tasks = [asyncio.create_task(each) for each in (self._renew(), self._read(), self._teller.tell())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(tasks)
        for task in done:
            error = task.exception()
            if error is not None and not (isinstance(error, AppError) and error.code is ErrorCode.LEASE_LOST):
                raise error

    async def _renew(self) -> None:
        """Returns when the list is lost, or may be: nobody could be told for so long that it is ours."""
        clock = asyncio.get_running_loop().time
        held_until = clock() + HOLD_SECONDS
        is_held = True
        while is_held:
            await asyncio.sleep(RENEW_SECONDS)
            asked_at = clock()
            try:
                is_held = await self._hold_once()
            except AppError as error:
                if error.code is not ErrorCode.STORE_UNAVAILABLE:
                    raise
                self._store.failed(error.message)
                is_held = clock() < held_until
            else:
                held_until = asked_at + HOLD_SECONDS

    async def _read(self) -> None:
        await self._store.bear(self._notebook.open)
        while True:
            # Listening begins before reading: what is told during a read is not missed.
            news = asyncio.create_task(self._feed.wait(timeout_seconds=LOOK_SECONDS))
            try:
                await asyncio.sleep(0)
                has_more = await self._store.bear(self._notebook.read_on)
                if not has_more:
                    await news
            finally:
                news.cancel()

    async def _let_go(self) -> None:
        try:
            await asyncio.to_thread(self._list.let_go, self._holder)
        except AppError as error:
            log.warning("watch_list_not_let_go", error_code=error.code, detail=error.message)


async def _ended(tasks: "Collection[asyncio.Task[None]]") -> None:
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        # On Python 3.11 wait_for() may swallow a cancellation; then another one follows.
        _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
