"""Refuses bodies over the limit: by their announced length before a byte is read, else while they stream in.

A body that trickles in is refused as well.
"""

import anyio

from model_trainer.api.asgi import AsgiApp, Message, Receive, Scope, Send, header_values
from model_trainer.api.problems import problem_response
from model_trainer.core.errors import AppError, ErrorCode

BODY_SECONDS = 30.0


class BodyLimitMiddleware:
    """Never lets more than `max_bytes` of a body into memory, nor waits longer than `body_seconds` for it."""

    def __init__(self, app: AsgiApp, *, max_bytes: int, body_seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = header_values(scope, b"content-length")
        if announced and _number(announced[0]) > self._max_bytes:
            await problem_response(self._too_large(), headers={"Connection": "close"})(scope, receive, send)
            return
        num_bytes, is_whole = 0, False
        deadline = anyio.current_time() + self._body_seconds

        async def receive_within_limit() -> Message:
            nonlocal num_bytes, is_whole
            try:
                # Behind the body comes nothing but the end of the connection, and that may take days.
                with anyio.fail_after(None if is_whole else deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError as error:
                raise AppError(
                    ErrorCode.CONFIG_INVALID, "The body did not arrive in time; send it again."
                ) from error
            is_whole = not message.get("more_body", False)
            body = message.get("body")
            num_bytes += len(body) if isinstance(body, bytes) else 0
            if num_bytes > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, receive_within_limit, send)

    def _too_large(self) -> AppError:
        message = f"The body is larger than {self._max_bytes} bytes (APP__MAX_BODY_BYTES). Corpora are read from the data root, not sent."
        return AppError(ErrorCode.REQUEST_TOO_LARGE, message)


def _number(digits: bytes) -> int:
    """The framing check has seen to it that these are digits; more than 18 of them are too many in any case."""
    return int(digits[:19]) if len(digits) <= 18 else 10**19
