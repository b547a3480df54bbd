"""What tests of streams share: a loop with a time limit, what a reader is sent, and the lines of a stream by name."""

import asyncio
from collections.abc import Awaitable, Callable

from model_trainer.api.asgi import Message
from model_trainer.api.streams import StreamResponse

SSE = {"Accept": "text/event-stream"}


def fields(text: str, name: str) -> list[str]:
    """All values of one field of a stream."""
    return [line.partition(": ")[2] for line in text.splitlines() if line.startswith(f"{name}: ")]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs a test within a time that only a hang exceeds."""

    async def in_time() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(in_time())


async def answered(
    response: StreamResponse, *, messages: list[Message] | None = None, send_seconds: float = 0.0
) -> list[Message]:
    """What a response sends to a reader who takes so long for each message."""
    waiting = messages or []
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        await asyncio.sleep(send_seconds)
        sent.append(message)

    await response({"type": "http"}, receive, send)
    return sent
