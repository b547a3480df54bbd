"""Answers that take their time: server-sent events and files. A reader that stops reading is dropped."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from model_trainer.api.asgi import Message, Receive, Scope, Send
from model_trainer.api.watching import Look, LookAt, Watches
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunSignal

RETRY_MILLISECONDS = 3000
PING_SECONDS = 15.0
POLL_SECONDS = 1.0
SEND_TIMEOUT_SECONDS = 30.0
MAX_STREAMS = 2048

EVENT_STREAM = "text/event-stream"
FIRST_WORDS = format_sse_event(retry=RETRY_MILLISECONDS)

logger = get_logger(__name__)


def sse(name: str, json_text: str, *, event_id: int | None = None) -> bytes:
    """One event on the wire. JSON on one line: no line end in the data can forge another field."""
    return format_sse_event(data_str=json_text, event=name, id=None if event_id is None else str(event_id))


def last_event_id(header: str | None) -> int | None:
    """Where a reader comes back to; raises CONFIG_INVALID for anything but a plain number."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 16):
        raise AppError(ErrorCode.CONFIG_INVALID, "Last-Event-ID must be an id that this stream sent.")
    return int(header)


class Streams:
    """What all streams of one app share: the end of the server, the wake-up call, how many there may be."""

    def __init__(
        self,
        *,
        signal: RunSignal,
        stopping: asyncio.Event,
        poll_seconds: float = POLL_SECONDS,
        ping_seconds: float = PING_SECONDS,
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self._watches: Watches[Look] = Watches(signal=signal, stopping=stopping, poll_seconds=poll_seconds)
        self._stopping = stopping
        self._ping_seconds = ping_seconds
        self._send_timeout_seconds = send_timeout_seconds
        self._max_streams = max_streams
        self._num_open = 0

    @property
    def num_open(self) -> int:
        """Event streams open now."""
        return self._num_open

    def check_room(self) -> None:
        """Raises SERVICE_UNAVAILABLE when too many are open."""
        if self._num_open >= self._max_streams:
            message = (
                f"This server has {self._max_streams} event streams open already; poll, or come back later."
            )
            raise AppError(ErrorCode.SERVICE_UNAVAILABLE, message)

    async def follow(
        self, item_id: str, position: int, look: LookAt, *, watches: Watches[Look] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Everything behind `position` of a run, as it comes; `done` when it has ended and everything was sent.

        A store that is away is waited for. Without `done` the reader knows to come back: the server went down.

        Args:
            item_id: of the run, or of what `watches` watch.
            position: the id of the last event that the reader has.
            look: finds what lies behind a position.
            watches: of things that are announced elsewhere than runs.
        """
        watched = self._watches if watches is None else watches
        yield FIRST_WORDS
        while not self._stopping.is_set():
            found = await watched.news(look, item_id, position, patience_seconds=self._ping_seconds)
            if isinstance(found, AppError):
                logger.warning("stream_ended_early", detail=item_id, error_code=found.code.value)
                return
            if found is None:
                if not self._stopping.is_set():
                    yield KEEPALIVE_COMMENT
                continue
            for step in found.steps:
                position = step.position
                yield sse(step.name, step.json_text, event_id=position)
            if not found.steps and found.ending is not None:
                yield sse("done", found.ending)
                return

    def respond(
        self, events: AsyncGenerator[bytes, None], *, headers: Mapping[str, str] | None = None
    ) -> "StreamResponse":
        """An event stream; raises SERVICE_UNAVAILABLE when there are too many already."""
        self.check_room()
        self._num_open += 1
        sent = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamResponse(
            events,
            headers={**sent, **(headers or {})},
            release=self._one_less,
            send_timeout=self._send_timeout_seconds,
        )

    def send_file(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        status: int,
        headers: Mapping[str, str],
        release: Callable[[], None],
    ) -> "StreamResponse":
        """A file, under the same rule for readers that stop reading. `release` runs at the end, whatever happens."""
        return StreamResponse(
            chunks, status=status, headers=headers, release=release, send_timeout=self._send_timeout_seconds
        )

    def _one_less(self) -> None:
        self._num_open -= 1


class StreamResponse(StreamingResponse):
    """Closes its source promptly, and drops a reader that takes nothing for too long."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str],
        release: Callable[[], None],
        send_timeout: float,
        status: int = 200,
    ) -> None:
        super().__init__(chunks, status_code=status, headers=headers)
        self._source: _Closes = chunks
        self._release = release
        self._send_timeout = send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers until everything is sent or the reader is gone; the source is closed when this returns."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})
            await self._source.aclose()
            self._release()
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            with anyio.fail_after(self._send_timeout):
                await send(message)

        try:
            await self.stream_response(send_in_time)
        except OSError as error:
            # TimeoutError is one; so is what a server raises when the connection is gone.
            logger.warning("stream_broken_off", detail=type(error).__name__)


async def until_gone(receive: Receive) -> None:
    """Returns when the client has left."""
    with contextlib.suppress(AppError):  # a body that nobody reads was too long, or never came
        while (await receive())["type"] != "http.disconnect":
            continue


class _Closes(Protocol):
    def aclose(self) -> Awaitable[None]: ...
