"""Waking readers of events up: one subscription for the whole process, however many readers wait."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Protocol

import redis.asyncio
from pydantic import BaseModel, ConfigDict, ValidationError

from model_trainer.core.logging import get_logger
from model_trainer.infra.persistence.redis_errors import REDIS_ERROR

log = get_logger(__name__)

CHANNEL = "trainer:events"
INFERENCE_CHANNEL = "inference:events"
"""Of requests to models: where their notes say run_id, a request's id stands."""
HEALTH_CHECK_SECONDS = 15
"""A connection that fell silent is asked whether it still stands this often."""
RECONNECT_SECONDS = 0.2
ANY_RUN = "*"
"""Who waits for this wakes at news of whichever run; no run has this id."""


class Waiters:
    """Tasks that wait for news of a run, or of any. Belongs to one event loop."""

    def __init__(self) -> None:
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def wait(self, run_id: str, *, timeout_seconds: float) -> None:
        """Returns at news of the run, or at the timeout."""
        event = asyncio.Event()
        self._events[run_id].add(event)
        try:
            with suppress(TimeoutError):  # the reader looks for itself then
                await asyncio.wait_for(event.wait(), timeout_seconds)
        finally:
            self._events[run_id].discard(event)
            if not self._events[run_id]:
                del self._events[run_id]

    def wake(self, run_id: str) -> None:
        """Ends the waits for one run, and those for any."""
        for waited_for in (run_id, ANY_RUN):
            for event in self._events.get(waited_for, ()):
                event.set()

    def wake_all(self) -> None:
        """Ends all waits: nobody knows what was missed."""
        for run_id in list(self._events):
            self.wake(run_id)


class RedisRunSignal:
    """Listens on one channel from the first wait on, and again after each loss of the connection."""

    def __init__(self, url: str, *, channel: str = CHANNEL, poll_seconds: float = 1.0) -> None:
        self._url = url
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._waiters = Waiters()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, run_id: str, *, timeout_seconds: float) -> None:
        """See RunSignal."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="run-signal")
        await self._waiters.wait(run_id, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """See RunSignal."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):  # as asked for in the line before
                await self._task
            self._task = None
        self._waiters.wake_all()

    async def _listen(self) -> None:
        library: _Library = redis.asyncio
        while True:
            client = library.from_url(
                self._url,
                decode_responses=True,
                protocol=2,
                socket_connect_timeout=1.0,
                health_check_interval=HEALTH_CHECK_SECONDS,
            )
            subscription = client.pubsub()
            try:
                await subscription.subscribe(self._channel)
                while True:
                    self._tell(await subscription.get_message(timeout=self._poll_seconds))
            except (REDIS_ERROR, UnicodeDecodeError) as error:  # anybody may publish anything
                log.warning("run_signal_lost", detail=type(error).__name__)
            finally:
                with suppress(REDIS_ERROR):  # it may be broken already
                    await subscription.aclose()
                    await client.aclose()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _tell(self, message: object) -> None:
        if message is None:
            return
        try:
            notice = _Message.model_validate(message)
            if notice.type == "subscribe":
                self._waiters.wake_all()  # what was said before the subscription stood was missed
            else:
                self._waiters.wake(_Note.model_validate_json(str(notice.data)).run_id)
        except ValidationError:
            log.warning("run_signal_not_understood")


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str
    data: str | int


class _Note(BaseModel):
    model_config = ConfigDict(extra="ignore")
    run_id: str


class _Subscription(Protocol):
    async def subscribe(self, channel: str, /) -> object: ...
    async def get_message(self, *, timeout: float) -> object: ...
    async def aclose(self) -> None: ...


class _Client(Protocol):
    def pubsub(self) -> _Subscription: ...
    async def aclose(self) -> None: ...


class _Library(Protocol):
    """What is used of the module redis.asyncio, typed."""

    def from_url(
        self,
        url: str,
        *,
        decode_responses: bool,
        protocol: int,
        socket_connect_timeout: float,
        health_check_interval: int,
    ) -> _Client: ...
