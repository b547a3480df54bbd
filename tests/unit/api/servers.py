"""The API on a real server, on loopback, in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import uvicorn

from model_trainer.api.main import create_app
from model_trainer.api.serve import serve
from model_trainer.container import Container


class HasContainer(Protocol):
    """Whatever is to be served."""

    @property
    def container(self) -> Container:
        """Its parts."""
        ...


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_open(port: int) -> None:
    """Returns when somebody listens."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise TimeoutError(port)


class Running:
    """A server that runs, and how to end it."""

    def __init__(
        self, port: int, loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread
    ) -> None:
        self.port = port
        self._loop = loop
        self._stop = stop
        self._thread = thread

    def stop(self) -> None:
        """Tells it to stop."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def join(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


@contextmanager
def hypercorn(service: HasContainer) -> Iterator[Running]:
    """The API as it is served in production."""
    port, ready = free_port(), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(ready.set)
        loop.run_until_complete(serve(create_app(service.container), host="127.0.0.1", port=port, stop=stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run, name="hypercorn")
    thread.start()
    ready.wait(20)
    running = Running(port, loop, stop, thread)
    try:
        wait_until_open(port)
        yield running
    finally:
        if thread.is_alive():
            running.stop()
        assert running.join(20)


@contextmanager
def uvicorn_server(service: HasContainer) -> Iterator[int]:
    """The same app on the other server."""
    port = free_port()
    config = uvicorn.Config(
        create_app(service.container), host="127.0.0.1", port=port, log_config=None, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        wait_until_open(port)
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
