"""Keeps the processes of one stack running: starts them in order, starts crashed ones again, stops them in reverse.

Knows command lines, not what they do.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.infra.stack.lock import FolderLock
from model_trainer.infra.stack.process import kill_group, last_lines, spawn, stop

log = get_logger(__name__)


def _at_once() -> bool:
    return True


def _look_at_the_log() -> str:
    return "Mend what its log says and start again."


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of the stack."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment."""
    is_ready: Callable[[], bool] = _at_once
    """Asked until it says yes; only then the next process is started."""
    log_file: Path | None = None
    """Its output is added there; None passes it on to ours."""
    grace_seconds: float = 10.0
    """How long it may take to go once asked."""
    advice: Callable[[], str] = _look_at_the_log
    """Asked when it has crashed or does not get ready: what to do about it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits for what."""

    ready_seconds: float = 60.0
    """For a process to get ready at the first start."""
    first_backoff_seconds: float = 0.5
    """Before a crashed process is started again; doubles with each crash."""
    longest_backoff_seconds: float = 30.0
    steady_seconds: float = 60.0
    """A process that ran this long starts with the first backoff again."""
    poll_seconds: float = 0.05
    lock_seconds: float = 5.0
    """For an earlier stack's last processes to let the state folder go."""


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    started_at: float
    crashes: int = 0
    restart_at: float | None = None
    """Set while it lies crashed."""


@dataclass(slots=True)
class Supervisor:
    """Runs a stack in the thread that calls run(). One stack per state folder."""

    specs: Sequence[ProcessSpec]
    state_folder: Path
    on_up: Callable[[str, int], object]
    """Told (name, process id) each time a process is up."""
    patience: Patience = field(default_factory=Patience)
    all_up: threading.Event = field(default_factory=threading.Event)
    """Set once every process is up for the first time."""
    hurry: threading.Event = field(default_factory=threading.Event)
    """Set it to end what was asked to go without waiting any longer."""
    _children: list[_Child] = field(default_factory=list)

    def run(self, stop_requested: threading.Event) -> None:
        """Starts everything, and returns when `stop_requested` is set and everything has gone.

        Raises STACK_FAILED when another stack has the folder, or when a process does not get ready at first; then
        nothing is left running either.
        """
        with FolderLock(self.state_folder, patience_seconds=self.patience.lock_seconds) as lock:
            try:
                for spec in self.specs:
                    if not stop_requested.is_set():
                        self._start(spec, lock, stop_requested)
                self.all_up.set()
                while not stop_requested.wait(self.patience.poll_seconds):
                    for child in self._children:
                        self._look_after(child, lock)
            finally:
                self._stop_all()

    def _start(self, spec: ProcessSpec, lock: FolderLock, stop_requested: threading.Event) -> None:
        child = _Child(spec=spec, process=_spawn(spec, lock), started_at=time.monotonic())
        self._children.append(child)
        deadline = child.started_at + self.patience.ready_seconds
        while not spec.is_ready():
            if stop_requested.wait(self.patience.poll_seconds):
                return
            exit_code = child.process.poll()
            if exit_code is not None or time.monotonic() >= deadline:
                raise _not_ready(spec, exit_code)
            for earlier in self._children[:-1]:  # what this one waits for may be what crashed
                self._look_after(earlier, lock)
        self._announce(child)

    def _look_after(self, child: _Child, lock: FolderLock) -> None:
        """Notices a crash, and ends the wait after an earlier one."""
        now = time.monotonic()
        if child.restart_at is None:
            exit_code = child.process.poll()
            if exit_code is None:
                return
            kill_group(child.process)
            steady = now - child.started_at >= self.patience.steady_seconds
            child.crashes = 1 if steady else child.crashes + 1
            child.restart_at = now + self._backoff_seconds(child.crashes)
            log.warning(
                "process_crashed",
                process=child.spec.name,
                exit_code=exit_code,
                attempt=child.crashes,
                detail=child.spec.advice(),
            )
        elif now >= child.restart_at:
            child.process = _spawn(child.spec, lock)
            child.started_at = now
            child.restart_at = None
            self._announce(child)

    def _backoff_seconds(self, crashes: int) -> float:
        # The exponent is bounded: 2.0 ** 2000 is an error.
        return min(
            self.patience.longest_backoff_seconds,
            self.patience.first_backoff_seconds * 2.0 ** min(crashes - 1, 30),
        )

    def _announce(self, child: _Child) -> None:
        log.info("process_up", process=child.spec.name, pid=child.process.pid)
        self.on_up(child.spec.name, child.process.pid)

    def _stop_all(self) -> None:
        try:
            while self._children:
                child = self._children[-1]
                if child.restart_at is None:
                    exit_code = stop(child.process, grace_seconds=child.spec.grace_seconds, hurry=self.hurry)
                    log.info("process_stopped", process=child.spec.name, exit_code=exit_code)
                self._children.pop()
        finally:  # a second Ctrl-C ends the waiting
            for child in self._children:
                stop(child.process, grace_seconds=0)


@contextmanager
def in_background(supervisor: Supervisor) -> Iterator[None]:
    """Inside, the stack is up, kept so by a thread; afterwards it has gone. Raises what stopped it from starting."""
    stop_requested = threading.Event()
    # One thread from start to stop: a child dies with the thread that started it.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="supervisor") as threads:
        outcome = threads.submit(supervisor.run, stop_requested)
        try:
            while not supervisor.all_up.wait(supervisor.patience.poll_seconds) and not outcome.done():
                pass
            if outcome.done():
                outcome.result()
            yield
        finally:
            stop_requested.set()
            _await_end(outcome, supervisor)
        outcome.result()


@contextmanager
def stop_on_signals(stop_requested: threading.Event) -> Iterator[None]:
    """Inside, SIGINT (Ctrl-C) and SIGTERM set the event instead of ending this process. For the main thread.

    The second one no longer waits: it raises KeyboardInterrupt.
    """

    def request(_number: int, _frame: FrameType | None) -> None:
        if stop_requested.is_set():
            raise KeyboardInterrupt
        stop_requested.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_end(outcome: Future[None], supervisor: Supervisor) -> None:
    try:
        wait([outcome])
    except KeyboardInterrupt:  # the second one: whoever waits has lost patience
        supervisor.hurry.set()
        raise


def _spawn(spec: ProcessSpec, lock: FolderLock) -> subprocess.Popen[bytes]:
    return spawn(spec.argv, env=spec.env, log_file=spec.log_file, keep_open=(lock.descriptor,))


def _not_ready(spec: ProcessSpec, exit_code: int | None) -> AppError:
    what = "did not get ready in time" if exit_code is None else f"ended at once with exit code {exit_code}"
    where = "" if spec.log_file is None else f" The end of {spec.log_file}:\n{last_lines(spec.log_file)}"
    return AppError(
        ErrorCode.STACK_FAILED,
        f"{spec.name} {what}. {spec.advice()}{where}",
        facts={"process": spec.name, "exit_code": exit_code},
    )
