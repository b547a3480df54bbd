"""Opens the other doors of the house: each by its name, as a shell would, so that no door's code knows another's.

What they share comes from the container. Everything is imported when it is opened.
"""

import asyncio
import importlib
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Protocol

from model_trainer.cli.session import Stack
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.logging import ServiceName, configure_logging


class CreateApp(Protocol):
    """api.main.create_app"""

    def __call__(self, container: object, /) -> object: ...


class ServeApp(Protocol):
    """api.serve.serve"""

    def __call__(self, app: object, /, *, host: str, port: int, stop: asyncio.Event) -> Awaitable[None]: ...


class DescribeApp(Protocol):
    """api.main.openapi_document"""

    def __call__(self, container: object, /) -> str: ...


class ServeWorker(Protocol):
    """worker_entry.serve_worker"""

    def __call__(self, settings: Settings, queue: str, /) -> object: ...


class MakeCleaner(Protocol):
    """maintenance.leftovers.LeftoverCleaner"""

    def __call__(self, *, roots: Sequence[Path], cache_folder: Path, policy: CleanupSettings) -> object: ...


class RunMaintenance(Protocol):
    """maintenance.run.run_maintenance"""

    def __call__(
        self, store: object, cleaner: object, /, *, reap_every_seconds: float, stop: threading.Event
    ) -> object: ...


class ConfigureLogging(Protocol):
    """core.logging.configure_logging"""

    def __call__(self, *, service: ServiceName, level: str, readable: bool) -> object: ...


class House:
    """The doors, as they are installed."""

    def __init__(
        self,
        *,
        find_module: Callable[[str], ModuleType] = importlib.import_module,
        configure: ConfigureLogging = configure_logging,
    ) -> None:
        """Nothing is opened yet.

        Args:
            find_module: gives a door's module by name.
            configure: sets this process' logging up.
        """
        self._find_module = find_module
        self._configure = configure

    def serve(self, settings: Settings, *, host: str, port: int) -> None:
        """The API, until SIGTERM or Ctrl-C."""
        from model_trainer.container import live

        self._start_logging(settings, "model-trainer")
        create_app: CreateApp = self._find_module("model_trainer.api.main").create_app
        serve_app: ServeApp = self._find_module("model_trainer.api.serve").serve
        app = create_app(live(settings))

        async def until_signalled() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            await serve_app(app, host=host, port=port, stop=stop)

        asyncio.run(until_signalled())

    def work(self, settings: Settings, *, queue: str) -> None:
        """A worker of one queue."""
        self._start_logging(settings, "model-trainer-worker")
        serve_worker: ServeWorker = self._find_module("model_trainer.worker_entry").serve_worker
        serve_worker(settings, queue)

    def maintain(self, settings: Settings) -> None:
        """The reaper and the cleanup, until SIGTERM or Ctrl-C."""
        from model_trainer.container import live

        self._start_logging(settings, "model-trainer-cleanup")
        container = live(settings)
        make_cleaner: MakeCleaner = importlib.import_module(
            "model_trainer.maintenance.leftovers"
        ).LeftoverCleaner
        run_maintenance: RunMaintenance = importlib.import_module(
            "model_trainer.maintenance.run"
        ).run_maintenance
        app = settings.app
        cleaner = make_cleaner(
            roots=(app.artifacts_root, app.runs_root),
            cache_folder=container.artifacts.cache_folder(),
            policy=app.cleanup,
        )
        stop = threading.Event()
        with self.stop_on_signals(stop):
            run_maintenance(container.runs, cleaner, reap_every_seconds=app.reap_every_seconds, stop=stop)

    def openapi(self) -> str:
        """The API's description; needs no Redis, and does not depend on the environment's settings."""
        from model_trainer.container import in_memory
        from model_trainer.core.config import load_settings

        describe: DescribeApp = self._find_module("model_trainer.api.main").openapi_document
        return describe(in_memory(load_settings(env_file=None)))

    def ping_redis(self, settings: Settings) -> None:
        """Raises STORE_UNAVAILABLE when Redis does not answer."""
        from model_trainer.container import live

        live(settings).runs.ping()

    def find_redis_server(self) -> Path:
        """The server binary of the embedded stack."""
        from model_trainer.container import find_server

        return find_server()

    def open_stack(self, state: Path, *, with_redis: bool) -> Stack:
        """The embedded stack over a folder. Of its supervisor only what went wrong is worth a line."""
        from model_trainer.cli.embedded import EmbeddedStack

        self._configure(service="model-trainer-cli", level="WARNING", readable=True)
        return EmbeddedStack(state, with_redis=with_redis)

    def stop_on_signals(self, stop_requested: threading.Event) -> AbstractContextManager[None]:
        """Inside, Ctrl-C and SIGTERM set the event."""
        from model_trainer.container import stop_on_signals

        return stop_on_signals(stop_requested)

    def _start_logging(self, settings: Settings, service: ServiceName) -> None:
        """Lines of a service, on standard error: readable in development, JSON in production."""
        self._configure(
            service=service, level=settings.effective_log_level, readable=settings.app_env == "dev"
        )
