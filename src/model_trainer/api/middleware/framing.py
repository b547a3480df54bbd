"""Refuses requests whose length two servers could read differently (request smuggling)."""

from model_trainer.api.asgi import AsgiApp, Receive, Scope, Send, header_values
from model_trainer.api.problems import problem_response
from model_trainer.core.errors import AppError, ErrorCode


class FramingMiddleware:
    """One way to say where a body ends, or 400 and a closed connection."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_ambiguous(scope):
            message = "The request says in two ways where its body ends. Send Content-Length or Transfer-Encoding, once."
            refused = AppError(ErrorCode.CONFIG_INVALID, message)
            await problem_response(refused, status=400, headers={"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_ambiguous(scope: Scope) -> bool:
    lengths = header_values(scope, b"content-length")
    encodings = header_values(scope, b"transfer-encoding")
    return len(lengths) + len(encodings) > 1 or any(not length.isdigit() for length in lengths)
