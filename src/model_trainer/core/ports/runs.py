"""The authority on runs: every change is one atomic step of the store."""

from typing import Protocol

from model_trainer.core.contracts.events import Event, StoredEvent
from model_trainer.core.contracts.jobs import EvaluateModel, TrainModel, TrainTokenizer
from model_trainer.core.contracts.run import (
    Flags,
    IdempotencyKey,
    Lease,
    NewRun,
    Outcome,
    Problem,
    RunPage,
    RunQuery,
    RunRecord,
    RunUpdate,
    Submission,
    Worker,
)


class RunStore(Protocol):
    """Facts by run id. Adapters raise STORE_UNAVAILABLE when the store cannot be reached."""

    def submit(self, run: NewRun, *, idempotency: IdempotencyKey | None) -> Submission:
        """Record, idempotency key, queue entry and `queued` event, all or nothing.

        The same key with the same body gives back the first record; with another body it raises
        IDEMPOTENCY_KEY_REUSED.
        """
        ...

    def find_submission(self, idempotency: IdempotencyKey) -> Submission | None:
        """What an earlier request made with this key and body; None when the key is new.

        Raises IDEMPOTENCY_KEY_REUSED when the body was another.
        """
        ...

    def get(self, run_id: str) -> RunRecord:
        """The record; raises RUN_NOT_FOUND."""
        ...

    def list_runs(self, query: RunQuery) -> RunPage:
        """Newest first, by cursor. A record that cannot be read is left out."""
        ...

    def claim(self, run_id: str, *, epoch: int, owner: str, lease_seconds: float) -> Lease | None:
        """The lease on a queued run whose epoch is still `epoch`; raises the fencing epoch by one.

        None when there is nothing to do: claimed, finished, re-queued under a newer epoch, unknown. A run with a
        cancel flag becomes `cancelled` here and is never started (also None).
        """
        ...

    def flags(self, lease: Lease) -> Flags:
        """What others ask of the owner: a read, cheap enough for every step. Raises LEASE_LOST for a stale owner."""
        ...

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """Renews the lease, writes the update, appends the events; flags come back in the same round trip.

        Raises LEASE_LOST when another owner has the run: nothing is written then. After another error nobody knows
        whether the events arrived: send them again, in front of newer ones, here, with finish() or with release();
        those that are there already are not told twice.
        """
        ...

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """The one transition into a terminal status, with its events. Raises LEASE_LOST for a stale owner."""
        ...

    def release(
        self,
        lease: Lease,
        *,
        message: str,
        delay_seconds: float = 0.0,
        events: tuple[Event, ...] = (),
        problem: Problem | None = None,
    ) -> None:
        """Hands a run back to the queue under a new epoch (a retry, a worker that must go), after its last events.

        The attempt keeps the problem; the record counts one more of its `retries`.
        """
        ...

    def request_cancel(self, run_id: str) -> RunRecord:
        """Sets the cancel flag. A queued run is cancelled at once; a running one shows `cancelling`.

        Raises RUN_NOT_FOUND, and CONFLICT when the run has ended otherwise than by cancellation.
        """
        ...

    def reap(self) -> tuple[str, ...]:
        """Runs whose lease has run out go back to the queue (or, cancelled meanwhile or lost three times without
        progress, to an end); queued runs that no queue holds are queued again. Returns the ids it touched."""
        ...

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """Some of the runs that ended without their owner, so that nobody brought their end to disk yet."""
        ...

    def accounted(self, run_id: str) -> None:
        """Says that a run's end is on disk now."""
        ...

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        """Events of a run with seq > after, in order. An unknown run has none."""
        ...

    def status_counts(self) -> dict[tuple[str, str], int]:
        """Number of runs per (kind, status)."""
        ...

    def ping(self) -> None:
        """Raises STORE_UNAVAILABLE when the store does not answer."""
        ...


class RunSignal(Protocol):
    """Wakes readers of a run's events up. Losing a signal costs a poll interval, never an event."""

    async def wait(self, run_id: str, *, timeout_seconds: float) -> None:
        """Returns when something was announced for the run, or at the timeout."""
        ...

    async def close(self) -> None:
        """Ends the subscription."""
        ...


class WorkerRegistry(Protocol):
    """Which workers are alive and what they can do."""

    def register(self, worker: Worker, *, ttl_seconds: float) -> None:
        """Says that a worker is alive for the next `ttl_seconds`."""
        ...

    def unregister(self, worker_id: str) -> None:
        """Says that a worker has gone."""
        ...

    def alive(self) -> tuple[Worker, ...]:
        """All live workers."""
        ...


class JobQueue(Protocol):
    """Wakes a worker up for an order; never the truth about it."""

    def enqueue(self, job: TrainModel | TrainTokenizer | EvaluateModel, *, queue: str) -> None:
        """Puts an order in. Delivery may happen twice or not at all; claims and the reaper make that harmless."""
        ...

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """Whether an order for this run and epoch waits in the queue."""
        ...

    def depth(self, queue: str) -> int:
        """Orders waiting."""
        ...
