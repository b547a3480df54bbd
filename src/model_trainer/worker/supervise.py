"""The life all jobs share: lock, claim, work, and exactly one end. Knows no kind of job."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from model_trainer.core.contracts.run import Lease, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, AskedToStop, ErrorCode
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.kept_record import keep_record
from model_trainer.core.logging import bind_context, get_logger, log_also_to
from model_trainer.worker.bringing_back import brought_back, items_needed
from model_trainer.worker.claiming import claim_run
from model_trainer.worker.endings import Failure, Stop, end, end_badly
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import Cancelled, HeldRun, Paused
from model_trainer.worker.leftovers import sweep
from model_trainer.worker.outcomes import as_app_error
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.recording import accounted, recorded
from model_trainer.worker.releasing import release_handed_in
from model_trainer.worker.stopping import StopSignal

__all__ = ["Job", "JobResult", "supervise"]

log = get_logger(__name__)


def supervise(parts: WorkerParts, *, run_id: str, epoch: int, job: Job) -> None:
    """Locks and claims the run and brings it to exactly one end; does nothing when there is nothing to do.

    Nothing a job raises leaves here but what is not an Exception: the end of the run tells of it. A stop is heard from
    before the claim on, so that no claimed run is left behind by it.
    """
    with bind_context(run_id=run_id, category="job"), StopSignal() as stop, ExitStack() as locked:
        parts.reached(Failpoint.CLAIM_BEGUN)
        try:
            lock = parts.locks.take(run_id, epoch=epoch)
        except (AppError, OSError) as error:
            _end_without_lock(parts, run_id=run_id, epoch=epoch, job=job, error=error)
            return
        if lock is None:
            log.warning("job_is_at_work_already", epoch=epoch)
            return
        locked.callback(lock.release)
        parts.reached(Failpoint.CLAIM_LOCKED)
        if stop.was_asked:
            log.info("job_not_begun", epoch=epoch)
            return
        lease = claim_run(parts, run_id=run_id, epoch=epoch, host=parts.locks.host)
        if lease is None:
            log.info("job_has_nothing_to_do", epoch=epoch)
            return
        parts.reached(Failpoint.CLAIM_GRANTED)
        record = recorded(lease, lambda: parts.runs.get(run_id))
        if record is None:
            return
        keep_record(parts.artifacts, record)
        parts.reached(Failpoint.CLAIM_KEPT)
        with bind_context(request_id=record.request_id), _tokenizer_context(record):
            _claimed(parts, record=record, lease=lease, job=job, stop=stop)


def _end_without_lock(
    parts: WorkerParts, *, run_id: str, epoch: int, job: Job, error: AppError | OSError
) -> None:
    """A lock that cannot be had, for a full disk say, is a fault of the run's as any other: claimed, told, and no work.

    Claimed for no host: by its lock, this owner would count as dead.
    """
    known = as_app_error(error, fallback=job.fallback)
    log.error("run_not_locked", error_code=known.code.value, detail=str(error))
    lease = claim_run(parts, run_id=run_id, epoch=epoch, host=None)
    if lease is not None:
        _keep_ended(parts, end_badly(parts, lease=lease, held=None, failure=Failure(known, error)))


def _tokenizer_context(record: RunRecord) -> AbstractContextManager[None]:
    """The lines of a tokenizer's training are found by its id."""
    if record.kind is RunKind.TOKENIZER:
        return bind_context(tokenizer_id=record.run_id)
    return nullcontext()


def _claimed(parts: WorkerParts, *, record: RunRecord, lease: Lease, job: Job, stop: StopSignal) -> None:
    with ExitStack() as used:
        with ExitStack() as run_log:
            early = _held(parts, record=record, lease=lease, mirror=None)
            stop.on_request(early.hand_over)
            try:
                with early:
                    used.enter_context(brought_back(parts, early, items_needed(parts, record)))
                    folder = used.enter_context(job.folder(record))
                run_log.enter_context(log_also_to(folder / "logs.jsonl", service="model-trainer-worker"))
                parts.reached(Failpoint.CLAIM_FOLDER_MADE)
                sweep(folder)
                _release_handed_in(parts, record, folder)
            except AskedToStop as asked:
                _keep_ended(parts, end(parts, held=early, ending=_stop(asked)))
                return
            except (AppError, OSError) as error:
                known = as_app_error(error, fallback=job.fallback)
                log.error("job_has_no_folder", error_code=known.code.value, detail=known.message)
                _keep_ended(parts, end_badly(parts, lease=lease, held=None, failure=Failure(known, error)))
                return
            ended = _live(parts, record=record, lease=lease, folder=folder, job=job, stop=stop)
        _keep_ended(parts, ended)
        if ended is not None and ended.status.is_terminal:
            job.ended(ended)
            # The last events once more: where the store was away for them a moment ago, the maintenance process follows.
            if EventMirror(folder / "events.jsonl").catch_up(parts.runs, ended.run_id):
                accounted(parts.runs, ended.run_id)


def _live(
    parts: WorkerParts, *, record: RunRecord, lease: Lease, folder: Path, job: Job, stop: StopSignal
) -> RunRecord | None:
    mirror = EventMirror(folder / "events.jsonl")
    held = _held(parts, record=record, lease=lease, mirror=mirror)
    stop.on_request(held.hand_over)
    _tell_of_lost_attempt(record)
    log.info("job_started", epoch=lease.epoch, attempt=record.attempt, family=record.family)
    ended = end(parts, held=held, ending=_work(parts, held, record, job))
    if ended is not None and ended.status is not RunStatus.QUEUED:  # the file is the next owner's otherwise
        mirror.catch_up(parts.runs, record.run_id)
    return ended


def _held(parts: WorkerParts, *, record: RunRecord, lease: Lease, mirror: EventMirror | None) -> HeldRun:
    return HeldRun(
        store=parts.runs,
        lease=lease,
        user_id=record.user_id,
        heartbeat_seconds=parts.settings.app.heartbeat_seconds,
        mirror=mirror,
    )


def _release_handed_in(parts: WorkerParts, record: RunRecord, folder: Path) -> None:
    """An earlier worker may have been lost while it stored what is made anew now."""
    try:
        release_handed_in(parts.references, record, folder)
    except AppError as error:  # what cannot be taken back now stays needed
        log.warning("references_not_released", error_code=error.code.value, detail=error.message)


def _tell_of_lost_attempt(record: RunRecord) -> None:
    """A worker that was lost could not write into the run's log how its attempt ended: its successor does."""
    problem = record.attempts[-2].problem if len(record.attempts) > 1 else None
    if problem is not None and problem.code is ErrorCode.WORKER_LOST:
        log.warning(
            "attempt_lost",
            attempt=record.attempt - 1,
            error_code=problem.code.value,
            detail=problem.message,
        )


def _work(parts: WorkerParts, held: HeldRun, record: RunRecord, job: Job) -> JobResult | Failure | Stop:
    try:
        with held:
            result = job.work(held, record)
            parts.reached(Failpoint.FINISH_WORK_DONE)
            return result
    except AskedToStop as asked:
        return _stop(asked)
    except Exception as error:  # the supervisor boundary: every failure becomes the run's own end
        known = as_app_error(error, fallback=job.fallback)
        log.error(
            "job_failed",
            error_code=known.code.value,
            failure_class=known.failure_class.value,
            detail=known.message,
        )
        return Failure(known, error).or_stop(held)


def _stop(asked: AskedToStop) -> Stop:
    match asked:
        case Cancelled():
            return Stop.CANCELLED
        case Paused():
            return Stop.PAUSED
        case _:
            return Stop.HANDED_OVER


def _keep_ended(parts: WorkerParts, ended: RunRecord | None) -> None:
    if ended is None:
        return
    keep_record(parts.artifacts, ended)
    if ended.status.is_terminal:
        parts.reached(Failpoint.FINISH_KEPT)
