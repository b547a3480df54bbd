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
    physical_memory_bytes,
    usable_cpus,
)
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import export_for_libraries
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore, WorkerRegistry
from model_trainer.core.ports.storage import RunLocks
from model_trainer.models.family import DetectorFamily, LanguageFamily
from model_trainer.registry import Registry
from model_trainer.worker.dispatch import dispatch
from model_trainer.worker.lost import lost_holders

log = get_logger(__name__)

REGISTRATION_SECONDS = 15.0
"""How long a worker counts as alive after its last word; it speaks every two seconds."""
_JOBS = (
    "model_trainer.worker.train_model",
    "model_trainer.worker.train_tokenizer",
    "model_trainer.worker.evaluate_model",
)
_LATE = "torch._dynamo"
"""What torch imports when the first optimizer is made. Measured: 1.2 s on a quiet machine, up to 4 s on a busy one, in every
forked child that the worker did not spare it."""
_EXTRAS = {"sentencepiece": "sentencepiece", "parquet": "pyarrow"}
_ASK_CUDA = "from model_trainer.engine.devices import probe_machine; print(probe_machine().cuda_memory_bytes)"

Ask = Callable[[str], str]
"""Runs a line of Python in a process of its own; gives what it prints."""


def serve_worker(settings: Settings, queue: str) -> None:
    """Works on one queue until SIGTERM or SIGINT."""
    export_for_libraries(settings)
    container = live(settings)
    preload(container.registry)
    worker = describe_worker(queue, host=container.locks.host)
    log.info("worker_started", worker_id=worker.worker_id, queue=queue, version=__version__)

    run = partial(run_job, settings=settings, worker_id=worker.worker_id)

    def say_alive() -> None:
        container.workers.register(worker, ttl_seconds=REGISTRATION_SECONDS)

    def look_for_lost_runs() -> None:
        reap_lost(container.runs, container.locks)

    look_for_lost_runs()
    server = container.queue_server(queue, run=run, on_heartbeat=say_alive, on_child_lost=look_for_lost_runs)
    server.serve()
    say_goodbye(container.workers, worker)
    log.info("worker_stopped", worker_id=worker.worker_id, queue=queue)


def reap_lost(runs: RunStore, locks: RunLocks) -> None:
    """Rescues what dead owners left, at once. The maintenance process does the same every second: what fails here is no
    reason to stop."""
    try:
        rescued = runs.reap(lost_holders(runs, locks))
    except AppError as error:
        log.warning("lost_runs_not_looked_for", error_code=error.code.value, detail=error.message)
        return
    if rescued:
        log.warning("lost_runs_rescued", num_rescued=len(rescued), detail=" ".join(rescued))


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
    for name in (*_JOBS, _LATE):
        importlib.import_module(name)
    for family in registry.families().values():
        if isinstance(family, LanguageFamily):
            family.backend()
        if isinstance(family, DetectorFamily):
            family.classifier()
    for kind in registry.tokenizers().values():
        if not registry.missing_modules(kind):
            kind.backend()


def describe_worker(queue: str, *, host: str, ask: Ask | None = None) -> Worker:
    """What this process on `host` can do. CUDA is asked for elsewhere: a process that has touched it cannot fork."""
    from model_trainer.engine.devices import is_cuda_build

    cuda_memory = int((ask or in_own_process)(_ASK_CUDA)) if ask is not None or is_cuda_build() else 0
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
