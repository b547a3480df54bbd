"""How often the channel is spoken to, and whose turn it is: ends first, then the run that has waited longest."""

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

NUM_CALLS = 3
WINDOW_SECONDS = 5.0
"""Discord allows 5 calls in 5 seconds for one channel, and people use the same channel."""
TURN_SECONDS = 2.0
"""A run that is told again waits so long, and what happens meanwhile is one edit. Its end need not wait."""
NUM_REMEMBERED = 1_000
"""Turns of more runs than that are forgotten."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that has something to tell. However much happened to it, it waits once."""

    run_id: str
    has_ended: bool
    due_in_seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is next, and when."""

    run_id: str
    in_seconds: float


class Limiter:
    """Knows the calls of the last seconds and the last turn of each run. Times are seconds of one clock that never jumps."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque(maxlen=NUM_CALLS)
        self._turns: OrderedDict[str, float] = OrderedDict()
        self._not_before: dict[str, float] = {}
        self._refused: set[str] = set()

    def seconds_until_free(self, now: float) -> float:
        """How long until another call may be made."""
        if len(self._calls) < NUM_CALLS:
            return 0.0
        return max(0.0, self._calls[0] + WINDOW_SECONDS - now)

    def called(self, now: float) -> None:
        """Counts a call."""
        self._calls.append(now)

    def next_turn(self, waiting: Iterable[Waiting], *, now: float) -> Turn | None:
        """Whose turn it is, or will be first; None when nobody waits."""
        line = [(self._wait_of(each, now), self._place_of(each), each.run_id) for each in waiting]
        if not line:
            return None
        seconds, _, run_id = min(line)
        return Turn(run_id, max(seconds, self.seconds_until_free(now)))

    def had_turn(self, run_id: str, now: float) -> None:
        """The run goes to the end of the line."""
        self._turns[run_id] = now
        self._turns.move_to_end(run_id)
        self._not_before.pop(run_id, None)
        if len(self._turns) > NUM_REMEMBERED:
            self._turns.popitem(last=False)

    def postpone(self, run_id: str, until: float) -> None:
        """The run is not ready before; others go on."""
        self._not_before[run_id] = until

    def refused(self, run_id: str) -> None:
        """Discord did not take it. It may be this one alone, so all others go before it."""
        self._refused.add(run_id)

    def taken(self, run_id: str) -> None:
        """Discord took it."""
        self._refused.discard(run_id)

    def _wait_of(self, waiting: Waiting, now: float) -> float:
        turn_again = self._turns.get(waiting.run_id, now - TURN_SECONDS) + TURN_SECONDS
        ready = max(now if waiting.has_ended else turn_again, self._not_before.get(waiting.run_id, now))
        return max(waiting.due_in_seconds, ready - now)

    def _place_of(self, waiting: Waiting) -> tuple[bool, bool, float]:
        """In the line of those who are ready."""
        last_turn = self._turns.get(waiting.run_id, -math.inf)
        return waiting.run_id in self._refused, not waiting.has_ended, last_turn
