"""Starts a child that cannot outlive us, and stops it with everything it started."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from model_trainer.infra.stack.tether import tethered


def spawn(
    argv: Sequence[str], *, env: Mapping[str, str], log_file: Path | None, keep_open: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Starts a program in a process group of its own, so that a terminal's Ctrl-C reaches us alone.

    Args:
        argv: program and arguments.
        env: its whole environment.
        log_file: its output is added there; None passes it on to ours.
        keep_open: file descriptors it inherits; a lock held through one stays until the child has gone too.
    """
    with ExitStack() as files:
        output = None if log_file is None else files.enter_context(log_file.open("ab"))
        return subprocess.Popen(
            tethered(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(keep_open),
            start_new_session=True,
        )


def stop(
    process: subprocess.Popen[bytes], *, grace_seconds: float, hurry: threading.Event | None = None
) -> int:
    """Asks the child to go, makes it go after `grace_seconds`, and ends what it left in its group. Its exit code.

    Once `hurry` is set, the grace is over.
    """
    over = hurry or threading.Event()
    deadline = time.monotonic() + grace_seconds
    process.terminate()
    while process.poll() is None and time.monotonic() < deadline and not over.wait(0.005):
        pass
    kill_group(process)
    return process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills the child and whatever is left of its process group."""
    with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says so by EPERM
        os.killpg(process.pid, signal.SIGKILL)


def last_lines(log_file: Path | None, *, count: int = 5) -> str:
    """The end of a log, for an error message; empty when there is none."""
    if log_file is None or not log_file.is_file():
        return ""
    with log_file.open("rb") as file:
        file.seek(max(0, log_file.stat().st_size - 4096))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
