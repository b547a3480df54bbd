"""What one call of the command line works with: the global options, and the ways into the world.

Imports nothing heavy, so that `--help` stays quick: what a way needs is imported when it is taken.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import typer

if TYPE_CHECKING:
    from model_trainer.cli.output import Output
    from model_trainer.client import TrainerClient
    from model_trainer.core.config import Settings

DEFAULT_API_URL = "http://127.0.0.1:8000"
GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the embedded stack."""

    name: str
    argv: tuple[str, ...]
    is_ready: Callable[[], bool]
    """Asked until it says yes; only then the next process is started."""
    log_file: Path | None
    """None: its output is ours."""
    grace_seconds: float = GRACE_SECONDS
    """How long it may take to go once asked; it is killed then."""


class Stack(Protocol):
    """The embedded stack of one state folder: a Redis of its own, and processes that are kept running."""

    @property
    def redis_url(self) -> str:
        """Where its Redis will be; known before it runs."""
        ...

    def running(
        self, processes: Sequence[Process], *, env: Mapping[str, str], on_up: Callable[[str, int], object]
    ) -> AbstractContextManager[None]:
        """Inside, Redis and then the processes are up, with exactly this environment; afterwards they have gone."""
        ...


class RebuiltRun(Protocol):
    """What became of one record on disk (maintenance.rebuild.RebuiltRun)."""

    @property
    def run_id(self) -> str: ...
    @property
    def fate(self) -> Literal["restored", "known", "skipped"]: ...
    @property
    def status(self) -> str: ...
    @property
    def detail(self) -> str: ...


CleanUp = Literal["artifacts", "corpus-cache", "tokenizers"]


class Removal(Protocol):
    """What a clean-up removed, would remove (due) or could not remove (maintenance.telling.Removal)."""

    @property
    def path(self) -> Path: ...
    @property
    def fate(self) -> Literal["removed", "due", "failed"]: ...
    @property
    def num_files(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def run_id(self) -> str | None: ...
    @property
    def detail(self) -> str: ...


class Doors(Protocol):
    """The other doors of the house, and what the command line shares with them through the container."""

    def serve(self, settings: "Settings", *, host: str, port: int) -> None:
        """The API, until it is told to stop."""
        ...

    def work(self, settings: "Settings", *, queue: str) -> None:
        """A worker of one queue, until it is told to stop."""
        ...

    def answer(self, settings: "Settings") -> None:
        """Questions to trained models, until told to stop."""
        ...

    def maintain(self, settings: "Settings") -> None:
        """The reaper and the cleanup, until told to stop."""
        ...

    def tell_on_discord(self, settings: "Settings", *, api_url: str, api_key: str | None) -> None:
        """The Discord bot, until told to stop. Raises CONFIG_INVALID for what it lacks, UNAUTHORIZED for a wrong token."""
        ...

    def check_discord(self, settings: "Settings") -> str:
        """The name of the bot whose token is set. Raises what the bot would end with, SERVICE_UNAVAILABLE when Discord is
        away."""
        ...

    def rebuild(self, settings: "Settings", *, adopt: bool) -> Sequence[RebuiltRun]:
        """Brings back what Redis has lost and the disk has kept; with `adopt` also what another installation wrote."""
        ...

    def clean_up(self, settings: "Settings", what: CleanUp, *, dry_run: bool) -> Sequence[Removal]:
        """Cleans once what the maintenance process cleans again and again; with `dry_run` only looks."""
        ...

    def log_quietly(self, settings: "Settings") -> None:
        """Only what goes wrong is logged to the terminal."""
        ...

    def openapi(self) -> str:
        """The API's description: a JSON document, the same bytes for the same code."""
        ...

    def ping_redis(self, settings: "Settings") -> None:
        """Raises STORE_UNAVAILABLE when Redis does not answer."""
        ...

    def check_store(self, settings: "Settings") -> None:
        """Raises STORE_UNAVAILABLE or CONFIG_INVALID when the artifact store cannot be worked with."""
        ...

    def find_redis_server(self) -> Path:
        """The server binary of the embedded stack; raises STACK_FAILED when there is none."""
        ...

    def open_stack(self, state: Path, *, with_redis: bool) -> Stack:
        """The embedded stack over a folder. Nothing is started yet."""
        ...

    def stop_on_signals(self, stop_requested: threading.Event) -> AbstractContextManager[None]:
        """Inside, Ctrl-C and SIGTERM set the event instead of ending this process."""
        ...


@dataclass(frozen=True, slots=True)
class Ways:
    """How commands reach the world; tests hand in others."""

    connect: Callable[[str, str | None], "TrainerClient"]
    """A client of the API at an address, with a key."""
    settings: Callable[[Path | None], "Settings"]
    """The settings of this process, with this .env below the environment."""
    environment: Callable[[], dict[str, str]]
    """What processes we start inherit."""
    doors: Doors
    run_program: Callable[[Sequence[str]], tuple[int, str]]
    """A short program's exit code and output."""


@dataclass(frozen=True, slots=True)
class Session:
    """One call."""

    ways: Ways
    output: "Output"
    api_url: str | None
    """As --api-url or the environment say."""
    api_key: str | None
    env_file: Path | None
    """Read below the environment, if it is there."""

    def settings(self) -> "Settings":
        """The settings of this process."""
        return self.ways.settings(self.env_file)

    def connect(self) -> "TrainerClient":
        """A client of the API."""
        return self.ways.connect(*self.address())

    def address(self) -> tuple[str, str | None]:
        """Where the API is, and its key: those given, else those in the settings."""
        url, key = self.api_url, self.api_key
        if url is None or key is None:
            settings = self.settings()
            if url is None:
                url = settings.api_base_url or DEFAULT_API_URL
            if key is None and settings.security.api_key is not None:
                key = settings.security.api_key.get_secret_value()
        return url, key


def session_of(ctx: typer.Context) -> Session:
    """The session that the root command put there."""
    found: object = ctx.obj
    if not isinstance(found, Session):
        raise TypeError("a command was called without its root command")
    return found
