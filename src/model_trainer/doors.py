"""Opens the doors for the command line: the one file that knows them all. Imports each when it is opened."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from model_trainer.cli.session import CleanUp, Stack
    from model_trainer.core.config import Settings
    from model_trainer.core.logging import ServiceName
    from model_trainer.maintenance.rebuild import RebuiltRun
    from model_trainer.maintenance.telling import Removal


class ConfigureLogging(Protocol):
    """core.logging.configure_logging"""

    def __call__(
        self,
        *,
        service: "ServiceName",
        level: str,
        readable: bool,
        log_file: Path | None = None,
        quiet: bool = False,
    ) -> object: ...


class LiveDoors:
    """The doors, as they are installed (cli.session.Doors)."""

    def __init__(self, *, configure: ConfigureLogging | None = None) -> None:
        """Nothing is opened yet; `configure` sets this process' logging up."""
        self._configure = configure or _configure_logging

    def serve(self, settings: "Settings", *, host: str, port: int) -> None:
        """The API, until SIGTERM or Ctrl-C."""
        import asyncio

        from model_trainer.api.main import create_app
        from model_trainer.api.serve import serve
        from model_trainer.container import live

        self._start_logging(settings, "model-trainer", log_name="api")
        app = create_app(live(settings))

        async def until_signalled() -> None:
            await serve(app, host=host, port=port, stop=_set_by_signals())

        asyncio.run(until_signalled())

    def work(self, settings: "Settings", *, queue: str) -> None:
        """A worker of one queue, until SIGTERM or Ctrl-C."""
        from model_trainer.worker_entry import serve_worker

        self._start_logging(settings, "model-trainer-worker", log_name=f"worker-{queue}")
        serve_worker(settings, queue)

    def answer(self, settings: "Settings") -> None:
        """Questions to trained models, until SIGTERM or Ctrl-C."""
        from model_trainer.inference_entry import serve_inference

        self._start_logging(settings, "model-trainer-worker", log_name="inference")
        serve_inference(settings)

    def maintain(self, settings: "Settings") -> None:
        """The reaper and the cleanup, until SIGTERM or Ctrl-C."""
        from model_trainer.container import live
        from model_trainer.maintenance.chores import maintain

        self._start_logging(settings, "model-trainer-cleanup", log_name="maintenance")
        stop = threading.Event()
        with self.stop_on_signals(stop):
            maintain(live(settings), stop=stop)

    def tell_on_discord(self, settings: "Settings", *, api_url: str, api_key: str | None) -> None:
        """The Discord bot, until SIGTERM or Ctrl-C."""
        import asyncio

        from model_trainer.discord_bot.needs import access_of

        self._start_logging(settings, "model-trainer-discord", log_name="discord")
        access = access_of(settings)  # Discord's library is there, so it may be imported
        from model_trainer.client import TrainerClient
        from model_trainer.container import live
        from model_trainer.discord_bot.serve import API_TIMEOUT_SECONDS, serve_bot

        container = live(settings)

        async def until_signalled(client: TrainerClient) -> None:
            feed, watch_list = container.feed, container.watch_list
            await serve_bot(access, feed=feed, watch_list=watch_list, client=client, stop=_set_by_signals())

        with TrainerClient(api_url, api_key=api_key, timeout_seconds=API_TIMEOUT_SECONDS) as client:
            asyncio.run(until_signalled(client))

    def check_discord(self, settings: "Settings") -> str:
        """The name of the bot whose token is set."""
        import asyncio

        from model_trainer.discord_bot.needs import access_of

        access = access_of(settings)  # as above
        from model_trainer.discord_bot.identity import whose

        return asyncio.run(whose(access.token))

    def rebuild(self, settings: "Settings", *, adopt: bool) -> "tuple[RebuiltRun, ...]":
        """Brings back what Redis has lost and the disk has kept."""
        from model_trainer.container import live
        from model_trainer.maintenance.chores import rebuild

        self._configure(service="model-trainer-cli", level="WARNING", readable=True)
        return rebuild(live(settings), adopt=adopt)

    def clean_up(self, settings: "Settings", what: "CleanUp", *, dry_run: bool) -> "tuple[Removal, ...]":
        """Cleans once; what it did is logged as the maintenance process logs it."""
        from model_trainer.container import live
        from model_trainer.maintenance.cleaning import clean_up

        self._configure(
            service="model-trainer-cleanup",
            level=settings.effective_log_level,
            readable=True,
            log_file=settings.app.logs_root / "cleanup.jsonl",
            quiet=True,
        )
        return tuple(clean_up(live(settings), what, dry_run=dry_run))

    def log_quietly(self, settings: "Settings") -> None:
        """A command that does a worker's job: its terminal shows what went wrong, the run's own log all of it."""
        self._configure(
            service="model-trainer-cli", level=settings.effective_log_level, readable=True, quiet=True
        )

    def openapi(self) -> str:
        """The API's description; needs no Redis, and does not depend on the environment's settings."""
        from model_trainer.api.main import openapi_document
        from model_trainer.container import in_memory
        from model_trainer.core.config import load_settings

        return openapi_document(in_memory(load_settings(env_file=None)))

    def ping_redis(self, settings: "Settings") -> None:
        """Raises STORE_UNAVAILABLE when Redis does not answer."""
        from model_trainer.container import live

        live(settings).runs.ping()

    def check_store(self, settings: "Settings") -> None:
        """Raises STORE_UNAVAILABLE or CONFIG_INVALID when the artifact store cannot be worked with."""
        from model_trainer.container import live

        live(settings).store.check()

    def find_redis_server(self) -> Path:
        """The server binary of the embedded stack; raises STACK_FAILED when there is none."""
        from model_trainer.container import find_server

        return find_server()

    def open_stack(self, state: Path, *, with_redis: bool) -> "Stack":
        """The embedded stack over a folder. Of its supervisor only what went wrong is worth a line."""
        from model_trainer.cli.embedded import EmbeddedStack

        self._configure(service="model-trainer-cli", level="WARNING", readable=True)
        return EmbeddedStack(state, with_redis=with_redis)

    def stop_on_signals(self, stop_requested: threading.Event) -> AbstractContextManager[None]:
        """Inside, Ctrl-C and SIGTERM set the event."""
        from model_trainer.container import stop_on_signals

        return stop_on_signals(stop_requested)

    def _start_logging(self, settings: "Settings", service: "ServiceName", *, log_name: str) -> None:
        """On standard error, readable in development and JSON in production; and as JSON under APP__LOGS_ROOT."""
        self._configure(
            service=service,
            level=settings.effective_log_level,
            readable=settings.app_env == "dev",
            log_file=settings.app.logs_root / f"{log_name}.jsonl",
        )


def _set_by_signals() -> "asyncio.Event":
    """Of the running loop: Ctrl-C and SIGTERM set it."""
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _configure_logging(
    *,
    service: "ServiceName",
    level: str,
    readable: bool,
    log_file: Path | None = None,
    quiet: bool = False,
) -> None:
    """Imported when it is needed: structlog would be a quarter of what `--help` takes."""
    from model_trainer.core.logging import configure_logging

    configure_logging(service=service, level=level, readable=readable, log_file=log_file, quiet=quiet)
