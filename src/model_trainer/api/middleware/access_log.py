"""One log line and one count per request. The query is left out: it may hold what should not be kept."""

import time
from typing import Protocol, runtime_checkable

from model_trainer.api.asgi import AsgiApp, Message, Receive, Scope, Send, loggable_path, text_of
from model_trainer.core.logging import get_logger

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})

logger = get_logger(__name__)


class RequestMeter(Protocol):
    """Counts answered requests."""

    def observe(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """One request; labels are of a bounded set."""
        ...


@runtime_checkable
class _HasPath(Protocol):
    """A route that was found, by its template."""

    path: str


class AccessLogMiddleware:
    """Says what was asked, what was answered and how long that took."""

    def __init__(self, app: AsgiApp, *, meter: RequestMeter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began = time.monotonic()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            sent = message.get("status")
            status = sent if isinstance(sent, int) else status
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        found = scope.get("route")
        route = found.path if isinstance(found, _HasPath) else "unmatched"
        method = text_of(scope, "method")
        self._meter.observe(
            route=route, method=method if method in METHODS else "other", status=status, seconds=seconds
        )
        say = logger.debug if route in QUIET_ROUTES else logger.info
        say(
            "request_answered",
            category="access",
            method=method[:16],
            path=loggable_path(scope),
            route=route,
            status_code=status,
            duration_seconds=round(seconds, 6),
        )
