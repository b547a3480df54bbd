"""Ties a child to its parent's life, and becomes it: where Linux runs, a killed parent leaves nothing behind.

Runs as a script in the child (`python tether.py PARENT_PID PROGRAM ARGUMENT...`), so it knows the standard library only.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Libc(Protocol):
    """The part of the C library in use."""

    def prctl(self, option: int, argument: int, /) -> int:
        """Changes how the kernel treats this process."""
        ...


def tethered(argv: Sequence[str], *, platform: str = sys.platform) -> list[str]:
    """The command line that runs `argv` tied to this process; `argv` itself where the kernel cannot, outside Linux.

    The kernel watches the *thread* that starts the child: start it from one that lives as long as it should.
    """
    if platform != "linux":
        return list(argv)
    # -I -S: no site-packages, no user's environment; the detour costs about 15 ms.
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *argv]


def become(
    arguments: Sequence[str], *, libc: Libc, execute: Callable[[str, list[str]], object], parent: int
) -> None:
    """Asks for SIGKILL at the parent's death, then becomes the program.

    SIGKILL, because it is the one signal that ends also a program that hangs; what it loses is what a crash loses.

    Args:
        arguments: the expected parent's process id, then the program with its arguments.
        libc: where prctl is.
        execute: replaces this process.
        parent: the parent there is; another one than expected means that ours has died already.
    """
    expected, *argv = arguments
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent == int(expected):
        execute(argv[0], argv)


if __name__ == "__main__":
    become(sys.argv[1:], libc=ctypes.CDLL(None), execute=os.execvp, parent=os.getppid())
