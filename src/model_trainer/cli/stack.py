"""Which processes make up the embedded stack, and when it is ready. Starting and keeping them is the stack's own."""

import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_trainer.cli.session import GRACE_SECONDS, Process
from model_trainer.client import TrainerClient
from model_trainer.core.errors import AppError, ErrorCode

ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
READY_SECONDS = 60.0
POLL_SECONDS = 0.25
WORKER_MARGIN_SECONDS = 15.0
"""What a worker needs to go beside the time its job has for a checkpoint."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where this machine finds it."""
        host = "127.0.0.1" if self.host in ANY_ADDRESS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def stack_processes(
    address: Address,
    *,
    is_api_up: Callable[[], bool],
    env_file: Path | None,
    log_folder: Path | None,
    stop_grace_seconds: float = 0.0,
) -> list[Process]:
    """The API, a worker for trainings, one for short jobs, one that answers for models, maintenance: all of them this very
    program.

    Args:
        address: where the API listens.
        is_api_up: asked before the others are started.
        env_file: what they read below their environment.
        log_folder: each process' output goes into a file there; None passes it on to ours.
        stop_grace_seconds: APP__STOP_GRACE_SECONDS, as the workers will read it: they are given longer than that.
    """

    worker_grace = max(GRACE_SECONDS, stop_grace_seconds + WORKER_MARGIN_SECONDS)

    def process(
        name: str,
        *arguments: str,
        is_ready: Callable[[], bool] = _at_once,
        grace_seconds: float = GRACE_SECONDS,
    ) -> Process:
        settings = ("--env-file", "" if env_file is None else str(env_file))
        return Process(
            name=name,
            argv=(sys.executable, "-m", "model_trainer", *settings, *arguments),
            is_ready=is_ready,
            log_file=None if log_folder is None else log_folder / f"{name}.log",
            grace_seconds=grace_seconds,
        )

    return [
        process("api", "serve", "--host", address.host, "--port", str(address.port), is_ready=is_api_up),
        process("worker", "worker", "--queue", "training", grace_seconds=worker_grace),
        process("worker-short", "worker", "--queue", "short", grace_seconds=worker_grace),
        process("inference", "inference", grace_seconds=worker_grace),
        process("maintenance", "maintenance"),
    ]


def require_fork(platform: str = sys.platform) -> None:
    """Raises STACK_FAILED where workers cannot run."""
    if platform == "win32":
        message = "Windows cannot run the workers. Start the services in Docker Desktop: docker compose --profile dev up -d --build"
        raise AppError(ErrorCode.STACK_FAILED, message)


def free_address(host: str, port: int) -> Address:
    """An address nobody listens on (port 0: any); raises STACK_FAILED when somebody does.

    Looked at first, because a stranger's server there would answer in the place of ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as server:
            bound: tuple[str, int] = server.getsockname()[:2]
    except OSError as error:
        message = f"Nothing can listen on {host}:{port} ({error.strerror}). Choose another port with --port."
        raise AppError(ErrorCode.STACK_FAILED, message) from error
    return Address(host=host, port=bound[1])


def state_environment(state: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with everything that is kept on disk, corpora included, inside one folder; the folders are made."""
    roots = {
        "APP__DATA_ROOT": state / "corpus",
        "APP__ARTIFACTS_ROOT": state / "artifacts",
        "APP__RUNS_ROOT": state / "runs",
        "APP__LOGS_ROOT": state / "logs",
    }
    for folder in roots.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {**base, **{name: str(folder.absolute()) for name, folder in roots.items()}}


def wait_until_ready(
    client: TrainerClient,
    *,
    stopped: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    timeout_seconds: float = READY_SECONDS,
) -> bool:
    """True when /readyz says yes, False when `stopped` says so first; raises STACK_FAILED at the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not client.is_ready():
        if stopped():
            return False
        if time.monotonic() >= deadline:
            raise AppError(ErrorCode.STACK_FAILED, f"The services do not get ready: {_why(client)}")
        sleep(POLL_SECONDS)
    return True


def _why(client: TrainerClient) -> str:
    try:
        client.check_ready()
    except AppError as error:
        return f"{error.message} Look at what they logged, or ask `model-trainer doctor`."
    return "they were just too slow. Start them again."


def _at_once() -> bool:
    return True
