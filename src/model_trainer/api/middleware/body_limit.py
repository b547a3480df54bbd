"""Refuses bodies over the limit: by their announced length before a byte is read, else while they stream in.

A body that trickles in is refused as well; of a file, which may take hours, one that stops coming.
"""

from dataclasses import dataclass

import anyio

from model_trainer.api.asgi import AsgiApp, Message, Receive, Scope, Send, header_values, text_of
from model_trainer.api.problems import problem_response
from model_trainer.core.errors import AppError, ErrorCode

BODY_SECONDS = 30.0
FILES = "/files"
PARTS = "/files/uploads/"


@dataclass(frozen=True, slots=True)
class _Limit:
    max_bytes: int
    way_out: str
    is_for_all: bool
    """Whether the seconds are for all of a body; else for each piece of it."""


class BodyLimitMiddleware:
    """Never lets more than `max_bytes` of a body into memory, nor waits longer than `body_seconds` for it.

    Files go to the disk as they come: theirs may have `max_file_bytes`, and may take so long for each piece.
    """

    def __init__(
        self, app: AsgiApp, *, max_bytes: int, max_file_bytes: int, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._of_requests = _Limit(
            max_bytes,
            "(APP__MAX_BODY_BYTES). Corpora are not sent with a request: put them under the data root, or upload them with "
            "POST /files",
            is_for_all=True,
        )
        self._of_files = _Limit(
            max_file_bytes, "(APP__MAX_FILE_BYTES). Send it as several files", is_for_all=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._of_files if _is_file(scope) else self._of_requests
        announced = header_values(scope, b"content-length")
        if announced and _number(announced[0]) > limit.max_bytes:
            await problem_response(_too_large(limit), headers={"Connection": "close"})(scope, receive, send)
            return
        num_bytes, is_whole = 0, False
        deadline = anyio.current_time() + self._body_seconds

        async def receive_within_limit() -> Message:
            nonlocal num_bytes, is_whole, deadline
            if not limit.is_for_all:
                deadline = anyio.current_time() + self._body_seconds
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
            if num_bytes > limit.max_bytes:
                raise _too_large(limit)
            return message

        await self._app(scope, receive_within_limit, send)


def _is_file(scope: Scope) -> bool:
    """Whether the body is a file, or a part of one: the route writes it down piece by piece."""
    method, path = text_of(scope, "method"), text_of(scope, "path")
    return (method == "POST" and path == FILES) or (method == "PATCH" and path.startswith(PARTS))


def _too_large(limit: _Limit) -> AppError:
    message = f"The body is larger than {limit.max_bytes} bytes {limit.way_out}."
    return AppError(ErrorCode.REQUEST_TOO_LARGE, message)


def _number(digits: bytes) -> int:
    """The framing check has seen to it that these are digits; more than 18 of them are too many in any case."""
    return int(digits[:19]) if len(digits) <= 18 else 10**19
