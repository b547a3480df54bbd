"""One API key, if one is configured: in X-Api-Key or as a bearer token, never in the query."""

import hashlib
import hmac

from model_trainer.api.asgi import AsgiApp, Receive, Scope, Send, header_values, loggable_path, text_of
from model_trainer.api.problems import problem_response
from model_trainer.core.config import Settings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
DOCS_PATHS = frozenset({"/docs", "/openapi.json"})
METRICS_PATHS = frozenset({"/metrics"})
_MAX_KEY_BYTES = 4096

logger = get_logger(__name__)


class AuthMiddleware:
    """Lets a request through that carries the key, or that needs none."""

    def __init__(self, app: AsgiApp, *, settings: Settings) -> None:
        self._app = app
        security = settings.security
        self._digest = (
            None if security.api_key is None else _digest(security.api_key.get_secret_value().encode())
        )
        self._open = HEALTH_PATHS
        if not security.protect_docs:
            self._open |= DOCS_PATHS
        if not security.protect_metrics:
            self._open |= METRICS_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._digest is None or text_of(scope, "path") in self._open:
            await self._app(scope, receive, send)
            return
        sent = _credentials(scope)
        # Exactly one credential: of two, another server on the way might have looked at the other one.
        if (
            len(sent) == 1
            and len(sent[0]) <= _MAX_KEY_BYTES
            and hmac.compare_digest(_digest(sent[0]), self._digest)
        ):
            await self._app(scope, receive, send)
            return
        logger.warning("request_unauthorized", path=loggable_path(scope), method=text_of(scope, "method"))
        message = "Send the API key in one X-Api-Key header, or as Authorization: Bearer."
        await problem_response(AppError(ErrorCode.UNAUTHORIZED, message))(scope, receive, send)


def _credentials(scope: Scope) -> list[bytes]:
    keys = header_values(scope, b"x-api-key")
    for authorization in header_values(scope, b"authorization"):
        scheme, _, token = authorization.partition(b" ")
        keys.append(token.strip() if scheme.lower() == b"bearer" else b"")
    return keys


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
