"""An event loop whose clock jumps to the next timer when nothing is left to do: minutes of waiting take no time."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_SECONDS = 5.0
"""Of real time, for something from outside of the loop."""
TICK_SECONDS = 1e-9
"""Work takes some time: who waits for less than a float can tell apart gets there too."""


class _Jumping(selectors.DefaultSelector):
    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None:
            self.now += timeout + TICK_SECONDS
            return super().select(0)
        found = super().select(PATIENCE_SECONDS)
        assert found, "Everybody waits, and nothing will ever happen."
        return found


class _InLine(ThreadPoolExecutor):
    """asyncio.to_thread without threads: what it is handed is done at once."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is virtual, and it has no threads."""

    def __init__(self) -> None:
        self._selector_of_time = _Jumping()
        super().__init__(self._selector_of_time)
        self.set_default_executor(_InLine())

    def time(self) -> float:
        """Seconds; it moves in jumps."""
        return self._selector_of_time.now


def run(test: Callable[[], Coroutine[object, object, T]]) -> T:
    """Runs a test in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test())


def now() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()
