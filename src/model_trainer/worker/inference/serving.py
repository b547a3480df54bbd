"""The parent's loop: takes requests, has its child answer them, writes the answers down; outlives every child."""

import math
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol, assert_never

from model_trainer.core.config.settings import InferenceSettings
from model_trainer.core.contracts.inference import GivenBack, InferenceRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.inference import InferenceStore
from model_trainer.worker.inference.frames import Done, Frame, parse_frame
from model_trainer.worker.inference.work import Work

log = get_logger(__name__)

MOST_DEATHS = 2
"""A request that a child has died of so often, the last time by itself, is the reason why."""
MOST_DEATHS_OF_LOST = 3
"""A request whose worker has died or gone silent so often is given up, as other runs are."""
MOST_FORKS_REFUSED = 120
"""In a row, ten minutes: each costs four file handles that multiprocessing does not close, and a fresh process has them back."""
MOST_FORK_SECONDS = 5.0
"""Between two forks, when the first were refused."""
CHORES_SECONDS = 1.0
POLL_SECONDS = 0.2
AGAIN_SECONDS = 0.5
"""Until a store that is away is asked again."""
FRAMES_AT_ONCE = 256


class Child(Protocol):
    """Who answers (worker.inference.forked.ForkedChild)."""

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        ...

    def send(self, data: bytes) -> None:
        """One frame to the child; raises OSError when it has gone."""
        ...

    def has_said(self, *, within_seconds: float) -> bool:
        """Whether receive() will return, or raise, at once."""
        ...

    def receive(self) -> bytes:
        """The child's next frame; raises EOFError or OSError when it has gone."""
        ...

    def end(self) -> None:
        """Lets it go."""
        ...

    def kill(self) -> None:
        """Ends it outright."""
        ...

    @property
    def fate(self) -> str:
        """How it ended, as it follows on "the process"."""
        ...


class InferenceServer:
    """Answers requests until it is told to stop.

    Args:
        store: where requests come from and answers go.
        owner: who this process is there.
        settings: sizes and times.
        make_child: forks a child; called again each time one has died, and while it raises OSError for want of memory or
            processes.
        say_alive: called every second, idle and busy; what it raises as AppError is logged.
        stop_grace_seconds: how long a batch may go on after the stop, before its requests are put back in line.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        store: InferenceStore,
        *,
        owner: str,
        settings: InferenceSettings,
        make_child: Callable[[], Child],
        say_alive: Callable[[], None],
        stop_grace_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._owner = owner
        self._settings = settings
        self._make_child = make_child
        self._say_alive = say_alive
        self._stop_grace_seconds = stop_grace_seconds
        self._clock = clock
        self._chores_at = -math.inf
        self._is_store_away = False
        self._forks_refused = 0
        self._child = make_child()

    def serve(self, stop: threading.Event) -> None:
        """Works until `stop` is set and the batch at hand has ended, or its grace. Raises OSError when no child can be forked
        for ten minutes."""
        try:
            while not stop.is_set():
                self._do_chores()
                if not self._has_child():
                    stop.wait(min(self._forks_refused * AGAIN_SECONDS, MOST_FORK_SECONDS))
                    continue
                records = self._take(stop)
                if records:
                    self._answer(records, stop)
        finally:
            self._child.end()

    def _take(self, stop: threading.Event) -> tuple[InferenceRecord, ...]:
        try:
            records = self._store.take(
                self._owner,
                most=self._settings.max_batch,
                lease_seconds=self._settings.lease_seconds,
                wait_seconds=CHORES_SECONDS,
            )
        except AppError as error:
            self._store_is_away(error)
            stop.wait(AGAIN_SECONDS)
            return ()
        self._is_store_away = False
        return records

    def _answer(self, records: tuple[InferenceRecord, ...], stop: threading.Event) -> None:
        work = Work(
            self._store,
            records,
            owner=self._owner,
            lease_seconds=self._settings.lease_seconds,
            clock=self._clock,
        )
        batch = work.batch()
        if not batch.orders:
            return
        if not self._has_child():
            work.give_back(GivenBack.STOPPED)
            return
        end = self._sent(batch.model_dump_json().encode()) or self._ended(work, stop)
        match end:
            case _End.DONE:
                return
            case _End.LOST:
                self._child.end()
                self._blame_for_death(work)
            case _End.LATE:
                self._child.kill()
                self._blame_for_delay(work)
            case _End.STOPPED:
                self._child.kill()
                work.give_back(GivenBack.STOPPED)
            case _:
                assert_never(end)

    def _sent(self, data: bytes) -> "_End | None":
        try:
            self._child.send(data)
        except OSError:  # it died a moment ago
            return _End.LOST
        return None

    def _ended(self, work: Work, stop: threading.Event) -> "_End":
        """How the child's work on a batch ended. Answers are written down as they come."""
        stop_at = math.inf
        while True:
            self._do_chores()
            work.renew_if_due()
            if stop.is_set() and stop_at == math.inf:
                stop_at = work.seconds + self._stop_grace_seconds
            if work.seconds >= stop_at:
                return _End.STOPPED
            if work.seconds >= self._settings.request_timeout_seconds:
                return _End.LATE
            frames, has_gone = self._heard()
            work.note(frames)
            if frames and isinstance(frames[-1], Done):
                return _End.DONE
            if has_gone:
                return _End.LOST

    def _heard(self) -> tuple[list[Frame], bool]:
        """What the child has said by now, and whether it has gone; waits a moment for the first word."""
        frames: list[Frame] = []
        patience = POLL_SECONDS
        try:
            while len(frames) < FRAMES_AT_ONCE and self._child.has_said(within_seconds=patience):
                frames.append(parse_frame(self._child.receive()))
                if isinstance(frames[-1], Done):
                    break
                patience = 0.0
        except (EOFError, OSError):
            return frames, True
        return frames, False

    def _has_child(self) -> bool:
        """Whether there is a child to work with: another one at once where the last has died, for what it needs is imported
        already. A machine that is short of memory may refuse to fork."""
        if self._child.is_alive():
            return True
        if not self._forks_refused:
            self._child.end()
            log.error("inference_child_lost", detail=f"The process {self._child.fate}.")
        try:
            self._child = self._make_child()
        except OSError as error:
            self._forks_refused += 1
            if self._forks_refused == MOST_FORKS_REFUSED:
                raise
            log.error("inference_child_not_forked", detail=str(error))
            return False
        self._forks_refused = 0
        return True

    def _blame_for_death(self, work: Work) -> None:
        """Each of several is tried again by itself; a request that a child has died of twice is the reason."""
        if len(work.records) > 1 or work.records[0].deaths + 1 < MOST_DEATHS:
            work.give_back(GivenBack.LOST)
            return
        message = (
            "The process that worked on this request was lost each time, most often for want of memory. Ask for less, or give "
            "the machine more memory."
        )
        work.fail(AppError(ErrorCode.WORKER_LOST, message))

    def _blame_for_delay(self, work: Work) -> None:
        """Each of several is tried again by itself; a request that was alone took too long."""
        if len(work.records) > 1:
            work.give_back(GivenBack.APART)
            return
        seconds = self._settings.request_timeout_seconds
        message = f"No answer within {seconds:g} seconds (INFERENCE__REQUEST_TIMEOUT_SECONDS). Ask for less."
        work.fail(AppError(ErrorCode.JOB_TIMEOUT, message))

    def _do_chores(self) -> None:
        """Says that this worker is alive, and looks for requests whose worker has gone, every second."""
        if self._clock() < self._chores_at:
            return
        self._chores_at = self._clock() + CHORES_SECONDS
        try:
            self._say_alive()
            rescued = self._store.reap(most_deaths=MOST_DEATHS_OF_LOST)
        except AppError as error:
            self._store_is_away(error)
            return
        if rescued:
            log.warning("inference_rescued", num_rescued=len(rescued), detail=" ".join(rescued))

    def _store_is_away(self, error: AppError) -> None:
        """One line for an outage."""
        if not self._is_store_away:
            log.warning("inference_store_away", error_code=error.code.value, detail=error.message)
        self._is_store_away = True


class _End(Enum):
    """How the child's work on a batch ended."""

    DONE = "done"
    LOST = "lost"
    """The child has died."""
    LATE = "late"
    STOPPED = "stopped"
