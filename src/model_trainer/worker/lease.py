"""Holding a run: a side thread renews the lease and carries news out; the job only asks whether to go on.

The step loop never waits for the store: progress and events are left here and sent by the thread. While the store
is away they wait in a bounded buffer.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from model_trainer.core.contracts.events import Event, JobProgress, MetricsProgress
from model_trainer.core.contracts.run import Flags, LastCheckpoint, Lease, Phase, Progress, RunUpdate
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.runs import RunStore
from model_trainer.worker.event_mirror import EventMirror

log = get_logger(__name__)

POLL_SECONDS = 0.05
"""How soon a cancel flag is seen; a read of two keys."""
STALL_SECONDS = 300.0
STALL_STEPS = 20
"""A step loop that gives no sign for five minutes and twenty of its slowest steps hangs. Long enough for a large
checkpoint on a slow disk; a validation gives signs of its own."""
EX_TEMPFAIL = 75
PROGRESS_FRACTION = 0.005
PROGRESS_SECONDS = 10.0
"""A progress event is worth a place in the stream after half a per cent or ten seconds."""


class Cancelled(AskedToStop):
    """Somebody asked for the run to end."""


class Paused(AskedToStop):
    """Somebody asked for the run to stand still."""


class HandedOver(AskedToStop):
    """This worker must go; another one goes on with the run."""


def leave_at_once() -> None:  # pragma: no cover - ends the process that would measure it
    """Ends this process without a word: what hangs cannot be asked to clean up. The reaper finds the run."""
    os._exit(EX_TEMPFAIL)


class HeldRun:
    """A claimed run, for the time a job works on it. Use as a context manager."""

    def __init__(
        self,
        *,
        store: RunStore,
        lease: Lease,
        user_id: str | None,
        heartbeat_seconds: float,
        mirror: EventMirror | None,
        most_events: int = 10_000,
        stall_seconds: float = STALL_SECONDS,
        abandon: Callable[[], None] = leave_at_once,
    ) -> None:
        """Nothing is sent before the with-block.

        Args:
            store: the authority on runs.
            lease: the right to write.
            user_id: carried on every event.
            heartbeat_seconds: between two reports; a cancel flag is looked for more often.
            mirror: follows the stream on disk; None before the run has a folder.
            most_events: rows and progress kept while the store is away.
            stall_seconds: a step loop may be silent for so long at least before it counts as hung.
            abandon: called, once, for a loop that hangs; the lease is not renewed any more then.
        """
        self.lease = lease
        self.user_id = user_id
        self._store = store
        self._heartbeat_seconds = heartbeat_seconds
        self._mirror = mirror
        self._most_events = most_events
        self._stall_seconds = stall_seconds
        self._abandon = abandon
        self._last_sign = self._heard_at = time.monotonic()
        self._slowest_step = 0.0
        self._store_is_away = False
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._phase = Phase.STARTING
        self._message = ""
        self._progress = Progress()
        self._metrics: dict[str, float] = {}
        self._told_progress = Progress()
        self._told_at = 0.0
        self._checkpoint: LastCheckpoint | None = None
        self._told_checkpoint: LastCheckpoint | None = None
        self._cancel = threading.Event()
        self._pause = threading.Event()
        self._lost = threading.Event()
        self._must_hand_over = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{lease.run_id}", daemon=True)

    @property
    def run_id(self) -> str:
        """The run that is held."""
        return self.lease.run_id

    def __enter__(self) -> "HeldRun":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def enter_phase(self, phase: Phase, message: str) -> None:
        """Says what begins now; also a point at which a job ends that was asked to."""
        self.check()
        with self._lock:
            self._slowest_step = 0.0
            self._phase, self._message, self._progress = phase, message, Progress()
            self._tell_progress()
        log.info("phase_started", run_id=self.run_id, phase=phase.value, detail=message)

    def advance(self, progress: Progress) -> None:
        """Leaves the latest progress of this phase; cheap enough for every step, and the sign that steps go on."""
        now = time.monotonic()
        with self._lock:
            if self._progress.step > 0:
                self._slowest_step = max(self._slowest_step, now - self._last_sign)
            self._last_sign, self._progress = now, progress

    def report(self, fraction: float, message: str) -> None:
        """Progress of a phase without steps; ends a job that was asked to."""
        self.check()
        with self._lock:
            self._message = message
            self._progress = Progress(fraction=min(1.0, max(0.0, fraction)))

    def set_metrics(self, metrics: dict[str, float]) -> None:
        """The latest metrics, merged into those known."""
        with self._lock:
            self._metrics |= metrics

    def set_checkpoint(self, checkpoint: LastCheckpoint) -> None:
        """The newest checkpoint; the record names it after the next heartbeat."""
        with self._lock:
            self._checkpoint = checkpoint

    def emit(self, event: Event) -> None:
        """News for the run's stream, in order. When the store has been away for long, series rows and progress give way:
        only they come without end."""
        with self._lock:
            self._add(event)

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked for the run to end."""
        return self._cancel.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether somebody asked for the run to stand still."""
        return self._pause.is_set()

    @property
    def must_hand_over(self) -> bool:
        """Whether this worker was told to go."""
        return self._must_hand_over

    def hand_over(self) -> None:
        """Says that this worker must go.

        Called from a signal handler, in the middle of whatever the main thread does: takes no lock, not even an Event's.
        """
        self._must_hand_over = True

    @property
    def is_lost(self) -> bool:
        """Whether another owner has the run. A process that was frozen (SIGSTOP, a suspended machine) may wake up here, in
        the middle of a step, and asks the store before its thread does."""
        silent = time.monotonic() - self._heard_at > self.lease.lease_seconds / 2
        if silent and self._thread.is_alive() and not self._store_is_away:
            self._look()
        return self._lost.is_set()

    def sign(self) -> None:
        """Says that the work goes on, where there is no progress to tell."""
        self._last_sign = time.monotonic()

    def check(self) -> None:
        """Raises LEASE_LOST, Cancelled, HandedOver or Paused, in this order, when the job should not go on; asking is a
        sign of life."""
        self.sign()
        if self._lost.is_set():
            raise AppError(ErrorCode.LEASE_LOST, "Another worker owns this run now; this one stops.")
        if self._cancel.is_set():
            raise Cancelled
        if self._must_hand_over:
            raise HandedOver
        if self._pause.is_set():
            raise Paused

    def remaining_events(self) -> tuple[Event, ...]:
        """What the thread had not sent yet; for the transaction that ends the run. Call after the with-block."""
        with self._lock:
            waiting = tuple(self._events)
            self._events.clear()
        return waiting

    def latest_metrics(self) -> dict[str, float]:
        """All metrics set so far."""
        with self._lock:
            return dict(self._metrics)

    def current_step(self) -> int:
        """The step the phase has come to."""
        with self._lock:
            return self._progress.step

    def _keep(self) -> None:
        try:
            self._keep_until_closed()
        except Exception:
            # Without this thread the run has no lease: the job must not go on as if it had.
            self._lost.set()
            log.error("lease_thread_failed", run_id=self.run_id)
            raise

    def _keep_until_closed(self) -> None:
        next_beat = time.monotonic()
        while not self._closing.wait(POLL_SECONDS) and not self._lost.is_set():
            now = time.monotonic()
            if self._hangs(now):
                log.error(
                    "run_stalled",
                    run_id=self.run_id,
                    step=self.current_step(),
                    duration_seconds=now - self._last_sign,
                )
                self._abandon()
                return
            if now >= next_beat:
                self._beat()
                next_beat = now + self._heartbeat_seconds
            elif not self._store_is_away:
                self._look()
        if not self._lost.is_set():
            # The record shows the step and the checkpoint that the work came to before another worker reads it.
            self._beat()

    def _look(self) -> None:
        asked_at = time.monotonic()
        try:
            self._heed(self._store.flags(self.lease), asked_at=asked_at)
        except AppError as error:
            self._went_wrong(error)

    def _heed(self, flags: Flags, *, asked_at: float) -> None:
        self._heard_at = asked_at  # an answer may have waited for a frozen process to read it
        if flags.cancel:
            self._cancel.set()
        if flags.pause:
            self._pause.set()

    def _beat(self) -> None:
        asked_at = time.monotonic()
        with self._lock:
            self._tell_progress_when_due()
            events = tuple(self._events)
            checkpoint = self._checkpoint
            update = RunUpdate(
                phase=self._phase,
                message=self._message,
                progress=self._progress,
                metrics=dict(self._metrics),
                checkpoint=checkpoint if checkpoint != self._told_checkpoint else None,
                quiet_ms=round(1000 * (time.monotonic() - self._last_sign)),
            )
        try:
            flags = self._store.heartbeat(self.lease, update, events)
        except AppError as error:
            self._went_wrong(error)
            return
        with self._lock:
            for _ in events:
                self._events.popleft()
        self._told_checkpoint = checkpoint
        self._store_is_away = False
        self._heed(flags, asked_at=asked_at)
        if self._mirror is not None:
            self._mirror.catch_up(self._store, self.run_id)

    def _hangs(self, now: float) -> bool:
        """Only a loop that counts steps can be told from one long call into a library."""
        if self._progress.total_steps == 0:
            return False
        return now - self._last_sign > max(self._stall_seconds, STALL_STEPS * self._slowest_step)

    def _went_wrong(self, error: AppError) -> None:
        if error.code is ErrorCode.LEASE_LOST:
            self._lost.set()
            log.warning("lease_lost", run_id=self.run_id, epoch=self.lease.epoch, detail=error.message)
        elif (
            not self._store_is_away
        ):  # one line for an outage, and no more looks than heartbeats while it lasts
            self._store_is_away = True
            log.warning("store_away", run_id=self.run_id, error_code=error.code.value, detail=error.message)

    def _tell_progress_when_due(self) -> None:
        moved = self._progress.fraction - self._told_progress.fraction
        waited = time.monotonic() - self._told_at
        if self._progress != self._told_progress and (
            moved >= PROGRESS_FRACTION or waited >= PROGRESS_SECONDS
        ):
            self._tell_progress()

    def _tell_progress(self) -> None:
        event = JobProgress(
            job_id=self.run_id,
            user_id=self.user_id,
            phase=self._phase,
            message=self._message,
            progress=self._progress,
        )
        if self._add(event):  # else it is told when there is room
            self._told_progress, self._told_at = self._progress, time.monotonic()

    def _add(self, event: Event) -> bool:
        """Whether there was room."""
        has_room = len(self._events) < self._most_events or not isinstance(
            event, MetricsProgress | JobProgress
        )
        if has_room:
            self._events.append(event)
        return has_room
