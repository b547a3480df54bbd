"""Jobs on a trained model: which model they are of, where they write, who may change it, what its manifest says after."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model_trainer.core.artifact_files import MODEL
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices import probe_machine, select_device
from model_trainer.engine.protocols import Device
from model_trainer.worker.account import close_evaluation
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts

WAIT_SECONDS = 0.2
"""Between two looks at whether another job has let go of the model."""


def parent_of(record: RunRecord) -> str:
    """The training that a job is about."""
    if record.parent_run_id is None:
        raise AppError(ErrorCode.INTERNAL, f"A record of kind {record.kind.value} names no run.")
    return record.parent_run_id


def follow_up_job(parts: WorkerParts, work: Callable[[HeldRun, RunRecord], JobResult]) -> Job:
    """A job on a trained model: it writes into a folder of its own there, and the model's manifest lists what it left."""

    @contextmanager
    def folder(record: RunRecord) -> Iterator[Path]:
        with parts.artifacts.use("models", parent_of(record)):
            yield own_folder(parts, record)

    def ended(record: RunRecord) -> None:
        close_evaluation(record, parts.artifacts, evaluated=parts.other_run(parent_of(record)))

    return Job(work=work, folder=folder, ended=ended, fallback=ErrorCode.EVALUATION_FAILED)


def own_folder(parts: WorkerParts, record: RunRecord) -> Path:
    """Where the job has its log, its events and its result: `<kind>/<run_id>/` of the model, made when it is missing."""
    kind = record.kind.follow_up_folder
    if kind is None:
        raise AppError(ErrorCode.INTERNAL, f"A run of kind {record.kind.value} has an artifact of its own.")
    folder = parts.artifacts.folder("models", parent_of(record)) / kind / record.run_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def device_for(recipe: Recipe) -> Device:
    """The device of the training; the CPU, in fp32, on a worker without CUDA: the queue of short jobs may have none."""
    return select_device("cuda" if recipe.device == "cuda" and probe_machine().has_cuda else "cpu")


@contextmanager
def alone_on(artifact: Path, held: HeldRun) -> Iterator[None]:
    """Inside, no other job changes this model; a job that was asked to stop does not wait for its turn.

    The kernel's lock (on the folder of the weights) ends with the process and leaves no file behind.
    """
    descriptor = os.open(artifact / MODEL, os.O_RDONLY)
    try:
        while not _taken(descriptor):
            held.report(0.0, "Waiting for another job on this model")
            time.sleep(WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    import fcntl  # here: Windows has none, and imports this file though it runs no jobs

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
