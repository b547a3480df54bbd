"""Door: the queue. A long-lived process that has imported everything, and a forked child for each order.

Import only: a parallel tensor operation before the fork would hang every child, so nothing is computed here.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from model_trainer import __version__
from model_trainer.container import live
from model_trainer.core.compute.machine import (
    computes_bf16,
    cpu_flags,
    hostname,
    physical_memory_bytes,
    usable_cpus,
)
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import export_for_libraries
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import WorkerRegistry
from model_trainer.registry import Registry
from model_trainer.worker.dispatch import dispatch

log = get_logger(__name__)

REGISTRATION_SECONDS = 15.0
"""How long a worker counts as alive after its last word; it speaks every two seconds."""
_JOBS = (
    "model_trainer.worker.train_model",
    "model_trainer.worker.train_tokenizer",
    "model_trainer.worker.evaluate_model",
)
_EXTRAS = {"sentencepiece": "sentencepiece", "parquet": "pyarrow"}
_ASK_CUDA = "from model_trainer.engine.devices import probe_machine; print(probe_machine().cuda_memory_bytes)"

Ask = Callable[[str], str]
"""Runs a line of Python in a process of its own; gives what it prints."""


def serve_worker(settings: Settings, queue: str) -> None:
    """Works on one queue until SIGTERM or SIGINT."""
    export_for_libraries(settings)
    container = live(settings)
    preload(container.registry)
    worker = describe_worker(queue)
    log.info("worker_started", worker_id=worker.worker_id, queue=queue, version=__version__)

    run = partial(run_job, settings=settings, worker_id=worker.worker_id)

    def say_alive() -> None:
        container.workers.register(worker, ttl_seconds=REGISTRATION_SECONDS)

    container.queue_server(queue, run=run, on_heartbeat=say_alive).serve()
    say_goodbye(container.workers, worker)
    log.info("worker_stopped", worker_id=worker.worker_id, queue=queue)


def say_goodbye(workers: WorkerRegistry, worker: Worker) -> None:
    """Takes the worker off the list at once; a store that is away forgets it in a few seconds by itself."""
    try:
        workers.unregister(worker.worker_id)
    except AppError as error:
        log.warning("worker_not_unregistered", worker_id=worker.worker_id, error_code=error.code.value)


def run_job(payload: str, *, settings: Settings, worker_id: str) -> None:
    """One order, in a process of its own: the supervisor boundary. What goes wrong here is logged and told to RQ."""
    try:
        dispatch(payload, live(settings).worker_parts(worker_id))
    except Exception:
        log.error("order_not_carried_out", worker_id=worker_id)
        raise


def preload(registry: Registry) -> None:
    """Imports what jobs need, so that a forked child starts at once."""
    for name in _JOBS:
        importlib.import_module(name)
    for family in registry.families().values():
        family.backend()
    for kind in registry.tokenizers().values():
        if not registry.missing_modules(kind):
            kind.backend()


def describe_worker(queue: str, *, ask: Ask | None = None) -> Worker:
    """What this process can do. CUDA is asked for elsewhere: a process that has touched it cannot fork."""
    from model_trainer.engine.devices import is_cuda_build

    cuda_memory = int((ask or in_own_process)(_ASK_CUDA)) if ask is not None or is_cuda_build() else 0
    host = hostname()
    return Worker(
        worker_id=f"{host}-{os.getpid()}-{new_ulid()[-6:]}",
        queue=queue,
        host=host,
        pid=os.getpid(),
        devices=("cpu", "cuda") if cuda_memory > 0 else ("cpu",),
        memory_bytes=physical_memory_bytes(),
        cuda_memory_bytes=cuda_memory,
        cpu_count=usable_cpus(),
        native_bf16=computes_bf16(cpu_flags()),
        extras=tuple(
            name for name, module in _EXTRAS.items() if importlib.util.find_spec(module) is not None
        ),
        version=__version__,
    )


def in_own_process(line: str) -> str:
    """What a line of Python prints, run by a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", line], check=True, capture_output=True, text=True).stdout
