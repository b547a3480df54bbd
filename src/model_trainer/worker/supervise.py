"""The life all jobs share: claim, work, and exactly one end. Knows no kind of job."""

import random
from collections.abc import Callable
from pathlib import Path

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import Event, JobCancelled, JobCompleted, JobFailed
from model_trainer.core.contracts.run import Lease, Outcome, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason, reason_of
from model_trainer.core.logging import LogFields, bind_context, get_logger, log_also_to
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import Cancelled, HeldRun
from model_trainer.worker.outcomes import as_app_error, backoff_seconds, problem_of
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)


class JobResult:
    """What a job leaves: a sentence, the latest metrics, and the record's result."""

    def __init__(self, *, message: str, metrics: dict[str, float], result: JsonObject) -> None:
        self.message = message
        self.metrics = metrics
        self.result = result


class Job:
    """One job kind, seen from here."""

    def __init__(
        self,
        *,
        work: Callable[[HeldRun, RunRecord], JobResult],
        folder: Callable[[RunRecord], Path],
        ended: Callable[[RunRecord], None],
        fallback: ErrorCode,
    ) -> None:
        self.work = work
        self.folder = folder
        self.ended = ended
        self.fallback = fallback


def supervise(parts: WorkerParts, *, run_id: str, epoch: int, job: Job) -> None:
    """Claims the run and brings it to exactly one end; does nothing when there is nothing to do.

    Nothing a job raises leaves here but what is not an Exception: the end of the run tells of it.
    """
    with bind_context(run_id=run_id, category="job"):
        lease = parts.runs.claim(
            run_id, epoch=epoch, owner=parts.worker_id, lease_seconds=parts.settings.app.lease_seconds
        )
        if lease is None:
            log.info("job_has_nothing_to_do", epoch=epoch)
            return
        record = parts.runs.get(run_id)
        with bind_context(**_log_fields(record)):
            _claimed(parts, record=record, lease=lease, job=job)


def _log_fields(record: RunRecord) -> LogFields:
    """What finds the lines of a run: the request that made it, and the tokenizer it makes."""
    fields: LogFields = {"request_id": record.request_id}
    if record.kind is RunKind.TOKENIZER:
        fields["tokenizer_id"] = record.run_id
    return fields


def _claimed(parts: WorkerParts, *, record: RunRecord, lease: Lease, job: Job) -> None:
    try:
        folder = job.folder(record)
    except (AppError, OSError) as error:
        _fail_without_folder(parts, record=record, lease=lease, error=error, fallback=job.fallback)
        return
    with log_also_to(folder / "logs.jsonl", service="model-trainer-worker"):
        _live(parts, record=record, lease=lease, folder=folder, job=job)
    job.ended(parts.runs.get(record.run_id))


def _live(parts: WorkerParts, *, record: RunRecord, lease: Lease, folder: Path, job: Job) -> None:
    mirror = EventMirror(folder / "events.jsonl")
    held = HeldRun(
        store=parts.runs,
        lease=lease,
        user_id=record.user_id,
        heartbeat_seconds=parts.settings.app.heartbeat_seconds,
        mirror=mirror,
    )
    log.info("job_started", epoch=lease.epoch, attempt=record.attempt, family=record.family)
    _end(parts, held=held, record=record, ending=_work(held, record, job))
    mirror.catch_up(parts.runs, record.run_id)


class _Ending:
    """How the work came out: a result, a wish to cancel, or an error."""

    def __init__(
        self,
        *,
        result: JobResult | None = None,
        error: AppError | None = None,
        cause: Exception | None = None,
    ) -> None:
        self.result = result
        self.error = error
        self.cause = cause


def _work(held: HeldRun, record: RunRecord, job: Job) -> _Ending:
    try:
        with held:
            return _Ending(result=job.work(held, record))
    except Cancelled:
        return _Ending()
    except Exception as error:  # the supervisor boundary: every failure becomes the run's own end
        known = as_app_error(error, fallback=job.fallback)
        log.error(
            "job_failed",
            error_code=known.code.value,
            failure_class=known.failure_class.value,
            detail=known.message,
        )
        return _Ending(error=known, cause=error)


def _end(parts: WorkerParts, *, held: HeldRun, record: RunRecord, ending: _Ending) -> None:
    """The log's last line comes before the record's end: who follows the log stops at that."""
    try:
        if ending.result is not None:
            _complete(parts, held, ending.result)
        elif ending.error is None or ending.cause is None:
            _cancel(parts, held)
        elif ending.error.code is ErrorCode.LEASE_LOST:
            log.warning("job_left_to_new_owner", epoch=held.lease.epoch)
        elif (
            ending.error.failure_class is FailureClass.TRANSIENT
            and record.attempt <= parts.settings.rq.retry_max
        ):
            _retry(parts, held, record, ending.error)
        else:
            _fail(parts, held, ending.error, ending.cause)
    except AppError as error:
        # The store is away or another owner has the run: the record's lease will run out and the reaper decides.
        log.error("job_end_not_recorded", error_code=error.code.value, detail=error.message)


def _complete(parts: WorkerParts, held: HeldRun, result: JobResult) -> None:
    event = JobCompleted(
        job_id=held.run_id, user_id=held.user_id, message=result.message, metrics=result.metrics
    )
    outcome = Outcome(
        status=RunStatus.COMPLETED,
        message=result.message,
        result=result.result,
        metrics=held.latest_metrics() | result.metrics,
    )
    log.info("job_completed", detail=result.message)
    parts.runs.finish(held.lease, outcome, _events(held, event))


def _cancel(parts: WorkerParts, held: HeldRun) -> None:
    event = JobCancelled(job_id=held.run_id, user_id=held.user_id, step=held.current_step())
    outcome = Outcome(
        status=RunStatus.CANCELLED,
        message="Cancelled on request.",
        reason=Reason.USER_CANCELLED,
        metrics=held.latest_metrics(),
    )
    log.info("job_cancelled", step=held.current_step())
    parts.runs.finish(held.lease, outcome, _events(held, event))


def _retry(parts: WorkerParts, held: HeldRun, record: RunRecord, error: AppError) -> None:
    delay = backoff_seconds(
        record.attempt, base=parts.settings.rq.retry_backoff_seconds, source=random.Random()
    )
    message = f"Attempt {record.attempt} failed ({error.code.value}); the next follows in {delay:.0f} s."
    log.warning("job_retried", attempt=record.attempt, error_code=error.code.value, duration_seconds=delay)
    parts.runs.release(held.lease, message=message, delay_seconds=delay)


def _fail(parts: WorkerParts, held: HeldRun, error: AppError, cause: Exception) -> None:
    outcome, event = _failure(
        held.run_id, held.user_id, error=error, cause=cause, metrics=held.latest_metrics()
    )
    parts.runs.finish(held.lease, outcome, _events(held, event))


def _fail_without_folder(
    parts: WorkerParts, *, record: RunRecord, lease: Lease, error: Exception, fallback: ErrorCode
) -> None:
    """A run that has no place to work in: there is no log of its own to write to, and nothing to account for."""
    known = as_app_error(error, fallback=fallback)
    log.error("job_has_no_folder", error_code=known.code.value, detail=known.message)
    outcome, event = _failure(record.run_id, record.user_id, error=known, cause=error, metrics={})
    parts.runs.finish(lease, outcome, (event,))


def _failure(
    run_id: str, user_id: str | None, *, error: AppError, cause: Exception, metrics: dict[str, float]
) -> tuple[Outcome, JobFailed]:
    event = JobFailed(
        job_id=run_id,
        user_id=user_id,
        error_code=error.code,
        message=error.message,
        reason=reason_of(error.code),
        failure_class=error.failure_class,
    )
    outcome = Outcome(
        status=RunStatus.FAILED,
        message=error.message,
        reason=reason_of(error.code),
        problem=problem_of(error, cause),
        metrics=metrics,
    )
    return outcome, event


def _events(held: HeldRun, last: Event) -> tuple[Event, ...]:
    return (*held.remaining_events(), last)
