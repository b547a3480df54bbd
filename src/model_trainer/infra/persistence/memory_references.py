"""Who needs which file or tokenizer, in this process' memory: the fake that ships, with the same rules."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model_trainer.infra.persistence.ends import being_removed, removal_goes_on
from model_trainer.infra.persistence.redis_references import NAMED_RUNS


@dataclass(frozen=True, slots=True)
class _Removal:
    owner: str
    until: float


class MemoryReferences:
    """See References. A lock makes each change one step."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds since some moment."""
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: defaultdict[str, set[str]] = defaultdict(set)
        self._removals: dict[str, _Removal] = {}

    def refer(self, run_id: str, things: Sequence[str]) -> None:
        """See References."""
        with self._lock:
            for thing in things:
                if self._owner_of_removal(thing) is not None:
                    raise being_removed(thing)
            for thing in things:
                self._runs[thing].add(run_id)

    def release(self, run_id: str, things: Sequence[str]) -> None:
        """See References."""
        with self._lock:
            for thing in things:
                self._runs[thing].discard(run_id)

    def referred_by(self, thing: str, *, limit: int) -> tuple[str, ...]:
        """See References."""
        with self._lock:
            return tuple(sorted(self._runs[thing])[:limit])

    def begin_removal(self, thing: str, *, owner: str, seconds: float) -> tuple[str, ...]:
        """See References."""
        with self._lock:
            if self._owner_of_removal(thing) not in (None, owner):
                raise removal_goes_on(thing)
            if not self._runs[thing]:
                self._removals[thing] = _Removal(owner=owner, until=self._clock() + seconds)
            return tuple(sorted(self._runs[thing])[:NAMED_RUNS])

    def end_removal(self, thing: str, *, owner: str) -> None:
        """See References."""
        with self._lock:
            if self._owner_of_removal(thing) == owner:
                del self._removals[thing]

    def _owner_of_removal(self, thing: str) -> str | None:
        """None when it is not being removed, or not any more."""
        removal = self._removals.get(thing)
        return removal.owner if removal is not None and removal.until > self._clock() else None
