"""Which worker a process is: what it can do, as it says itself, and how it takes its leave."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable

from model_trainer import __version__
from model_trainer.core.compute.machine import (
    computes_bf16,
    cpu_flags,
    physical_memory_bytes,
    usable_cpus,
)
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import WorkerRegistry

log = get_logger(__name__)

REGISTRATION_SECONDS = 15.0
"""How long a worker counts as alive after its last word; it speaks every two seconds."""
_EXTRAS = {"sentencepiece": "sentencepiece", "parquet": "pyarrow"}
_ASK_CUDA = "from model_trainer.engine.devices import probe_machine; print(probe_machine().cuda_memory_bytes)"

Ask = Callable[[str], str]
"""Runs a line of Python in a process of its own; gives what it prints."""


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


def say_goodbye(workers: WorkerRegistry, worker: Worker) -> None:
    """Takes the worker off the list at once; a store that is away forgets it in a few seconds by itself."""
    try:
        workers.unregister(worker.worker_id)
    except AppError as error:
        log.warning("worker_not_unregistered", worker_id=worker.worker_id, error_code=error.code.value)
