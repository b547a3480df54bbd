"""SIGTERM, for the time of a job: this worker must go, and another one goes on."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class StopSignal:
    """Hears SIGTERM inside a with-block, from its first line on; afterwards the old handler is back.

    Only a process' main thread can hear signals; elsewhere (tests, an embedded worker) nothing is heard. The handler runs
    in the middle of whatever the main thread does: it takes no lock and writes no log.
    """

    def __init__(self) -> None:
        self._was_asked = False
        self._tell: Callable[[], None] | None = None
        self._before: signal.Handlers | Callable[[int, FrameType | None], object] | int | None = None

    @property
    def was_asked(self) -> bool:
        """Whether the signal came."""
        return self._was_asked

    def on_request(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when the signal comes, or now when it has come."""
        self._tell = tell  # first: a signal between these two lines finds it
        if self._was_asked:
            tell()

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._was_asked = True
        if self._tell is not None:
            self._tell()
