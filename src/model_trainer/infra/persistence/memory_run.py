"""One run in memory: the same transitions as the scripts, one method for each. Not for sharing between threads."""

from model_trainer.core.contracts.events import Event, JobStarted, StoredEvent
from model_trainer.core.contracts.run import (
    Attempt,
    Flags,
    HandBack,
    Lease,
    NewRun,
    Outcome,
    Phase,
    ResumeOrder,
    RunKind,
    RunRecord,
    RunStatus,
    RunUpdate,
)
from model_trainer.core.errors import Reason
from model_trainer.infra.persistence.ends import (
    LOST_WORKER,
    MAX_CRASHES,
    PAUSING,
    RESCUED,
    RESUMED,
    RESUMED_BY_ITSELF,
    STARTED,
    artifact_has_moved,
    cannot_resume,
    failure_class_of_outcome,
    lease_ms_left,
    owner_is_stale,
    reason_of_outcome,
    run_goes_on,
    run_has_ended,
    without_gaps,
)
from model_trainer.infra.persistence.memory_record import MemoryRecord, record_of_new


class MemoryRun:
    """A run and all that may happen to it."""

    def __init__(self, run: MemoryRecord) -> None:
        self.run = run

    @classmethod
    def submitted(cls, new: NewRun, *, now_ms: int) -> "MemoryRun":
        """As submit.lua."""
        run = MemoryRecord(record_of_new(new, now_ms=now_ms), (), now_ms=now_ms)
        run.not_before_ms = now_ms
        run.tell_queued()
        return cls(run)

    @classmethod
    def restored(cls, record: RunRecord, events: tuple[StoredEvent, ...], *, now_ms: int) -> "MemoryRun":
        """As restore.lua."""
        told = without_gaps(events)
        run = MemoryRecord(record, told, now_ms=now_ms)
        run.set(last_event_seq=len(told), updated_at_ms=record.updated_at_ms)
        if run.is_active:
            run.set(
                lease_until_ms=now_ms + lease_ms_left(record),
                updated_at_ms=record.updated_at_ms,
            )
        if record.status is RunStatus.QUEUED and not told:
            run.tell_queued()
            run.set(updated_at_ms=record.updated_at_ms)
        return cls(run)

    @property
    def record(self) -> RunRecord:
        """All facts, as they stand."""
        return self.run.record

    def claim(self, *, epoch: int, owner: str, host: str | None, lease_seconds: float) -> Lease | None:
        """As claim.lua."""
        run = self.run
        if self.record.status is not RunStatus.QUEUED or self.record.epoch != epoch:
            return None
        if run.cancel_wanted:
            run.finish_cancelled()
            return None
        if self.record.pause_requested:
            run.stand_still()
            return None
        if run.not_before_ms > run.now_ms:
            return None
        lease = Lease(run_id=self.record.run_id, epoch=epoch + 1, owner=owner, lease_seconds=lease_seconds)
        attempt = Attempt(epoch=lease.epoch, owner=owner, started_at_ms=run.now_ms)
        run.set(
            status=RunStatus.RUNNING,
            phase=Phase.STARTING,
            message=STARTED,
            reason=None,
            failure_class=None,
            problem=None,
            epoch=lease.epoch,
            owner=owner,
            host=host,
            attempt=self.record.attempt + 1,
            attempts=(*self.record.attempts, attempt),
            started_at_ms=run.now_ms if self.record.started_at_ms is None else self.record.started_at_ms,
        )
        run.hold(lease)
        run.tell(
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
        self.run.check_owner(lease)
        return Flags(cancel=self.run.cancel_wanted, pause=self.record.pause_requested)

    def heartbeat(self, lease: Lease, update: RunUpdate, events: tuple[Event, ...]) -> Flags:
        """As heartbeat.lua."""
        run = self.run
        run.check_owner(lease)
        run.hold(lease)
        changes: dict[str, object] = {
            "phase": update.phase,
            "message": update.message,
            "progress": update.progress,
            "metrics": update.metrics,
            "checkpoint": update.checkpoint,
        }
        run.set(**{name: value for name, value in changes.items() if value is not None})
        run.set(heartbeat_at_ms=run.now_ms - update.quiet_ms)
        if run.mark > run.retry_mark:
            run.set(retries=0)
        if run.cancel_wanted:
            run.set(status=RunStatus.CANCELLING, cancel_requested=True)
        for event in events:
            run.tell(event)
        return self.flags(lease)

    def finish(self, lease: Lease, outcome: Outcome, events: tuple[Event, ...]) -> None:
        """As finish.lua."""
        run = self.run
        run.check_owner(lease)
        run.set(
            message=outcome.message,
            result=outcome.result,
            metrics=outcome.metrics or self.record.metrics,
            problem=outcome.problem,
            reason=reason_of_outcome(outcome),
            failure_class=failure_class_of_outcome(outcome),
        )
        run.end_attempt(outcome.problem)
        run.finish(outcome.status)
        for event in events:
            run.tell(event)

    def release(self, lease: Lease, hand_back: HandBack, events: tuple[Event, ...]) -> None:
        """As release.lua."""
        run = self.run
        run.check_owner(lease)
        for event in events:
            run.tell(event)
        run.end_attempt(hand_back.problem)
        if run.cancel_wanted:
            run.finish_cancelled()
            return
        if hand_back.is_retry:
            run.set(retries=self.record.retries + 1)
            run.retry_mark = max(run.mark, run.retry_mark)
        delay_ms = round(hand_back.delay_seconds * 1000)
        if hand_back.status is RunStatus.PAUSED:
            run.stand_still(hand_back.message, reason=hand_back.reason, delay_ms=delay_ms)
        elif self.record.pause_requested:
            run.stand_still()
        else:
            run.queue(hand_back.message, delay_ms=delay_ms)
            run.tell_queued()

    def request_cancel(self) -> None:
        """As request_cancel.lua."""
        status = self.record.status
        if status in (RunStatus.COMPLETED, RunStatus.FAILED):
            raise run_has_ended(status.value)
        if status in (RunStatus.QUEUED, RunStatus.PAUSED):
            self.run.finish_cancelled()
        elif status is not RunStatus.CANCELLED:
            self.run.set(status=RunStatus.CANCELLING, cancel_requested=True)

    def request_pause(self) -> bool:
        """As request_pause.lua; False when it is refused."""
        status = self.record.status
        may_pause = status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)
        if self.record.kind is not RunKind.TRAIN or not may_pause:
            return False
        if self.record.pause_requested:
            return True
        if status is RunStatus.QUEUED and self.run.cancel_wanted:
            self.run.finish_cancelled()
            return False
        self.run.set(pause_requested=True)
        if status is RunStatus.QUEUED:
            self.run.stand_still()
        elif status is RunStatus.RUNNING:
            self.run.set(message=PAUSING)
        return True

    def resume(self, *, step: int | None) -> None:
        """As resume.lua."""
        if self.record.status not in (RunStatus.PAUSED, RunStatus.FAILED, RunStatus.CANCELLED):
            raise cannot_resume(self.record)
        run = self.run
        run.flag = ""
        run.crashes, run.crash_mark, run.retry_mark = 0, -1, 0
        run.set(
            failure_class=None,
            problem=None,
            finished_at_ms=None,
            cancel_requested=False,
            pause_requested=False,
            retries=0,
        )
        run.queue(RESUMED)
        run.set(resume_order=None if step is None else ResumeOrder(epoch=self.record.epoch, step=step))
        run.tell_queued()

    def resume_when_due(self) -> bool:
        """As resume_when_due.lua."""
        run = self.run
        waits_for_space = self.record.status is RunStatus.PAUSED and self.record.reason is Reason.DISK_FULL
        if not waits_for_space or run.not_before_ms > run.now_ms:
            return False
        if run.cancel_wanted or self.record.pause_requested:
            return False
        run.queue(RESUMED_BY_ITSELF)
        run.tell_queued()
        return True

    def point_at_artifact(self, *, file_id: str, epoch: int | None, instead_of: str | None) -> None:
        """As point_at_artifact.lua."""
        run_id = self.record.run_id
        if epoch is None and not self.record.status.is_terminal:
            raise run_goes_on(run_id)
        if epoch is not None and not (self.run.is_active and self.record.epoch == epoch):
            raise owner_is_stale(run_id, epoch=epoch)
        if instead_of is not None and self.record.artifact_file_id not in (instead_of, file_id):
            raise artifact_has_moved(run_id)
        self.run.set(artifact_file_id=file_id)

    def reap(self, *, lost_epoch: int | None) -> bool:
        """As reap.lua; whether there was something to do."""
        run = self.run
        is_due = self.record.status is RunStatus.QUEUED and run.not_before_ms <= run.now_ms
        if (is_due or self.record.status is RunStatus.PAUSED) and run.cancel_wanted:
            run.finish_cancelled()
            return True
        if is_due and self.record.pause_requested:
            run.stand_still()
            return True
        is_lost = self.record.epoch == lost_epoch or self.record.lease_until_ms <= run.now_ms
        if not run.is_active or not is_lost:
            return False
        run.end_attempt(LOST_WORKER)
        if run.cancel_wanted:
            run.finish_cancelled()
            return True
        run.crashes = run.crashes + 1 if run.mark <= run.crash_mark else 1
        run.crash_mark = max(run.mark, run.crash_mark)
        if run.crashes >= MAX_CRASHES:
            run.give_up()
        elif self.record.pause_requested:
            run.stand_still()
        else:
            run.queue(RESCUED)
            run.tell_queued()
        return True
