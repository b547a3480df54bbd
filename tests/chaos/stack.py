"""The whole service over one folder, with the harness in the supervisor's place: it starts again what was killed."""

import signal
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import SecretStr

from model_trainer.client import TrainerClient
from model_trainer.container import Container, live
from model_trainer.core.config import Settings, load_settings
from model_trainer.core.contracts.ids import is_ulid
from model_trainer.infra.stack.embedded_redis import EmbeddedRedis
from tests.chaos.nursery import Nursery
from tests.chaos.processes import kill, open_files, wait_until_ended

Kind = Literal["api", "worker", "horse", "maintenance", "redis", "worker_and_horse"]
READY_SECONDS = 30.0
GRACE_SECONDS = 10
"""What was begun so long ago has nobody who will finish it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the stack notices things: faster than as installed, so that a second of a test holds more."""

    lease_seconds: float = 6.0
    heartbeat_seconds: float = 0.3
    reap_every_seconds: float = 0.3

    def as_environment(self) -> dict[str, str]:
        """The settings' variables."""
        return {
            "APP__LEASE_SECONDS": str(self.lease_seconds),
            "APP__HEARTBEAT_SECONDS": str(self.heartbeat_seconds),
            "APP__REAP_EVERY_SECONDS": str(self.reap_every_seconds),
        }


@dataclass(slots=True)
class Member:
    """One process that is to be there."""

    name: str
    role: str
    argument: str
    env: dict[str, str] = field(default_factory=dict)
    sabotage: str = ""
    pid: int = 0
    restart_at: float | None = None
    """Set while it lies killed."""


class Stack:
    """API, two workers for trainings, one for short jobs, maintenance, and a Redis that forgets nothing."""

    def __init__(
        self,
        folder: Path,
        nursery: Nursery,
        *,
        pace: Pace | None = None,
        sabotage: str = "",
        hosts: tuple[str, str] | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: where everything lies.
            nursery: what forks the processes.
            pace: how fast the stack notices things.
            sabotage: the defect of the workers for trainings.
            hosts: names of the two machines these workers believe to be on; None: on this one, both.
        """
        self.folder = folder
        self.pace = pace or Pace()
        self.redis = EmbeddedRedis(folder / "redis")
        self._nursery = nursery
        self._redis_back_at: float | None = None
        self._port = _free_port()
        roots = {name: folder / name for name in ("artifacts", "runs", "logs", "corpus")}
        for root in roots.values():
            root.mkdir(parents=True, exist_ok=True)
        self._env = {
            **self.pace.as_environment(),
            "APP__ARTIFACTS_ROOT": str(roots["artifacts"]),
            "APP__RUNS_ROOT": str(roots["runs"]),
            "APP__LOGS_ROOT": str(roots["logs"]),
            "APP__DATA_ROOT": str(roots["corpus"]),
            "APP__CLEANUP__GRACE_PERIOD_SECONDS": str(GRACE_SECONDS),
            "APP_ENV": "prod",
            "REDIS_URL": self.redis.url,
        }
        first, second = ({"APP__HOST_ID": host} for host in hosts) if hosts else ({}, {})
        self.members = {
            member.name: member
            for member in (
                Member("api", "api", str(self._port)),
                Member("worker-1", "worker", "training", env=first, sabotage=sabotage),
                Member("worker-2", "worker", "training", env=second, sabotage=sabotage),
                Member("worker-short", "worker", "short"),
                Member("inference", "inference", ""),
                Member("maintenance", "maintenance", ""),
            )
        }
        self.settings = self._settings(roots)
        self.container: Container = live(self.settings)
        self.client = self.new_client()

    def new_client(self) -> TrainerClient:
        """A client of the API; one for each thread."""
        return TrainerClient(f"http://127.0.0.1:{self._port}", timeout_seconds=10.0)

    def __enter__(self) -> Self:
        """Starts everything; returns when the API is ready, workers included."""
        self.redis.start()
        for member in self.members.values():
            self._start(member)
        deadline = time.monotonic() + READY_SECONDS
        while not self.client.is_ready():
            if time.monotonic() > deadline:
                raise AssertionError(f"the stack does not get ready: see {self.folder}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kills what is left."""
        self.client.close()
        for pid in self._nursery.living():
            kill(pid, signal.SIGKILL)
            wait_until_ended(pid)
        self.redis.stop(grace_seconds=5.0)

    def stop_in_order(self, *, grace_seconds: float = 20.0) -> dict[str, int | None]:
        """Asks every process to go, the last started first; their exit codes, None for one that stayed."""
        members = list(reversed(self.members.values()))
        for member in members:
            kill(member.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        codes: dict[str, int | None] = {}
        for member in members:
            while member.pid not in self._nursery.ended() and time.monotonic() < deadline:
                time.sleep(0.01)
            codes[member.name] = self._nursery.ended().get(member.pid)
        return codes

    def look_after(self) -> None:
        """Starts again what was killed and has lain long enough, and what ended by itself."""
        now = time.monotonic()
        if self._redis_back_at is not None and now >= self._redis_back_at:
            self._redis_back_at = None
            self.redis.stop(grace_seconds=0)  # collects it
            self.redis.start()
        ended = self._nursery.ended()
        for member in self.members.values():
            if member.restart_at is None and member.pid in ended:
                member.restart_at = now
            if member.restart_at is not None and now >= member.restart_at:
                self._start(member)

    def is_whole(self) -> bool:
        """Whether nothing lies killed."""
        return self._redis_back_at is None and all(
            member.restart_at is None for member in self.members.values()
        )

    def targets(self, kind: Kind) -> list[int]:
        """The processes of a kind that live now; for worker_and_horse the workers that have one."""
        if kind == "redis":
            alive = self._redis_back_at is None and self.redis.pid is not None
            return [self.redis.pid] if alive and self.redis.pid is not None else []
        horses = self.horses()
        if kind == "horse":
            return sorted(horses)
        if kind == "worker_and_horse":
            return sorted(horses.values())
        return [
            member.pid
            for member in self.members.values()
            if member.role == kind and member.restart_at is None
        ]

    def strike(self, kind: Kind, pid: int, *, down_seconds: float) -> None:
        """Kills a process, and its horse with it where the kind says so; it is started again after `down_seconds`."""
        if kind == "worker_and_horse":
            for horse, worker in self.horses().items():
                if worker == pid:
                    kill(horse, signal.SIGKILL)
        kill(pid, signal.SIGKILL)
        if not wait_until_ended(pid):
            raise AssertionError(f"{kind} {pid} survives SIGKILL")
        if kind == "redis":
            self._redis_back_at = time.monotonic() + down_seconds
        for member in self.members.values():
            if member.pid == pid:
                member.restart_at = time.monotonic() + down_seconds

    def ask_to_stop(self, name: str) -> None:
        """SIGTERM to one process; it is started again once it has gone."""
        kill(self.members[name].pid, signal.SIGTERM)

    def horses(self) -> dict[int, int]:
        """The processes that carry an order out, each with its worker."""
        workers = {member.pid for member in self.members.values() if member.role == "worker"}
        return {
            pid: process.parent
            for pid, process in self._nursery.living().items()
            if process.parent in workers
        }

    def trainers(self) -> dict[str, list[int]]:
        """By run, the processes that have its log open for writing: those past their claim. The kernel's word."""
        found: dict[str, list[int]] = {}
        stack = {member.pid for member in self.members.values()}
        for pid in self._nursery.living():
            if pid in stack:
                continue
            for path in open_files(pid):
                run_id = Path(path).parent.name
                if path.endswith("/logs.jsonl") and is_ulid(run_id):
                    found.setdefault(run_id, []).append(pid)
        return found

    def strays(self) -> list[int]:
        """Processes that came out of this stack, and belong neither to it nor to one of its workers."""
        stack = {member.pid for member in self.members.values()}
        return sorted(
            pid
            for pid, each in self._nursery.living().items()
            if pid not in stack and each.parent not in stack
        )

    def all_processes(self) -> list[int]:
        """Whatever came out of this stack and lives."""
        return sorted(self._nursery.living())

    def _start(self, member: Member) -> None:
        log = self.folder / "logs" / f"{member.name}.out"
        member.pid = self._nursery.start(
            member.role,
            member.argument,
            env={**self._env, **member.env},
            log=log,
            sabotage=member.sabotage,
        )
        member.restart_at = None

    def _settings(self, roots: Mapping[str, Path]) -> Settings:
        """As the processes have them, for the harness' own look at the store."""
        settings = load_settings(env_file=None)
        places = {f"{name}_root": root for name, root in roots.items() if name != "corpus"}
        app = settings.app.model_copy(update={**places, "data_root": roots["corpus"]})
        return settings.model_copy(update={"redis_url": SecretStr(self.redis.url), "app": app})


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address: tuple[str, int] = server.getsockname()
    return address[1]
