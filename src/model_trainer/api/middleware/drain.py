"""Takes in what still comes of a body after its request was answered, as when it was refused half-way.

Hypercorn hands a body over through a short queue, and says through the same queue that the connection has ended: an
answer to a body that nobody reads would wait for room in it for ever, and keep the connection.
"""

import asyncio

from model_trainer.api.asgi import AsgiApp, Message, Receive, Scope, Send, header_values

AFTERWARDS_SECONDS = 5.0
"""So long after the answer the end of the connection is waited for."""


class DrainMiddleware:
    """Reads on while an answer is sent that came before the end of the body."""

    def __init__(self, app: AsgiApp, *, afterwards_seconds: float = AFTERWARDS_SECONDS) -> None:
        self._app = app
        self._afterwards_seconds = afterwards_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_whole = False
        draining: list[asyncio.Task[None]] = []

        async def receive_and_note() -> Message:
            nonlocal is_whole
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def send_and_drain(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_whole:
                draining.append(asyncio.create_task(_drain(receive)))
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_and_drain)
        finally:
            if draining:
                await asyncio.wait(draining, timeout=self._afterwards_seconds)
                draining[0].cancel()


async def _drain(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _has_body(scope: Scope) -> bool:
    lengths = header_values(scope, b"content-length")
    return bool(header_values(scope, b"transfer-encoding")) or any(length.strip(b"0") for length in lengths)
