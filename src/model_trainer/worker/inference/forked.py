"""A forked child and the pipe to it, as the parent sees them; and what a child does first."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from model_trainer.core.logging import get_logger
from model_trainer.worker.inference.child import Line

log = get_logger(__name__)

END_SECONDS = 2.0
"""How long a child may take to go when nobody talks to it any more."""


class ForkedChild:
    """Forked when it is made, from the main thread: the kernel ties the child's life to that.

    Args:
        work: what the child does, given its end of the pipe and its parent's process id; when it returns or raises, the
            child has ended.
        end_seconds: how long it may take to go when it is let go.
    """

    def __init__(self, work: Callable[[Line, int], None], *, end_seconds: float = END_SECONDS) -> None:
        self._end_seconds = end_seconds
        ours, theirs = socket.socketpair()
        self._line: Connection[bytes, bytes] = Connection(ours.detach())
        line: Connection[bytes, bytes] = Connection(theirs.detach())
        parent_pid = os.getpid()

        def begin() -> None:  # pragma: no cover - runs in the forked child alone
            self._line.close()  # or nobody would ever hear that the parent has hung up
            hear_no_signals()
            work(line, parent_pid)

        self._process: ForkProcess = multiprocessing.get_context("fork").Process(target=begin, daemon=True)
        self._process.start()
        line.close()
        log.info("inference_child_started", pid=self.pid)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid or 0

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send(self, data: bytes) -> None:
        """One frame to the child; raises OSError when it has gone."""
        self._line.send_bytes(data)

    def has_said(self, *, within_seconds: float) -> bool:
        """Whether receive() will return, or raise, at once; waits for so long."""
        return self._line.poll(within_seconds)

    def receive(self) -> bytes:
        """The child's next frame; raises EOFError or OSError when it has gone."""
        return self._line.recv_bytes()

    def end(self) -> None:
        """Hangs up, and kills a child that does not go by itself."""
        self._line.close()
        self._process.join(self._end_seconds)
        self.kill()

    def kill(self) -> None:
        """Ends it outright."""
        self._process.kill()
        self._process.join()
        self._line.close()

    @property
    def fate(self) -> str:
        """How it ended, for the log."""
        code = self._process.exitcode
        if code is None:
            return "is alive"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def hear_no_signals() -> None:
    """What ends the parent reaches its whole process group at times: when to go is the parent's word."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
