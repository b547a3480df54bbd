"""What a process of an installation does, as functions for processes that tests fork and kill.

They start from a server process that has imported everything and computed nothing, so that an attempt begins at once
and a kill is a real one.
"""

import ctypes
import errno
import multiprocessing
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from model_trainer.container import Container, live
from model_trainer.core.config import Settings
from model_trainer.core.contracts.run import IdempotencyKey, Phase, RunKind
from model_trainer.core.logging import configure_logging
from model_trainer.infra.persistence.redis_client import RedisClient, connect, strings
from model_trainer.infra.persistence.run_queue import order_for
from model_trainer.worker_entry import run_job

IMPORTED_BEFORE = (
    "tests.faults.attempts",
    "model_trainer.worker.train_model",
    "model_trainer.worker.train_tokenizer",
    "model_trainer.models.gpt2.backend",
    "model_trainer.models.char_lstm.backend",
    "torch._dynamo",
)
OWNER = "worker-of-an-attempt"


def processes() -> ForkServerContext:
    """Where attempts are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED_BEFORE))
    return context


def begin_work(
    settings: Settings, *, run_id: str, queue: str, log_file: Path, before: str = "nothing"
) -> ForkServerProcess:
    """A process that takes the order of a run and carries it out; `before` names a fault of FAULTS."""
    return _begun(_work, settings, run_id, queue, str(log_file), before)


def begin_submit(settings: Settings, *, body: str, key: str, log_file: Path) -> ForkServerProcess:
    """A process that submits a training as the API does."""
    return _begun(_submit, settings, body, key, str(log_file))


def _begun(target: object, *arguments: object) -> ForkServerProcess:
    assert callable(target)
    process = processes().Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def submit(container: Container, *, body: str, key: str) -> str:
    """The id of the training that `body` asks for, one for each key."""
    spec = container.registry.parse_train_spec(body)
    idempotency = IdempotencyKey(key=key, body_sha256="0" * 64)
    return container.training.start(spec, request_id="r-1", idempotency=idempotency).record.run_id


def take_order(client: RedisClient, queue: str, *, run_id: str) -> str | None:
    """The payload of a run's oldest order, taken out of its list as a worker does; None when none waits."""
    for job_id in orders_of(client, queue, run_id=run_id):
        client.call("LREM", f"rq:queue:{queue}", 1, job_id)
        kind = client.call("HGET", f"runs:record:{run_id}", "kind")
        epoch = int(job_id.rpartition("-")[2])
        return order_for(RunKind(str(kind)), run_id=run_id, epoch=epoch).model_dump_json()
    return None


def next_run(client: RedisClient, queue: str) -> str:
    """Whose order is the oldest."""
    waiting = strings.validate_python(client.call("LRANGE", f"rq:queue:{queue}", 0, 0))
    assert waiting, "no order waits"
    return waiting[0].rpartition("-")[0]


def orders_of(client: RedisClient, queue: str, *, run_id: str) -> list[str]:
    """RQ's ids of the orders of a run that wait."""
    waiting = strings.validate_python(client.call("LRANGE", f"rq:queue:{queue}", 0, -1))
    return [job_id for job_id in waiting if job_id.startswith(run_id)]


def _work(settings: Settings, run_id: str, queue: str, log_file: str, before: str) -> None:
    _speak_into(log_file, settings)
    client = connect(settings.redis_url.get_secret_value())
    payload = take_order(client, queue, run_id=run_id)
    assert payload is not None, "no order waits"
    FAULTS[before](settings, run_id)
    run_job(payload, settings=settings, worker_id=f"{OWNER}-{os.getpid()}")


def _in_training(happens: Callable[[Container, str], object]) -> Callable[[Settings, str], None]:
    """A fault that comes once the run has trained for a few steps."""

    def arrange(settings: Settings, run_id: str) -> None:
        def wait() -> None:
            container = live(
                settings.model_copy(update={"app": settings.app.model_copy(update={"failpoint": None})})
            )
            while True:
                record = container.runs.get(run_id)
                if record.phase is Phase.TRAINING and record.progress.step >= 3:
                    break
                time.sleep(0.01)
            happens(container, run_id)

        threading.Thread(target=wait, daemon=True).start()

    return arrange


def _exit_when_told(settings: Settings, run_id: str) -> None:
    """SystemExit out of the middle of a step, as a library that gives up raises it."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGUSR1, leave)
    _in_training(lambda _container, _run_id: os.kill(os.getpid(), signal.SIGUSR1))(settings, run_id)


def _limit(which: int, amount: int) -> None:
    resource.setrlimit(which, (amount, amount))


def _limit_memory(_settings: Settings, _run_id: str) -> None:
    """What is mapped now, and 64 MiB more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + (64 << 20))


def _drop_privileges(_settings: Settings, _run_id: str) -> None:
    """Root without the right to pass over the permissions of files; for others nothing changes."""
    library = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    assert library.capset(header, bytes(24)) == 0


_MAKES = frozenset({"os.mkdir"})
_CHANGES = frozenset({"os.remove", "os.rename", "os.rmdir", "os.truncate"})


def refusal_of(settings: Settings) -> Path:
    """The file that says with which error the disk of the artifacts refuses what is written to it."""
    return settings.app.artifacts_root.with_name("refusal")


def _heed_refusals(settings: Settings, _run_id: str) -> None:
    """A disk that can be full or read-only without anybody's right to mount one: Python asks before it opens a file to
    write, makes a folder, and so on. What is open already can still be written to."""
    root, refusal = str(settings.app.artifacts_root), refusal_of(settings)

    def ask(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" and event not in _MAKES | _CHANGES:
            return
        path, *_, last = arguments
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(root) or not refusal.exists():
            return
        number = int(refusal.read_text())
        to_write = event == "open" and isinstance(last, int) and bool(last & (os.O_WRONLY | os.O_RDWR))
        if to_write or event in _MAKES or (event in _CHANGES and number == errno.EROFS):
            raise OSError(number, os.strerror(number), str(path))

    sys.addaudithook(ask)


FAULTS: dict[str, Callable[[Settings, str], None]] = {
    "nothing": lambda _settings, _run_id: None,
    "stop": _in_training(lambda _container, _run_id: os.kill(os.getpid(), signal.SIGTERM)),
    "pause": _in_training(lambda container, run_id: container.runs.request_pause(run_id)),
    "crash": _in_training(lambda _container, _run_id: os.kill(os.getpid(), signal.SIGSEGV)),
    "abort": _in_training(lambda _container, _run_id: os.kill(os.getpid(), signal.SIGABRT)),
    "leave": _in_training(lambda _container, _run_id: os._exit(0)),
    "raise SystemExit": _exit_when_told,
    "little memory": _limit_memory,
    "no privileges": _drop_privileges,
    "a disk that refuses": _heed_refusals,
    "small files": lambda _settings, _run_id: _limit(resource.RLIMIT_FSIZE, 24 << 10),
}
"""What can befall a worker, by name: a process of another start is told it as text."""


def _submit(settings: Settings, body: str, key: str, log_file: str) -> None:
    _speak_into(log_file, settings)
    submit(live(settings), body=body, key=key)


def _speak_into(log_file: str, settings: Settings) -> None:
    """All that this process says goes to a file, a dying word too."""
    file = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    configure_logging(service="model-trainer-worker", level="DEBUG", readable=False, stream=sys.stderr)
