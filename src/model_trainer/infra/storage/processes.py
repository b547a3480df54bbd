"""Which process somebody is on this machine, so that it cannot be taken for a later one of the same number."""

import os
import signal
from pathlib import Path
from typing import Protocol, runtime_checkable

from model_trainer.core.ports.storage import LockHolder

STARTED_TICKS = 19  # the 22nd field of /proc/<pid>/stat, counted after the name


class Processes:
    """This machine's processes, as Linux shows them; elsewhere none is known, and none is ever killed."""

    def __init__(self, proc: Path = Path("/proc"), *, system: object = os) -> None:
        """`system`: the module os, which knows of process descriptors on Linux alone."""
        self._proc = proc
        self._system = system

    def this_one(self, *, host: str, epoch: int) -> LockHolder:
        """The process that asks."""
        pid = os.getpid()
        return LockHolder(
            host=host,
            boot_id=self._boot_id(),
            pid=pid,
            started_ticks=self._started_ticks(pid),
            epoch=epoch,
        )

    def knows(self, holder: LockHolder) -> bool:
        """Whether numbers mean the same to the holder and here: the same start of the same system (and container)."""
        return holder.boot_id != "" and holder.boot_id == self._boot_id()

    def is_alive(self, holder: LockHolder) -> bool:
        """Whether a process that is known here has not ended."""
        return holder.started_ticks > 0 and self._started_ticks(holder.pid) == holder.started_ticks

    def kill(self, holder: LockHolder) -> bool:
        """Ends another process outright; False when it is unknown here, this one itself, not allowed or gone.

        Through a descriptor, which stays with its process: between the look and the kill the number may get a new owner.
        """
        if (
            not isinstance(self._system, _OpensProcesses)
            or not self.knows(holder)
            or holder.pid == os.getpid()
        ):
            return False
        try:
            descriptor = self._system.pidfd_open(holder.pid)
        except OSError:
            return False
        try:
            if not self.is_alive(holder):
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _boot_id(self) -> str:
        """Changes with every start of the system; empty where that cannot be told. Containers count processes anew."""
        try:
            boot_id = (self._proc / "sys/kernel/random/boot_id").read_text().strip()
            return f"{boot_id} {(self._proc / 'self/ns/pid').readlink()}"
        except OSError:
            return ""

    def _started_ticks(self, pid: int) -> int:
        try:
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
            return 0 if fields[0] in ("Z", "X") else int(fields[STARTED_TICKS])
        except OSError:
            return 0


@runtime_checkable
class _OpensProcesses(Protocol):
    def pidfd_open(self, pid: int, /) -> int: ...
