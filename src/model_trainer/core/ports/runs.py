"""The authority on runs: every change is one atomic step of the store."""

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

    def claim(
        self, run_id: str, *, epoch: int, owner: str, host: str | None, lease_seconds: float
    ) -> Lease | None:
        """The lease on a queued run whose epoch is still `epoch`; raises the fencing epoch by one.

        None when there is nothing to do: claimed, finished, re-queued under a newer epoch, unknown. A run with a
        cancel flag becomes `cancelled` here and is never started (also None).
        """
        ...

    def flags(self, lease: Lease) -> Flags:
        """What others ask of the owner: a read, cheap enough for every step. Raises LEASE_LOST for a stale owner, and
        STORE_UNAVAILABLE when the store has lost the record: it may be rebuilt, and the owner goes on meanwhile."""
        ...

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...] = ()) -> Flags:
        """Renews the lease, writes the update, appends the events; flags come back in the same round trip.

        Raises as flags() does; nothing is written then. After another error nobody knows
        whether the events arrived: send them again, in front of newer ones, here, with finish() or with release();
        those that are there already are not told twice.
        """
        ...

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...] = ()) -> RunRecord:
        """The one transition into a terminal status, with its events. Raises LEASE_LOST for a stale owner."""
        ...

    def release(self, lease: Lease, hand_back: HandBack, events: tuple[Event, ...] = ()) -> RunRecord:
        """Gives a run up without ending it, after its last events; the record as it stands then.

        Back in the queue it has a new epoch. A run whose cancellation was asked for ends instead, and one that goes back
        to the queue although a pause was asked for stands still instead. Raises LEASE_LOST for a stale owner.
        """
        ...

    def request_cancel(self, run_id: str) -> RunRecord:
        """Sets the cancel flag. A queued or paused run is cancelled at once; a running one shows `cancelling`.

        Raises RUN_NOT_FOUND, and CONFLICT when the run has ended otherwise than by cancellation.
        """
        ...

    def request_pause(self, run_id: str) -> RunRecord:
        """Sets the pause flag. A queued run stands still at once, a running one after its next step; asking for it again
        changes nothing.

        Raises RUN_NOT_FOUND, and CONFLICT when the run has ended or is being cancelled, or is no training.
        """
        ...

    def resume(
        self, run_id: str, *, step: int | None = None, idempotency: IdempotencyKey | None = None
    ) -> Submission:
        """Puts a run that stands still, failed or was cancelled back into the queue, under a new epoch and with all its
        tries before it. With `step` it will go on from that checkpoint and forget those after it.

        The same key with the same body changes nothing more and gives back the record as it is now; with another body it
        raises IDEMPOTENCY_KEY_REUSED. Raises RUN_NOT_FOUND, and CONFLICT when the run is queued, running or completed.
        """
        ...

    def resume_when_due(self, run_id: str) -> bool:
        """Puts a run that stands still for want of disk space back into the queue; False when its delay is not over, or
        when it stands still for another reason, or no more."""
        ...

    def held(self) -> tuple[Holder, ...]:
        """Who holds a run now, as far as the store knows."""
        ...

    def reap(self, lost: tuple[Holder, ...] = ()) -> tuple[str, ...]:
        """Runs whose lease has run out, or whose holder is known to be `lost`, go back to the queue (or, cancelled
        meanwhile or lost three times without progress, to an end; or, a pause asked for, to stand still); queued runs
        that no queue holds are queued again. Returns the ids it touched."""
        ...

    def restore(self, record: RunRecord, events: tuple[StoredEvent, ...]) -> bool:
        """Brings a run back that the store has lost; False when it has it. A run that was held is held by the same owner
        for one lease more, so that a worker that still works on it goes on; the reaper takes it up otherwise."""
        ...

    def unaccounted(self, limit: int) -> tuple[str, ...]:
        """Some of the runs that have ended and of which nobody has said yet that their end is on disk."""
        ...

    def accounted(self, run_id: str) -> None:
        """Says that a run's end is on disk now."""
        ...

    def point_at_artifact(
        self, run_id: str, *, file_id: str, epoch: int | None, instead_of: str | None = None
    ) -> RunRecord:
        """Notes where the run's artifact is stored, in the record and at `runs:artifact:<run_id>:file_id`.

        `epoch`: of the owner that says so, whose LEASE_LOST is raised when it is stale; None for a run that has ended.
        `instead_of`: where it must be stored until now (left out: anywhere); CONFLICT is raised where somebody else has
        moved it on meanwhile. Raises RUN_NOT_FOUND.
        """
        ...

    def forget(self, run_id: str) -> bool:
        """Removes a run that has ended, with its events and all that lists it; False when there is none. Raises CONFLICT for
        a run that has not ended."""
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

    def enqueue(self, job: AnyJob, *, queue: str) -> None:
        """Puts an order in. Delivery may happen twice or not at all; claims and the reaper make that harmless."""
        ...

    def holds(self, run_id: str, *, epoch: int, queue: str) -> bool:
        """Whether an order for this run and epoch waits in the queue."""
        ...

    def depth(self, queue: str) -> int:
        """Orders waiting."""
        ...
