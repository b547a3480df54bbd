"""A run's record in memory with the words its transitions share: what prelude.lua is to the scripts."""

from model_trainer.core.contracts.events import (
    Event,
    JobCancelled,
    JobFailed,
    JobPaused,
    JobQueued,
    StoredEvent,
)
from model_trainer.core.contracts.run import (
    Lease,
    NewRun,
    Phase,
    Problem,
    Progress,
    RunRecord,
    RunStatus,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.infra.persistence.ends import (
    CANCELLED,
    GIVEN_UP,
    LOST_WORKER,
    NEW_MESSAGE,
    PAUSED,
    lease_lost,
)

ACTIVE = (RunStatus.RUNNING, RunStatus.CANCELLING)
PHASE_WEIGHT = 10_000_000_000
"""More than any number of steps: a later phase is always further."""


class MemoryRecord:
    """A record, its events and what only the scripts know in Redis."""

    def __init__(self, record: RunRecord, events: tuple[StoredEvent, ...], *, now_ms: int) -> None:
        self.record = record
        self.events = list(events)
        self.now_ms = now_ms
        self.flag = ""
        self.not_before_ms = 0
        self.crashes = 0
        self.crash_mark = -1
        self.retry_mark = 0

    def tell(self, event: Event) -> None:
        """Appends one event under the next number."""
        seq = self.record.last_event_seq + 1
        self.set(last_event_seq=seq)
        self.events.append(StoredEvent(seq=seq, at_ms=self.now_ms, event=event))

    def tell_queued(self) -> None:
        """Says that the run waits for a worker."""
        record = self.record
        self.tell(
            JobQueued(
                job_id=record.run_id,
                user_id=record.user_id,
                kind=record.kind.value,
                family=record.family,
                queue=record.queue,
            )
        )

    @property
    def mark(self) -> int:
        """How far the run has come, by phase and step."""
        return list(Phase).index(self.record.phase) * PHASE_WEIGHT + self.record.progress.step

    @property
    def is_active(self) -> bool:
        """Whether somebody owns the run."""
        return self.record.status in ACTIVE

    @property
    def cancel_wanted(self) -> bool:
        """The flag counts whoever set it: the API through the record, or a person by hand."""
        return self.record.cancel_requested or self.flag.lower() not in ("", "0", "false")

    def check_owner(self, lease: Lease) -> None:
        """Raises LEASE_LOST for anyone but the owner."""
        owns = self.record.owner == lease.owner and self.record.epoch == lease.epoch
        if not self.is_active or not owns:
            raise lease_lost(lease)

    def set(self, **changes: object) -> None:
        """Changes fields of the record."""
        changed: dict[str, object] = {"updated_at_ms": self.now_ms, **changes}
        self.record = self.record.model_copy(update=changed)

    def hold(self, lease: Lease) -> None:
        """The owner was heard of."""
        self.set(lease_until_ms=self.now_ms + round(lease.lease_seconds * 1000), heartbeat_at_ms=self.now_ms)

    def end_attempt(self, problem: Problem | None) -> None:
        """The last attempt is over."""
        *earlier, last = self.record.attempts
        changed: dict[str, object] = {"ended_at_ms": self.now_ms, "problem": problem}
        ended = last.model_copy(update=changed)
        self.set(attempts=(*earlier, ended))

    def finish(self, status: RunStatus) -> None:
        """Into a terminal status."""
        self.set(status=status, phase=Phase.DONE, finished_at_ms=self.now_ms, pause_requested=False)
        self._let_go()

    def finish_cancelled(self) -> None:
        """Ends the run because somebody asked."""
        self.set(
            cancel_requested=True,
            message=CANCELLED,
            reason=Reason.USER_CANCELLED,
            failure_class=None,
            problem=None,
        )
        self.finish(RunStatus.CANCELLED)
        record = self.record
        self.tell(JobCancelled(job_id=record.run_id, user_id=record.user_id, step=record.progress.step))

    def give_up(self) -> None:
        """Ends a run on which too many workers were lost."""
        self.set(
            message=GIVEN_UP,
            reason=Reason.WORKER_LOST,
            failure_class=FailureClass.FATAL,
            problem=LOST_WORKER,
        )
        self.finish(RunStatus.FAILED)
        self.tell(
            JobFailed(
                job_id=self.record.run_id,
                user_id=self.record.user_id,
                error_code=ErrorCode.WORKER_LOST,
                message=GIVEN_UP,
                reason=Reason.WORKER_LOST,
                failure_class=FailureClass.FATAL,
            )
        )

    def queue(self, message: str, *, delay_ms: int = 0) -> None:
        """Waiting again, under a new epoch: orders given out before are void."""
        self.not_before_ms = self.now_ms + delay_ms
        self.set(
            status=RunStatus.QUEUED,
            phase=Phase.WAITING,
            message=message,
            reason=None,
            epoch=self.record.epoch + 1,
        )
        self._let_go()

    def stand_still(self, message: str = PAUSED, *, reason: Reason | None = None, delay_ms: int = 0) -> None:
        """Without an owner, out of the queue, under the epoch it had."""
        self.not_before_ms = self.now_ms + delay_ms
        self.set(status=RunStatus.PAUSED, phase=Phase.WAITING, message=message, reason=reason)
        self._let_go()
        self.tell(JobPaused(job_id=self.record.run_id, user_id=self.record.user_id, reason=reason))

    def _let_go(self) -> None:
        self.set(owner=None, host=None, lease_until_ms=0)


def record_of_new(run: NewRun, *, now_ms: int) -> RunRecord:
    """The first state of a record."""
    return RunRecord(
        run_id=run.run_id,
        kind=run.kind,
        queue=run.queue,
        family=run.family,
        spec=run.spec,
        user_id=run.user_id,
        metadata=run.metadata,
        parent_run_id=run.parent_run_id,
        request_id=run.request_id,
        status=RunStatus.QUEUED,
        phase=Phase.WAITING,
        message=NEW_MESSAGE,
        reason=None,
        failure_class=None,
        problem=None,
        epoch=0,
        owner=None,
        lease_until_ms=0,
        attempt=0,
        attempts=(),
        cancel_requested=False,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        started_at_ms=None,
        finished_at_ms=None,
        heartbeat_at_ms=None,
        progress=Progress(),
        metrics={},
        result={},
        last_event_seq=0,
    )
