"""One trainer of a run at a time on this machine: flock on a file per run, which the kernel frees with its process."""

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from model_trainer.core.contracts.ids import is_ulid
from model_trainer.core.files import disk_errors
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import HeldLock, LockHolder, RunLocks
from model_trainer.infra.storage.file_lock import NOT_SUPPORTED
from model_trainer.infra.storage.processes import Processes

log = get_logger(__name__)

LOCKS_FOLDER = ".locks"
GLANCE_SECONDS = 0.01
BRIEF_SECONDS = 0.05
"""Who only looks whether a lock is free has it for less than that."""
MOST_HOLDER_BYTES = 4096

Flock = Callable[[int, bool], None]
"""Locks an open file, shared or alone; raises BlockingIOError when others have locked it."""

_holder: TypeAdapter[LockHolder] = TypeAdapter(LockHolder)


class LocalRunLocks:
    """`<folder>/<run_id>.lock`, locked by the process that works on the run, with the name of that process inside."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        processes: Processes | None = None,
        patience_seconds: float = 2.0,
        killed_within_seconds: float = 5.0,
        pause: Callable[[float], None] = time.sleep,
        flock: Flock | None = None,
    ) -> None:
        """The folder is made when the first lock is taken.

        Args:
            folder: where the lock files are; shared by all processes that work on the same runs.
            host: this machine's name.
            processes: knows and kills this machine's processes.
            patience_seconds: a holder of an older order may take so long to end by itself before it is killed.
            killed_within_seconds: how long the kernel may take to free the lock of a killed process.
            pause: waits between two looks.
            flock: the system's lock.
        """
        self._folder = folder.absolute()
        self._host = host
        self._processes = processes or Processes()
        self._patience_seconds = patience_seconds
        self._killed_within_seconds = killed_within_seconds
        self._pause = pause
        self._flock = flock or flock_at_once

    @property
    def host(self) -> str:
        """This machine's name."""
        return self._host

    def take(self, run_id: str, *, epoch: int) -> HeldLock | None:
        """See RunLocks. Raises DISK_FULL when the lock file cannot be made."""
        path = self._made(run_id)
        began = time.monotonic()
        killed_at: float | None = None
        while True:
            lock = self._try_to_take(path, epoch=epoch)
            if lock is not None:
                return lock
            holder, now = _holder_in(path), time.monotonic()
            is_at_work = holder is not None and not self._is_overdue(holder, epoch=epoch)
            if is_at_work and now - began >= BRIEF_SECONDS:
                return None
            if killed_at is None and now - began >= self._patience_seconds:
                if holder is None or not self._processes.kill(holder):
                    return None
                log.warning("stale_trainer_killed", run_id=run_id, pid=holder.pid, epoch=holder.epoch)
                killed_at = now
            if killed_at is not None and now - killed_at >= self._killed_within_seconds:
                log.error("stale_trainer_stays", run_id=run_id)
                return None
            self._pause(GLANCE_SECONDS)

    def take_if_free(self, run_id: str) -> HeldLock | None:
        """See RunLocks. Raises DISK_FULL when the lock file cannot be made."""
        return self._try_to_take(self._made(run_id), epoch=None)

    def is_free(self, run_id: str) -> bool:
        """See RunLocks. Looks without standing in the way of who takes the lock for longer than that."""
        path = self._path(run_id)
        try:
            descriptor = self._open_locked(path, flags=os.O_RDONLY, is_shared=True)
        except OSError as error:
            log.warning("lock_not_seen", run_id=run_id, detail=error.strerror or "")
            return False
        if descriptor is None:
            return not path.exists()
        os.close(descriptor)
        return True

    def remove(self, run_id: str) -> bool:
        """Takes the lock file of an ended run away; False when somebody has the lock, or there is none."""
        path = self._path(run_id)
        descriptor = self._open_locked(path, flags=os.O_RDONLY, is_shared=False)
        if descriptor is None:
            return False
        try:
            path.unlink()
        finally:
            os.close(descriptor)
        return True

    def run_ids(self) -> tuple[str, ...]:
        """The runs that have a lock file."""
        found = (path.name.removesuffix(".lock") for path in self._folder.glob("*.lock"))
        return tuple(sorted(filter(is_ulid, found)))

    def _path(self, run_id: str) -> Path:
        if not is_ulid(run_id):
            raise ValueError("Only a run's id names a lock.")
        return self._folder / f"{run_id}.lock"

    def _made(self, run_id: str) -> Path:
        path = self._path(run_id)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _try_to_take(self, path: Path, *, epoch: int | None) -> HeldLock | None:
        """Without an epoch the holder stays unnamed, and who waits for it has nobody to kill."""
        try:
            with disk_errors(path):
                descriptor = self._open_locked(path, flags=os.O_RDWR | os.O_CREAT, is_shared=False)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise
            log.warning("locks_not_supported", path=str(self._folder), detail=error.strerror or "")
            return NoLock()
        if descriptor is None:
            return None
        _describe(
            descriptor, None if epoch is None else self._processes.this_one(host=self._host, epoch=epoch)
        )
        return LocalHeldLock(descriptor)

    def _open_locked(self, path: Path, *, flags: int, is_shared: bool) -> int | None:
        """The lock file, open and locked; None when it is missing or locked by others.

        A file that is removed between the opening and the locking locks nothing: the one that has its name now is tried.
        """
        while True:
            try:
                # Python opens with O_CLOEXEC: a program that a job starts does not keep the lock of a dead job.
                descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o644)
            except FileNotFoundError:
                return None
            try:
                self._flock(descriptor, is_shared)
            except OSError as error:
                os.close(descriptor)
                if isinstance(error, BlockingIOError):
                    return None
                raise
            if _is_file_of(descriptor, path):
                return descriptor
            os.close(descriptor)

    def _is_overdue(self, holder: LockHolder, *, epoch: int) -> bool:
        """Whether the lock will be free soon: its holder lost its lease or has died, as far as this machine can know."""
        if holder.host != self._host or not self._processes.knows(holder):
            return False
        return holder.epoch < epoch or not self._processes.is_alive(holder)


class LocalHeldLock:
    """A lock that this process has. The kernel frees it when the process ends, in whatever way."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Gives the lock up; giving it up twice changes nothing."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        _describe(descriptor, None)
        os.close(descriptor)


class NoRunLocks:
    """Where the system has no flock: the lease alone decides who works."""

    def __init__(self, *, host: str) -> None:
        self._host = host

    @property
    def host(self) -> str:
        """This machine's name."""
        return self._host

    def take(self, run_id: str, *, epoch: int) -> "NoLock":
        """Always succeeds."""
        return NoLock()

    def take_if_free(self, run_id: str) -> "NoLock":
        """Always succeeds."""
        return NoLock()

    def is_free(self, run_id: str) -> bool:
        """Nobody can say, so no holder is taken for dead."""
        return False


class NoLock:
    """Nothing is held."""

    def release(self) -> None:
        """Nothing is given up."""


def run_locks(runs_root: Path, *, host: str, has_flock: bool | None = None) -> RunLocks:
    """The locks of the runs under `runs_root`, as good as this system has them."""
    if has_flock is None:
        has_flock = importlib.util.find_spec("fcntl") is not None
    return LocalRunLocks(runs_root / LOCKS_FOLDER, host=host) if has_flock else NoRunLocks(host=host)


def flock_at_once(descriptor: int, is_shared: bool) -> None:
    """See Flock."""
    import fcntl  # here: Windows has none, and imports this file though it runs no jobs

    fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _describe(descriptor: int, holder: LockHolder | None) -> None:
    """Writes who holds the lock, or nothing. On a full disk nobody knows who holds it, and nobody is killed for it."""
    try:
        os.ftruncate(descriptor, 0)
        if holder is not None:
            os.pwrite(descriptor, _holder.dump_json(holder), 0)
    except OSError as error:
        log.warning("lock_not_described", detail=error.strerror or "")


def _holder_in(path: Path) -> LockHolder | None:
    """Who holds the lock by its own word; None when it has not said so yet, or has let go."""
    try:
        with path.open("rb") as file:
            return _holder.validate_json(file.read(MOST_HOLDER_BYTES))
    except (OSError, ValidationError):
        return None
