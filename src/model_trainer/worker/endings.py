"""How a job's work ended, and the one end (or hand-back) of its run that follows."""

import random
from enum import StrEnum
from itertools import takewhile
from typing import assert_never

from model_trainer.core.contracts.events import Event, JobCancelled, JobCompleted, JobFailed
from model_trainer.core.contracts.run import HandBack, Lease, Outcome, Problem, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason, reason_of
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.logging import get_logger
from model_trainer.worker.job import JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import backoff_seconds, problem_of
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.recording import recorded

log = get_logger(__name__)


class Stop(StrEnum):
    """The work ended because it was asked to."""

    CANCELLED = "cancelled"
    PAUSED = "paused"
    HANDED_OVER = "handed_over"


class Failure:
    """What went wrong, as one of ours and as it was raised."""

    def __init__(self, error: AppError, cause: Exception) -> None:
        self.error = error
        self.cause = cause

    @property
    def problem(self) -> Problem:
        """For the record."""
        return problem_of(self.error, self.cause)

    def or_stop(self, held: HeldRun) -> "Failure | Stop":
        """A failure beside a wish that the work should end. Who asked for the end of the run gets it. A worker that is
        told to go often breaks its own work (its helpers hear the signal too), so its successor tries again; but a
        mistake in the request stays one, and a full disk stays full."""
        if self.error.code is ErrorCode.LEASE_LOST:
            return self
        if held.is_cancelled:
            return Stop.CANCELLED
        is_lasting = (
            self.error.failure_class is FailureClass.USER_INPUT or self.error.code is ErrorCode.DISK_FULL
        )
        return Stop.HANDED_OVER if held.must_hand_over and not is_lasting else self


def end(parts: WorkerParts, *, held: HeldRun, ending: JobResult | Failure | Stop) -> RunRecord | None:
    """The record as this lease left it; None when it could not be written, or is another owner's.

    The log's last line comes before the record's end: who follows the log stops at that.
    """
    match ending:
        case Failure():
            return end_badly(parts, lease=held.lease, held=held, failure=ending)
        case JobResult():
            log.info("job_completed", detail=ending.message)
            return _finished(parts, held.lease, *_completion(held, ending))
        case Stop.CANCELLED:
            log.info("job_cancelled", step=held.current_step())
            return _finished(parts, held.lease, *_cancellation(held))
        case Stop.PAUSED:
            log.info("job_paused", step=held.current_step())
            hand_back = HandBack(status=RunStatus.PAUSED, message=f"Paused on request{_at_step(held)}.")
        case Stop.HANDED_OVER:
            log.info("job_handed_over", step=held.current_step())
            hand_back = HandBack(message=f"The worker was stopped{_at_step(held)}; another one goes on.")
        case _:
            assert_never(ending)
    return _released(parts, held.lease, hand_back, held.remaining_events())


def end_badly(
    parts: WorkerParts, *, lease: Lease, held: HeldRun | None, failure: Failure
) -> RunRecord | None:
    """A full disk makes the run stand still until there is space; another passing fault goes back to the queue until its
    retries are used up; anything else ends the run.

    `held` is None for a run that never came so far as to have a log and events of its own.
    """
    error = failure.error
    if error.code is ErrorCode.LEASE_LOST:
        log.warning("job_left_to_new_owner", epoch=lease.epoch)
        return None
    now = recorded(lease, lambda: parts.runs.get(lease.run_id))
    if now is None:
        return None
    events = () if held is None else held.remaining_events()
    if error.code is ErrorCode.DISK_FULL:
        return _released(parts, lease, _waiting_for_space(parts, failure, now), events)
    if error.failure_class is FailureClass.TRANSIENT and now.retries < parts.settings.rq.retry_max:
        return _released(parts, lease, _another_try(parts, failure, retries=now.retries), events)
    failed = JobFailed(
        job_id=lease.run_id,
        user_id=now.user_id,
        error_code=error.code,
        message=error.message,
        reason=reason_of(error.code),
        failure_class=error.failure_class,
    )
    outcome = Outcome(
        status=RunStatus.FAILED,
        message=error.message,
        reason=reason_of(error.code),
        problem=failure.problem,
        metrics={} if held is None else held.latest_metrics(),
    )
    return _finished(parts, lease, outcome, (*events, failed))


def _waiting_for_space(parts: WorkerParts, failure: Failure, now: RunRecord) -> HandBack:
    """No retry is used up: the maintenance process looks for space before it tries again. It looks at the disk of the
    artifacts; where another one is full, trying is the only way to know, with more and more time in between."""
    ended_so = (
        each.problem is not None and each.problem.code is ErrorCode.DISK_FULL
        for each in reversed(now.attempts[:-1])
    )
    times = 1 + sum(1 for _ in takewhile(bool, ended_so))
    delay = backoff_seconds(times, base=parts.settings.rq.retry_backoff_seconds, source=random.Random())
    log.warning("job_waits_for_disk_space", error_code=failure.error.code.value, duration_seconds=delay)
    return HandBack(
        status=RunStatus.PAUSED,
        message=f"{failure.problem.message} The run goes on by itself when there is space again.",
        reason=Reason.DISK_FULL,
        problem=failure.problem,
        delay_seconds=delay,
    )


def _another_try(parts: WorkerParts, failure: Failure, *, retries: int) -> HandBack:
    settings, problem = parts.settings.rq, failure.problem
    delay = backoff_seconds(retries + 1, base=settings.retry_backoff_seconds, source=random.Random())
    log.warning("job_retried", attempt=retries + 1, error_code=problem.code.value, duration_seconds=delay)
    return HandBack(
        message=f"{problem.message} Retry {retries + 1} of {settings.retry_max} in {delay:.0f} s.",
        problem=problem,
        delay_seconds=delay,
        is_retry=True,
    )


def _completion(held: HeldRun, result: JobResult) -> tuple[Outcome, tuple[Event, ...]]:
    event = JobCompleted(
        job_id=held.run_id, user_id=held.user_id, message=result.message, metrics=result.metrics
    )
    outcome = Outcome(
        status=RunStatus.COMPLETED,
        message=result.message,
        result=result.result,
        metrics=held.latest_metrics() | result.metrics,
    )
    return outcome, (*held.remaining_events(), event)


def _cancellation(held: HeldRun) -> tuple[Outcome, tuple[Event, ...]]:
    event = JobCancelled(job_id=held.run_id, user_id=held.user_id, step=held.current_step())
    outcome = Outcome(
        status=RunStatus.CANCELLED,
        message="Cancelled on request.",
        reason=Reason.USER_CANCELLED,
        metrics=held.latest_metrics(),
    )
    return outcome, (*held.remaining_events(), event)


def _finished(
    parts: WorkerParts, lease: Lease, outcome: Outcome, events: tuple[Event, ...]
) -> RunRecord | None:
    parts.reached(Failpoint.FINISH_BEGUN)
    record = recorded(lease, lambda: parts.runs.finish(lease, outcome, events))
    if record is not None:
        parts.reached(Failpoint.FINISH_WRITTEN)
    return record


def _released(
    parts: WorkerParts, lease: Lease, hand_back: HandBack, events: tuple[Event, ...]
) -> RunRecord | None:
    parts.reached(Failpoint.RELEASE_BEGUN)
    return recorded(lease, lambda: parts.runs.release(lease, hand_back, events))


def _at_step(held: HeldRun) -> str:
    step = held.current_step()
    return f" at step {step}" if step > 0 else ""
