"""One run in memory: the same transitions as the scripts, one method for each. Not for sharing between threads."""

from model_trainer.core.contracts.events import (
    Event,
    JobCancelled,
    JobFailed,
    JobQueued,
    JobStarted,
    StoredEvent,
)
from model_trainer.core.contracts.run import (
    Attempt,
    Flags,
    Lease,
    NewRun,
    Outcome,
    Phase,
    Problem,
    Progress,
    RunRecord,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import ErrorCode, FailureClass, Reason
from model_trainer.infra.persistence.ends import (
    CANCELLED,
    GIVEN_UP,
    LOST_WORKER,
    MAX_CRASHES,
    NEW_MESSAGE,
    RESCUED,
    STARTED,
    failure_class_of_outcome,
    lease_lost,
    reason_of_outcome,
    run_has_ended,
    standing_after,
)

ACTIVE = (RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELLING)
PHASE_WEIGHT = 10_000_000_000
"""More than any number of steps: a later phase is always further."""


class MemoryRun:
    """A record, its events and what only the scripts know in Redis."""

    def __init__(self, run: NewRun, *, now_ms: int) -> None:
        self.now_ms = now_ms
        self.flag = ""
        self.not_before_ms = now_ms
        self.events: list[StoredEvent] = []
        self._crashes = 0
        self._crash_mark = -1
        self._retry_mark = 0
        self.record = RunRecord(
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
        self._tell_queued()

    def claim(self, *, epoch: int, owner: str, lease_seconds: float) -> Lease | None:
        """As claim.lua."""
        if self.record.status is not RunStatus.QUEUED or self.record.epoch != epoch:
            return None
        if self._cancel_wanted:
            self._finish_cancelled()
            return None
        if self.not_before_ms > self.now_ms:
            return None
        lease = Lease(run_id=self.record.run_id, epoch=epoch + 1, owner=owner, lease_seconds=lease_seconds)
        attempt = Attempt(epoch=lease.epoch, owner=owner, started_at_ms=self.now_ms)
        self._set(
            status=RunStatus.RUNNING,
            phase=Phase.STARTING,
            message=STARTED,
            reason=None,
            failure_class=None,
            problem=None,
            epoch=lease.epoch,
            owner=owner,
            attempt=self.record.attempt + 1,
            attempts=(*self.record.attempts, attempt),
            started_at_ms=self.now_ms if self.record.started_at_ms is None else self.record.started_at_ms,
        )
        self._hold(lease)
        self.tell(
            JobStarted(
                job_id=self.record.run_id,
                user_id=self.record.user_id,
                epoch=lease.epoch,
                attempt=self.record.attempt,
                worker=owner,
            )
        )
        return lease

    def flags(self, lease: Lease) -> Flags:
        """As flags.lua."""
        self._check_owner(lease)
        return Flags(cancel=self._cancel_wanted)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...]) -> Flags:
        """As heartbeat.lua."""
        self._check_owner(lease)
        self._hold(lease)
        changes: dict[str, object] = {
            "phase": update.phase,
            "message": update.message,
            "progress": update.progress,
            "metrics": update.metrics,
        }
        self._set(**{name: value for name, value in changes.items() if value is not None})
        self._set(heartbeat_at_ms=self.now_ms - update.quiet_ms)
        if self._mark > self._retry_mark:
            self._set(retries=0)
        status, reason = standing_after(events)
        cancel = self._cancel_wanted
        if cancel:
            self._set(status=RunStatus.CANCELLING, cancel_requested=True)
        elif status is not None:
            self._set(status=status, reason=reason)
        for event in events:
            self.tell(event)
        return Flags(cancel=cancel)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...]) -> None:
        """As finish.lua."""
        self._check_owner(lease)
        self._set(
            message=outcome.message,
            result=outcome.result,
            metrics=outcome.metrics or self.record.metrics,
            problem=outcome.problem,
            reason=reason_of_outcome(outcome),
            failure_class=failure_class_of_outcome(outcome),
        )
        self._end_attempt(outcome.problem)
        self._finish(outcome.status)
        for event in events:
            self.tell(event)

    def release(
        self,
        lease: Lease,
        *,
        message: str,
        delay_ms: int,
        events: tuple[Event, ...],
        problem: Problem | None,
    ) -> None:
        """As release.lua."""
        self._check_owner(lease)
        for event in events:
            self.tell(event)
        self._end_attempt(problem)
        if self._cancel_wanted:
            self._finish_cancelled()
        else:
            self._set(retries=self.record.retries + 1)
            self._retry_mark = max(self._mark, self._retry_mark)
            self._wait(message, delay_ms=delay_ms)

    def request_cancel(self) -> None:
        """As request_cancel.lua."""
        status = self.record.status
        if status in (RunStatus.COMPLETED, RunStatus.FAILED):
            raise run_has_ended(status.value)
        if status is RunStatus.QUEUED:
            self._finish_cancelled()
        elif status is not RunStatus.CANCELLED:
            self._set(status=RunStatus.CANCELLING, cancel_requested=True)

    def reap(self) -> bool:
        """As reap.lua; whether there was something to do."""
        if (
            self.record.status is RunStatus.QUEUED
            and self._cancel_wanted
            and self.not_before_ms <= self.now_ms
        ):
            self._finish_cancelled()
            return True
        if self.record.status not in ACTIVE or self.record.lease_until_ms > self.now_ms:
            return False
        self._end_attempt(LOST_WORKER)
        if self._cancel_wanted:
            self._finish_cancelled()
            return True
        self._crashes = self._crashes + 1 if self._mark <= self._crash_mark else 1
        self._crash_mark = max(self._mark, self._crash_mark)
        if self._crashes >= MAX_CRASHES:
            self._give_up()
        else:
            self._wait(RESCUED, delay_ms=0)
        return True

    def tell(self, event: Event) -> None:
        """Appends one event under the next number."""
        seq = self.record.last_event_seq + 1
        self._set(last_event_seq=seq)
        self.events.append(StoredEvent(seq=seq, at_ms=self.now_ms, event=event))

    @property
    def _mark(self) -> int:
        """How far the run has come, by phase and step."""
        return list(Phase).index(self.record.phase) * PHASE_WEIGHT + self.record.progress.step

    @property
    def _cancel_wanted(self) -> bool:
        return self.record.cancel_requested or self.flag.lower() not in ("", "0", "false")

    def _check_owner(self, lease: Lease) -> None:
        owns = self.record.owner == lease.owner and self.record.epoch == lease.epoch
        if self.record.status not in ACTIVE or not owns:
            raise lease_lost(lease)

    def _set(self, **changes: object) -> None:
        changed: dict[str, object] = {"updated_at_ms": self.now_ms, **changes}
        self.record = self.record.model_copy(update=changed)

    def _hold(self, lease: Lease) -> None:
        self._set(lease_until_ms=self.now_ms + round(lease.lease_seconds * 1000), heartbeat_at_ms=self.now_ms)

    def _end_attempt(self, problem: Problem | None) -> None:
        *earlier, last = self.record.attempts
        changed: dict[str, object] = {"ended_at_ms": self.now_ms, "problem": problem}
        ended = last.model_copy(update=changed)
        self._set(attempts=(*earlier, ended))

    def _finish(self, status: RunStatus) -> None:
        self._set(status=status, phase=Phase.DONE, finished_at_ms=self.now_ms, owner=None, lease_until_ms=0)

    def _finish_cancelled(self) -> None:
        self._set(
            cancel_requested=True,
            message=CANCELLED,
            reason=Reason.USER_CANCELLED,
            failure_class=None,
            problem=None,
        )
        self._finish(RunStatus.CANCELLED)
        record = self.record
        self.tell(JobCancelled(job_id=record.run_id, user_id=record.user_id, step=record.progress.step))

    def _give_up(self) -> None:
        self._set(
            message=GIVEN_UP,
            reason=Reason.WORKER_LOST,
            failure_class=FailureClass.FATAL,
            problem=LOST_WORKER,
        )
        self._finish(RunStatus.FAILED)
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

    def _wait(self, message: str, *, delay_ms: int) -> None:
        self.not_before_ms = self.now_ms + delay_ms
        self._set(
            status=RunStatus.QUEUED,
            phase=Phase.WAITING,
            message=message,
            reason=None,
            epoch=self.record.epoch + 1,
            owner=None,
            lease_until_ms=0,
        )
        self._tell_queued()

    def _tell_queued(self) -> None:
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
