"""Writes checkpoints beside training: a thread has the disk, the step loop only hears of it at its own boundaries.

Knows files and threads; when to save is the trainer's matter.
"""

import concurrent.futures
import threading
from collections.abc import Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from model_trainer.core.logging import get_logger
from model_trainer.engine.protocols import StopReason, TrainingObserver
from model_trainer.engine.training.checkpoint import CheckpointFolder, Saved, Snapshot

log = get_logger(__name__)

_ASK_SECONDS = 0.1
"""Between two questions whether to go on, while the step loop waits for the disk."""


class Abandoned(Exception):
    """The checkpoint is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept besides the checkpoint that is being written."""

    keep_last: int
    best: int | None
    passed_over: Collection[int]


class CheckpointWriter:
    """One checkpoint at a time, on one thread, which begins with the first of them and has ended after the with-block.

    Left normally, the with-block abandons what is under way (a run that wants it has waited for it); left by an exception
    it finishes that, unless the run has lost its lease or was cancelled.
    """

    def __init__(
        self, checkpoints: CheckpointFolder, *, observer: TrainingObserver, thread: Executor | None = None
    ) -> None:
        """`thread`: where to write; left out, a thread of its own, made when it is needed (so after any fork)."""
        self._checkpoints = checkpoints
        self._observer = observer
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._under_way: Future[Saved] | None = None
        self._abandoned = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is under way."""
        return self._under_way is not None

    def begin(self, snapshot: Snapshot, retention: Retention) -> None:
        """Starts writing; nothing may be under way, and nobody may touch the snapshot's tensors from now on."""
        self._under_way = self._thread.submit(self._write, snapshot, retention)

    def poll(self) -> None:
        """Tells the observer of a checkpoint that is complete; raises what kept one from being so."""
        under_way = self._under_way
        if under_way is not None and under_way.done():
            self._under_way = None
            self._tell(under_way.result())

    def wait(self) -> StopReason | None:
        """Until nothing is under way, or until the observer wants a stop that keeps no work: that is returned."""
        stop = self._until_done()
        if stop is None:
            self.poll()
        return stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:  # the checkpoint under way is as good as the steps before the fault
                self._until_done()
        finally:
            self._abandoned.set()
            self._thread.shutdown(wait=True)
            self._settle()

    def _until_done(self) -> StopReason | None:
        while self._under_way is not None:
            stop = self._observer.stop_requested()
            if stop is not None and not stop.keeps_work:
                return stop
            if concurrent.futures.wait([self._under_way], timeout=_ASK_SECONDS).done:
                break
        return None

    def _settle(self) -> None:
        """The end of what was under way when training ended. Why that ended is what matters to the caller: a write that
        failed besides is told to the log alone, and one that was visible when it was abandoned is a checkpoint."""
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return
        match under_way.exception():
            case None:
                self._tell(under_way.result())
            case Abandoned():
                log.info("checkpoint_abandoned")
            case fault:
                log.warning("checkpoint_not_saved", detail=f"{type(fault).__name__}: {fault}")

    def _tell(self, saved: Saved) -> None:
        self._observer.checkpoint_saved(
            step=saved.step, path=saved.path, num_bytes=saved.num_bytes, metrics=dict(saved.metrics)
        )

    def _write(self, snapshot: Snapshot, retention: Retention) -> Saved:
        saved = self._checkpoints.save(snapshot, sign=self._go_on, before_commit=self._before_commit)
        if not self._abandoned.is_set():
            self._checkpoints.retain(
                newest=saved.step,
                keep_last=retention.keep_last,
                best=retention.best,
                passed_over=retention.passed_over,
            )
        return saved

    def _before_commit(self) -> None:
        self._observer.rows_must_last()
        self._go_on()

    def _go_on(self) -> None:
        if self._abandoned.is_set():
            raise Abandoned
