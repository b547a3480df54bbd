"""The order in which the events of all runs were told in this process: what `trainer:feed` is to Redis."""

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from model_trainer.core.contracts.feed import START
from model_trainer.infra.persistence.redis_feed import FEED_LENGTH


class Reference(NamedTuple):
    """An event by its place in the feed and in its run."""

    position: str
    run_id: str
    seq: int


class FeedOrder:
    """References to events, the newest FEED_LENGTH of them. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._references: deque[Reference] = deque(maxlen=FEED_LENGTH)
        self._num_added = 0
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, announce: Callable[[str], None]) -> None:
        """From here on `announce` is told of whose event it is, whenever one is added."""
        self._listeners.append(announce)

    def add(self, run_id: str, seq: int) -> None:
        """Puts an event behind all others."""
        with self._lock:
            self._num_added += 1
            self._references.append(Reference(f"{self._num_added}-0", run_id, seq))
        for announce in self._listeners:
            announce(run_id)

    def trim(self, keep: int) -> None:
        """What `XTRIM trainer:feed MAXLEN <keep>` is to Redis."""
        with self._lock:
            while len(self._references) > keep:
                self._references.popleft()

    def behind(self, after: str, count: int) -> tuple[list[Reference], bool]:
        """Up to `count` references, and whether some before them may be missing: as in RedisEventFeed."""
        with self._lock:
            if after == START:
                return list(islice(self._references, count)), len(self._references) == FEED_LENGTH
            places = (
                place for place, reference in enumerate(self._references) if reference.position == after
            )
            place = next(places, None)
            first = 0 if place is None else place + 1
            return list(islice(self._references, first, first + count)), place is None

    def end(self) -> str:
        """The position of the newest one; START when there is none."""
        with self._lock:
            return self._references[-1].position if self._references else START
