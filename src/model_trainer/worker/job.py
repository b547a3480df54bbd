"""What a kind of job is to the life all jobs share, and what one leaves."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import ErrorCode
from model_trainer.worker.lease import HeldRun


class JobResult:
    """What a job leaves: a sentence, the latest metrics, and the record's result."""

    def __init__(self, *, message: str, metrics: dict[str, float], result: JsonObject) -> None:
        self.message = message
        self.metrics = metrics
        self.result = result


class Job:
    """One job kind, seen by supervise()."""

    def __init__(
        self,
        *,
        work: Callable[[HeldRun, RunRecord], JobResult],
        folder: Callable[[RunRecord], AbstractContextManager[Path]],
        ended: Callable[[RunRecord], None],
        fallback: ErrorCode,
    ) -> None:
        self.work = work
        self.folder = folder
        self.ended = ended
        self.fallback = fallback
