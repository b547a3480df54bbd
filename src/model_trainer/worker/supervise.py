"""The life all jobs share: claim, work, and exactly one end. Knows no kind of job."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import assert_never

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.events import Event, JobCancelled, JobCompleted, JobFailed
from model_trainer.core.contracts.run import Lease, Outcome, Problem, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason, reason_of
from model_trainer.core.logging import bind_context, get_logger, log_also_to
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.lease import Cancelled, HeldRun
from model_trainer.worker.outcomes import as_app_error, backoff_seconds, problem_of
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)

END_AGAIN_SECONDS = 0.5
"""Between two tries to record an end."""


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
        with bind_context(request_id=record.request_id), _tokenizer_context(record):
            _claimed(parts, record=record, lease=lease, job=job)


def _tokenizer_context(record: RunRecord) -> AbstractContextManager[None]:
    """The lines of a tokenizer's training are found by its id."""
    if record.kind is RunKind.TOKENIZER:
        return bind_context(tokenizer_id=record.run_id)
    return nullcontext()


def _claimed(parts: WorkerParts, *, record: RunRecord, lease: Lease, job: Job) -> None:
    with ExitStack() as run_log:
        try:
            folder = job.folder(record)
            run_log.enter_context(log_also_to(folder / "logs.jsonl", service="model-trainer-worker"))
        except (AppError, OSError) as error:
            known = as_app_error(error, fallback=job.fallback)
            log.error("job_has_no_folder", error_code=known.code.value, detail=known.message)
            _end_badly(parts, lease=lease, held=None, error=known, cause=error)
            return
        ended = _live(parts, record=record, lease=lease, folder=folder, job=job)
    if ended is not None and ended.status.is_terminal:
        job.ended(ended)


def _live(parts: WorkerParts, *, record: RunRecord, lease: Lease, folder: Path, job: Job) -> RunRecord | None:
    mirror = EventMirror(folder / "events.jsonl")
    held = HeldRun(
        store=parts.runs,
        lease=lease,
        user_id=record.user_id,
        heartbeat_seconds=parts.settings.app.heartbeat_seconds,
        mirror=mirror,
    )
    log.info("job_started", epoch=lease.epoch, attempt=record.attempt, family=record.family)
    ended = _end(parts, held=held, ending=_work(held, record, job))
    mirror.catch_up(parts.runs, record.run_id)
    return ended


class _Failure:
    """What went wrong, as one of ours and as it was raised."""

    def __init__(self, error: AppError, cause: Exception) -> None:
        self.error = error
        self.cause = cause


def _work(held: HeldRun, record: RunRecord, job: Job) -> JobResult | _Failure | None:
    """A result, a failure, or None: somebody asked for the end."""
    try:
        with held:
            return job.work(held, record)
    except Cancelled:
        return None
    except Exception as error:  # the supervisor boundary: every failure becomes the run's own end
        known = as_app_error(error, fallback=job.fallback)
        log.error(
            "job_failed",
            error_code=known.code.value,
            failure_class=known.failure_class.value,
            detail=known.message,
        )
        return _Failure(known, error)


def _end(parts: WorkerParts, *, held: HeldRun, ending: JobResult | _Failure | None) -> RunRecord | None:
    """The record as this lease left it; None when it could not be written, or is another owner's.

    The log's last line comes before the record's end: who follows the log stops at that.
    """
    outcome: Outcome
    event: Event
    match ending:
        case _Failure():
            return _end_badly(parts, lease=held.lease, held=held, error=ending.error, cause=ending.cause)
        case None:
            outcome, event = _cancellation(held)
            log.info("job_cancelled", step=held.current_step())
        case JobResult():
            outcome, event = _completion(held, ending)
            log.info("job_completed", detail=ending.message)
        case _:
            assert_never(ending)
    events = (*held.remaining_events(), event)
    return _recorded(held.lease, lambda: parts.runs.finish(held.lease, outcome, events))


def _end_badly(
    parts: WorkerParts, *, lease: Lease, held: HeldRun | None, error: AppError, cause: Exception
) -> RunRecord | None:
    """A passing fault goes back to the queue until its retries are used up; anything else ends the run.

    `held` is None for a run that never came so far as to have a log and events of its own.
    """
    if error.code is ErrorCode.LEASE_LOST:
        log.warning("job_left_to_new_owner", epoch=lease.epoch)
        return None
    problem = problem_of(error, cause)
    events = () if held is None else held.remaining_events()
    metrics = {} if held is None else held.latest_metrics()

    def end() -> RunRecord:
        now = parts.runs.get(lease.run_id)
        if error.failure_class is FailureClass.TRANSIENT and now.retries < parts.settings.rq.retry_max:
            return _handed_back(parts, lease=lease, events=events, problem=problem, retries=now.retries)
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
            problem=problem,
            metrics=metrics,
        )
        return parts.runs.finish(lease, outcome, (*events, failed))

    return _recorded(lease, end)


def _handed_back(
    parts: WorkerParts, *, lease: Lease, events: tuple[Event, ...], problem: Problem, retries: int
) -> RunRecord:
    delay = backoff_seconds(retries + 1, base=parts.settings.rq.retry_backoff_seconds, source=random.Random())
    message = f"{problem.message} Retry {retries + 1} of {parts.settings.rq.retry_max} in {delay:.0f} s."
    log.warning("job_retried", attempt=retries + 1, error_code=problem.code.value, duration_seconds=delay)
    parts.runs.release(lease, message=message, delay_seconds=delay, events=events, problem=problem)
    return parts.runs.get(lease.run_id)


def _recorded(lease: Lease, write: Callable[[], RunRecord]) -> RunRecord | None:
    """What `write` returns. A store that is away is tried again for as long as the lease lasts without renewal; after
    that, or when another owner has the run, the reaper decides."""
    give_up_at = time.monotonic() + lease.lease_seconds
    while True:
        try:
            return write()
        except AppError as error:
            if error.code is ErrorCode.LEASE_LOST or time.monotonic() + END_AGAIN_SECONDS >= give_up_at:
                log.error("job_end_not_recorded", error_code=error.code.value, detail=error.message)
                return None
        time.sleep(END_AGAIN_SECONDS)


def _completion(held: HeldRun, result: JobResult) -> tuple[Outcome, JobCompleted]:
    event = JobCompleted(
        job_id=held.run_id, user_id=held.user_id, message=result.message, metrics=result.metrics
    )
    outcome = Outcome(
        status=RunStatus.COMPLETED,
        message=result.message,
        result=result.result,
        metrics=held.latest_metrics() | result.metrics,
    )
    return outcome, event


def _cancellation(held: HeldRun) -> tuple[Outcome, JobCancelled]:
    event = JobCancelled(job_id=held.run_id, user_id=held.user_id, step=held.current_step())
    outcome = Outcome(
        status=RunStatus.CANCELLED,
        message="Cancelled on request.",
        reason=Reason.USER_CANCELLED,
        metrics=held.latest_metrics(),
    )
    return outcome, event
