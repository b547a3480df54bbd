"""A queue in this process' memory: the fake that ships. Orders are kept as the JSON they would travel as."""

import threading
from collections import defaultdict, deque

from model_trainer.core.contracts.jobs import AnyJob, decode_job


class MemoryJobQueue:
    """Orders in the sequence they came. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payloads: defaultdict[str, deque[str]] = defaultdict(deque)

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        """See JobQueue."""
        with self._lock:
            self._payloads[queue].append(job.model_dump_json())

    def take(self, queue: str) -> str | None:
        """The oldest order's payload, as a worker would get it; None when none waits."""
        with self._lock:
            return self._payloads[queue].popleft() if self._payloads[queue] else None

    def remove(self, run_id: str, *, epoch: int, queue: str) -> None:
        """Takes an order out, if it still waits."""
        with self._lock:
            kept = [payload for payload in self._payloads[queue] if _names(payload) != (run_id, epoch)]
            self._payloads[queue] = deque(kept)

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """See JobQueue."""
        with self._lock:
            return any(_names(payload) == (run_id, epoch) for payload in self._payloads[queue])

    def depth(self, queue: str) -> int:
        """See JobQueue."""
        with self._lock:
            return len(self._payloads[queue])


def _names(payload: str) -> tuple[str, int]:
    order = decode_job(payload)
    return order.run_id, order.epoch
