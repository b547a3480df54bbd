"""Readers of a stream who leave, stop reading, or ask what cannot be answered, and sources that break."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from model_trainer.api.asgi import Message
from model_trainer.api.streams import StreamResponse
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.api.streams import answered, run


class Source:
    """An endless source that says whether it was closed."""

    def __init__(self) -> None:
        self.closed = False
        self.released = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """One byte every now and then."""
        try:
            while True:
                await asyncio.sleep(0.001)
                yield b"x"
        finally:
            self.closed = True

    def response(self, send_timeout: float = 60.0) -> StreamResponse:
        """An answer with this source."""
        return StreamResponse(self.chunks(), headers={}, release=self.release, send_timeout=send_timeout)

    def release(self) -> None:
        """Called at the end."""
        self.released = True


def test_a_reader_that_leaves_closes_the_source() -> None:
    async def test() -> None:
        source = Source()
        gone: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]
        await answered(source.response(), messages=gone, send_seconds=0.01)
        assert source.released

    run(test)


def test_a_reader_that_stops_reading_is_dropped() -> None:
    async def test() -> None:
        source = Source()
        sent = await answered(source.response(send_timeout=0.02), send_seconds=60)
        assert sent == []
        assert source.released

    run(test)


def test_a_body_too_long_behind_a_stream_counts_as_a_reader_who_left() -> None:
    async def test() -> None:
        source = Source()

        async def receive() -> Message:
            raise AppError(ErrorCode.REQUEST_TOO_LARGE, "too large")

        async def send(message: Message) -> None:
            await asyncio.sleep(0.01)

        await source.response()({"type": "http"}, receive, send)
        assert source.released

    run(test)


def test_a_fault_of_the_source_is_not_swallowed() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise ZeroDivisionError

    async def test() -> None:
        response = StreamResponse(broken(), headers={}, release=lambda: None, send_timeout=60)
        with pytest.raises(ZeroDivisionError):
            await answered(response)

    run(test)
