"""A command line whose ways into the world are all made up."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_trainer.cli.main import call
from model_trainer.cli.output import Output
from model_trainer.cli.session import CleanUp, Process, Removal, Session, Stack, Ways
from model_trainer.client import TrainerClient
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import FakeApi


@dataclass(frozen=True)
class Rebuilt:
    """What became of one record on disk."""

    run_id: str
    fate: Literal["restored", "known", "skipped"]
    status: str = "queued"
    detail: str = ""


@dataclass
class FakeStack:
    """A stack that only remembers."""

    state: Path
    with_redis: bool
    log: list[str]
    processes: list[Process] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def redis_url(self) -> str:
        return "unix:///made-up.sock"

    @contextmanager
    def running(
        self, processes: Sequence[Process], *, env: Mapping[str, str], on_up: Callable[[str, int], object]
    ) -> Iterator[None]:
        self.processes, self.env = list(processes), dict(env)
        for number, process in enumerate(processes):
            assert process.is_ready()
            on_up(process.name, 100 + number)
        self.log.append("up")
        try:
            yield
        finally:
            self.log.append("down")


@dataclass
class FakeDoors:
    """Doors that remember who came."""

    log: list[str] = field(default_factory=list)
    document: str = '{"openapi":"3.1.0"}\n'
    redis_answers: bool = True
    store_fault: AppError | None = None
    discord_fault: AppError | None = None
    server: Path | None = Path("/opt/valkey-server")
    stacks: list[FakeStack] = field(default_factory=list)
    stop_at_once: bool = True
    rebuilt: list[Rebuilt] = field(default_factory=list)
    rebuilt_with: list[Settings] = field(default_factory=list)
    rebuild_fault: AppError | None = None
    removals: list[Removal] = field(default_factory=list)

    def serve(self, settings: Settings, *, host: str, port: int) -> None:
        self.log.append(f"serve {host}:{port}")

    def work(self, settings: Settings, *, queue: str) -> None:
        self.log.append(f"work {queue}")

    def answer(self, settings: Settings) -> None:
        self.log.append("answer")

    def maintain(self, settings: Settings) -> None:
        self.log.append("maintain")

    def tell_on_discord(self, settings: Settings, *, api_url: str, api_key: str | None) -> None:
        self.log.append(f"discord {settings.redis_url.get_secret_value()} {api_url} {api_key}")

    def check_discord(self, settings: Settings) -> str:
        if self.discord_fault is not None:
            raise self.discord_fault
        return "trainer"

    def rebuild(self, settings: Settings, *, adopt: bool) -> list[Rebuilt]:
        self.log.append(f"rebuild {adopt}")
        self.rebuilt_with.append(settings)
        if self.rebuild_fault is not None:
            raise self.rebuild_fault
        return self.rebuilt

    def clean_up(self, settings: Settings, what: CleanUp, *, dry_run: bool) -> list[Removal]:
        self.log.append(f"clean up {what} {dry_run} {settings.redis_url.get_secret_value()}")
        return self.removals

    def log_quietly(self, settings: Settings) -> None:
        self.log.append("quiet")

    def openapi(self) -> str:
        return self.document

    def ping_redis(self, settings: Settings) -> None:
        if not self.redis_answers:
            raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis does not answer.")

    def check_store(self, settings: Settings) -> None:
        if self.store_fault is not None:
            raise self.store_fault

    def find_redis_server(self) -> Path:
        if self.server is None:
            raise AppError(ErrorCode.STACK_FAILED, "No Redis server was found.")
        return self.server

    def open_stack(self, state: Path, *, with_redis: bool) -> Stack:
        stack = FakeStack(state=state, with_redis=with_redis, log=self.log)
        self.stacks.append(stack)
        return stack

    def stop_on_signals(self, stop_requested: threading.Event) -> AbstractContextManager[None]:
        return self._stopping(stop_requested)

    @contextmanager
    def _stopping(self, stop_requested: threading.Event) -> Iterator[None]:
        if self.stop_at_once:
            stop_requested.set()
        yield


@dataclass
class Bench:
    """A scripted API, made-up doors, an environment of its own."""

    api: FakeApi = field(default_factory=FakeApi)
    doors: FakeDoors = field(default_factory=FakeDoors)
    env: dict[str, str] = field(default_factory=dict)
    keys: list[str | None] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    programs: list[tuple[int, str]] = field(default_factory=list)
    settings_fault: AppError | None = None

    def ways(self) -> Ways:
        return Ways(
            connect=self._connect,
            settings=self._settings,
            environment=lambda: dict(self.env),
            doors=self.doors,
            run_program=lambda _command: self.programs.pop(0),
        )

    def session(self, *, as_json: bool = False) -> Session:
        return Session(
            ways=self.ways(),
            output=Output(as_json=as_json),
            api_url="http://api.test",
            api_key=None,
            env_file=None,
        )

    def run(self, *arguments: str) -> int:
        """One command line; its exit code."""
        return call(arguments, ways=self.ways())

    def _connect(self, url: str, api_key: str | None) -> TrainerClient:
        self.urls.append(url)
        self.keys.append(api_key)
        return self.api.client(api_key=api_key)

    def _settings(self, env_file: Path | None) -> Settings:
        if self.settings_fault is not None:
            raise self.settings_fault
        return load_settings(env_file=env_file)
