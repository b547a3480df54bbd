"""Run store, worker registry and run signal in this process' memory: fakes that ship, with the same rules."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from model_trainer.core.contracts.events import Event, StoredEvent
from model_trainer.core.contracts.jobs import AnyJob
from model_trainer.core.contracts.run import (
    Flags,
    HandBack,
    Holder,
    IdempotencyKey,
    Lease,
    NewRun,
    Outcome,
    RunKind,
    RunPage,
    RunQuery,
    RunRecord,
    RunStatus,
    RunUpdate,
    Submission,
    Worker,
)
from model_trainer.infra.persistence.ends import (
    cannot_pause,
    key_reused,
    run_goes_on,
    run_not_found,
    store_lost,
    without_gaps,
)
from model_trainer.infra.persistence.feed_order import FeedOrder
from model_trainer.infra.persistence.memory_run import MemoryRun
from model_trainer.infra.persistence.run_index import matches
from model_trainer.infra.persistence.run_queue import order_for
from model_trainer.infra.persistence.run_signal import Waiters

Clock = Callable[[], float]
"""Seconds since some moment; tests hand in one they can move."""


class MemoryRunQueue(Protocol):
    """What this store needs of a queue."""

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        """Puts an order in."""
        ...

    def remove(self, run_id: str, *, epoch: int, queue: str) -> None:
        """Takes an order out, if it still waits."""
        ...

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """Whether an order waits."""
        ...


class MemoryRunStore:
    """The authority on runs of one process. A lock makes each change one step."""

    def __init__(self, *, queue: MemoryRunQueue, clock: Clock, announce: Callable[[str], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._announce = announce
        self.feed_order = FeedOrder()
        self._lock = threading.RLock()
        self._runs: dict[str, MemoryRun] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._unaccounted: set[str] = set()

    def set_flag_by_hand(self, run_id: str, value: str) -> None:
        """What `SET runs:<id>:cancelled` is to Redis."""
        with self._lock:
            self._runs[run_id].run.flag = value

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """See RunStore."""
        with self._lock:
            if run.run_id in self._runs:
                return Submission(record=self.get(run.run_id), replayed=False)
            if idempotency is not None:
                earlier = self.find_submission(idempotency)
                if earlier is not None:
                    return earlier
                self._keys[idempotency.key] = (run.run_id, idempotency.body_sha256)
            self._runs[run.run_id] = MemoryRun.submitted(run, now_ms=self._now_ms())
            self._enqueue(self._runs[run.run_id].record)
            self._tell(run.run_id, after=0)
            return Submission(record=self.get(run.run_id), replayed=False)

    def find_submission(self, idempotency: IdempotencyKey) -> Submission | None:
        """See RunStore."""
        with self._lock:
            if idempotency.key not in self._keys:
                return None
            run_id, body_sha256 = self._keys[idempotency.key]
            if body_sha256 != idempotency.body_sha256:
                raise key_reused()
            return Submission(record=self.get(run_id), replayed=True)

    def get(self, run_id: str) -> RunRecord:
        """See RunStore."""
        with self._lock:
            return self._known(run_id).record

    def list_runs(self, query: RunQuery) -> RunPage:
        """See RunStore."""
        with self._lock:
            ids = sorted(
                (run_id for run_id in self._runs if query.after is None or run_id < query.after), reverse=True
            )
            records = [self._runs[run_id].record for run_id in ids]
        found = [record for record in records if matches(record, query)]
        return RunPage(records=tuple(found[: query.limit]), has_more=len(found) > query.limit)

    def claim(
        self, run_id: str, *, epoch: int, owner: str, host: str | None, lease_seconds: float
    ) -> Lease | None:
        """See RunStore."""
        with self._lock:
            if run_id not in self._runs:
                return None
            with self._change(run_id) as run:
                return run.claim(epoch=epoch, owner=owner, host=host, lease_seconds=lease_seconds)

    def flags(self, lease: Lease) -> Flags:
        """See RunStore."""
        with self._owned(lease) as run:
            return run.flags(lease)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """See RunStore."""
        with self._owned(lease) as run:
            return run.heartbeat(lease, update, events)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """See RunStore."""
        with self._owned(lease) as run:
            run.finish(lease, outcome, events)
            return run.record

    def release(self, lease: Lease, hand_back: HandBack, events: tuple[Event, ...] = ()) -> RunRecord:
        """See RunStore."""
        with self._owned(lease) as run:
            run.release(lease, hand_back, events)
            if run.record.status is RunStatus.QUEUED and hand_back.delay_seconds == 0:
                self._enqueue(run.record)
            return run.record

    def request_cancel(self, run_id: str) -> RunRecord:
        """See RunStore."""
        with self._change(run_id) as run:
            waited = run.record.status is RunStatus.QUEUED
            run.request_cancel()
            if waited:
                self._drop_order(run.record)
            return run.record

    def request_pause(self, run_id: str) -> RunRecord:
        """See RunStore."""
        with self._change(run_id) as run:
            waited = run.record.status is RunStatus.QUEUED
            is_accepted = run.request_pause()
            if waited:
                self._drop_order(run.record)
        if not is_accepted:
            raise cannot_pause(run.record)
        return run.record

    def resume(
        self, run_id: str, *, step: int | None = None, idempotency: IdempotencyKey | None = None
    ) -> Submission:
        """See RunStore."""
        with self._change(run_id) as run:
            earlier = None if idempotency is None else self.find_submission(idempotency)
            if earlier is not None:
                return earlier
            run.resume(step=step)
            if idempotency is not None:
                self._keys[idempotency.key] = (run_id, idempotency.body_sha256)
            self._unaccounted.discard(run_id)
            self._enqueue(run.record)
            return Submission(record=run.record, replayed=False)

    def resume_when_due(self, run_id: str) -> bool:
        """See RunStore."""
        with self._lock:
            if run_id not in self._runs:
                return False
            with self._change(run_id) as run:
                is_resumed = run.resume_when_due()
                if is_resumed:
                    self._enqueue(run.record)
                return is_resumed

    def held(self) -> tuple[Holder, ...]:
        """See RunStore."""
        with self._lock:
            records = [run.record for _, run in sorted(self._runs.items())]
        return tuple(
            Holder(run_id=record.run_id, epoch=record.epoch, owner=record.owner, host=record.host)
            for record in records
            if record.owner is not None
        )

    def reap(self, lost: tuple[Holder, ...] = ()) -> tuple[str, ...]:
        """See RunStore."""
        touched: list[str] = []
        lost_epochs = {holder.run_id: holder.epoch for holder in lost}
        with self._lock:
            for run_id in sorted(self._runs):
                with self._change(run_id) as run:
                    if run.reap(lost_epoch=lost_epochs.get(run_id)) or self._is_forgotten(run):
                        touched.append(run_id)
                    if self._is_forgotten(run):
                        self._enqueue(run.record)
        return tuple(touched)

    def restore(self, record: RunRecord, events: tuple[StoredEvent, ...]) -> bool:
        """See RunStore."""
        with self._lock:
            if record.run_id in self._runs:
                return False
            self._runs[record.run_id] = MemoryRun.restored(record, events, now_ms=self._now_ms())
            self._tell(record.run_id, after=len(without_gaps(events)))
            return True

    def lose_everything(self) -> None:
        """What `FLUSHALL` is to Redis."""
        with self._lock:
            self._runs.clear()
            self._keys.clear()
            self._unaccounted.clear()
            self.feed_order.trim(0)

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """See RunStore."""
        with self._lock:
            return tuple(sorted(self._unaccounted)[:limit])

    def accounted(self, run_id: str) -> None:
        """See RunStore."""
        with self._lock:
            self._unaccounted.discard(run_id)

    def point_at_artifact(
        self, run_id: str, *, file_id: str, epoch: int | None, instead_of: str | None = None
    ) -> RunRecord:
        """See RunStore."""
        with self._change(run_id) as run:
            run.point_at_artifact(file_id=file_id, epoch=epoch, instead_of=instead_of)
            return run.record

    def forget(self, run_id: str) -> bool:
        """See RunStore."""
        with self._lock:
            if run_id not in self._runs:
                return False
            if not self._runs[run_id].record.status.is_terminal:
                raise run_goes_on(run_id)
            del self._runs[run_id]
            self._unaccounted.discard(run_id)
            return True

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """See RunStore."""
        with self._lock:
            run = self._runs.get(run_id)
            first = max(after, 0)
            return () if run is None else tuple(run.run.events[first : first + limit])

    def status_counts(self) -> dict[tuple[str, str], int]:
        """See RunStore."""
        counts = {(kind.value, status.value): 0 for kind in RunKind for status in RunStatus}
        with self._lock:
            for run in self._runs.values():
                counts[run.record.kind.value, run.record.status.value] += 1
        return counts

    def ping(self) -> None:
        """See RunStore. Memory always answers."""

    @contextmanager
    def _change(self, run_id: str) -> Iterator[MemoryRun]:
        """A run under the lock, at this moment; what was appended to its events is told at the end."""
        with self._lock:
            run = self._known(run_id)
            run.run.now_ms = self._now_ms()
            seq, had_ended = run.record.last_event_seq, run.record.status.is_terminal
            yield run
            if run.record.status.is_terminal and not had_ended:
                self._unaccounted.add(run_id)
            self._tell(run_id, after=seq)

    def _tell(self, run_id: str, *, after: int) -> None:
        """Refers to a run's events with seq > after in the feed, and announces them."""
        for seq in range(after + 1, self._known(run_id).record.last_event_seq + 1):
            self.feed_order.add(run_id, seq)
            self._announce(run_id)

    @contextmanager
    def _owned(self, lease: Lease) -> Iterator[MemoryRun]:
        with self._lock:
            if lease.run_id not in self._runs:
                raise store_lost(lease)
            with self._change(lease.run_id) as run:
                yield run

    def _known(self, run_id: str) -> MemoryRun:
        if run_id not in self._runs:
            raise run_not_found(run_id)
        return self._runs[run_id]

    def _is_forgotten(self, run: MemoryRun) -> bool:
        record = run.record
        if record.status is not RunStatus.QUEUED or run.run.not_before_ms > run.run.now_ms:
            return False
        return not self._queue.holds(record.run_id, epoch=record.epoch, queue=record.queue)

    def _drop_order(self, record: RunRecord) -> None:
        self._queue.remove(record.run_id, epoch=record.epoch, queue=record.queue)

    def _enqueue(self, record: RunRecord) -> None:
        order = order_for(record.kind, run_id=record.run_id, epoch=record.epoch)
        self._queue.enqueue(order, queue=record.queue)

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


class MemoryWorkerRegistry:
    """Which workers of this process said a short while ago that they are alive."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._workers: dict[str, tuple[Worker, float]] = {}

    def register(self, worker: Worker, *, ttl_seconds: float) -> None:
        """See WorkerRegistry."""
        self._workers[worker.worker_id] = (worker, self._clock() + ttl_seconds)

    def unregister(self, worker_id: str) -> None:
        """See WorkerRegistry."""
        self._workers.pop(worker_id, None)

    def alive(self) -> tuple[Worker, ...]:
        """See WorkerRegistry."""
        now = self._clock()
        return tuple(worker for _, (worker, until) in sorted(self._workers.items()) if until > now)


class MemoryRunSignal:
    """Wakes readers of this process up. `announce` may be called from any thread."""

    def __init__(self) -> None:
        self._waiters = Waiters()
        self._loop: asyncio.AbstractEventLoop | None = None

    def announce(self, run_id: str) -> None:
        """Something was appended to the run's events."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._waiters.wake, run_id)

    async def wait(self, run_id: str, *, timeout_seconds: float) -> None:
        """See RunSignal."""
        self._loop = asyncio.get_running_loop()
        await self._waiters.wait(run_id, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """See RunSignal."""
        self._loop = None
        self._waiters.wake_all()
