"""Names every request: X-Request-ID is accepted when it is sane, echoed, and bound to the log lines."""

import re
from contextvars import ContextVar

from model_trainer.api.asgi import AsgiApp, Message, Receive, Scope, Send, header_values, with_headers
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.logging import bind_context

_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request being answered; empty outside of one."""
    return _current.get()


class RequestIdMiddleware:
    """Outermost: whatever happens further in, the answer carries the id."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _accepted(header_values(scope, b"x-request-id"))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = with_headers(message, [(b"x-request-id", request_id.encode())])
            await send(message)

        token = _current.set(request_id)
        try:
            with bind_context(request_id=request_id):
                await self._app(scope, receive, send_with_id)
        finally:
            _current.reset(token)


def _accepted(sent: list[bytes]) -> str:
    if len(sent) == 1 and _SANE.fullmatch(sent[0]):
        return sent[0].decode()
    return new_ulid()
