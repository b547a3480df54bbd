"""Ties a forked child's life to its parent's: a worker that is killed outright takes its training with it.

Without this, kill -9 of the worker leaves its child running beside the one that the next worker starts (measured).
"""

import ctypes
import os
import signal
import sys
from typing import Protocol

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class ProcessControl(Protocol):
    """The part of the C library in use."""

    def prctl(self, option: int, argument: int, /) -> int:
        """Changes how the kernel treats this process."""
        ...


def load_process_control(platform: str = sys.platform) -> ProcessControl | None:
    """Linux' C library; None elsewhere, where only the lease's fencing epoch keeps an orphan from writing."""
    if platform != "linux":
        return None
    library: ProcessControl = ctypes.CDLL(None)
    return library


def die_with_parent(parent_pid: int, *, control: ProcessControl | None) -> None:
    """Has the kernel kill this process when its parent dies; ends it here when the parent has gone already.

    The kernel watches the parent's thread: fork from its main thread.
    """
    if control is not None:
        control.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit("The worker that started this process has gone.")
