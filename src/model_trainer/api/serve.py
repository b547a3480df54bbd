"""Runs the app on Hypercorn until it is told to stop. Streams end first, so that nothing waits for them."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from model_trainer.api.main import Application

HEADER_SECONDS = 10.0
"""A connection that has not sent a whole request head by then is closed; so is an idle one kept open."""
GRACEFUL_SECONDS = 10.0
MAX_HEADER_BYTES = 16 * 1024


async def serve(app: Application, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Serves until `stop` is set; requests being answered then have GRACEFUL_SECONDS to end."""

    async def until_stop() -> None:
        await stop.wait()
        app.stopping.set()

    await serve_asgi(as_framework(app), serve_config(host, port), shutdown_trigger=until_stop)


@runtime_checkable
class Framework(Protocol):
    """An ASGI app in Hypercorn's words: it types each message, where Starlette takes any mapping."""

    def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable, /
    ) -> Awaitable[None]: ...


def as_framework(app: object) -> Framework:
    """`app` as Hypercorn's types see it; raises TypeError for what cannot be called."""
    if not isinstance(app, Framework):
        raise TypeError(f"{type(app).__name__} is not an ASGI app")
    return app


def serve_config(host: str, port: int) -> Config:
    """Hypercorn's settings: limits on what a client may take, errors through our own log."""
    config = Config()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    config.keep_alive_timeout = HEADER_SECONDS
    config.graceful_timeout = GRACEFUL_SECONDS
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    return config
