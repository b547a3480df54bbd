"""Rules of a run's life that every store shares: what an outcome means, when a lost run is given up."""

from model_trainer.core.contracts.events import Event, JobPaused, JobResumed
from model_trainer.core.contracts.run import Lease, Outcome, Problem, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason, failure_class_of, reason_of

MAX_CRASHES = 3
"""Workers lost in a row without the run having come further; then the fault is taken to be the run's own."""
NEW_MESSAGE = "Waiting for a worker."
STARTED = "A worker started."
CANCELLED = "Cancelled on request."
RESCUED = "The worker was lost; waiting for another one."
GIVEN_UP = (
    f"{MAX_CRASHES} workers were lost on this run without progress. See its log for the last thing it did."
)
LOST_WORKER = Problem(
    code=ErrorCode.WORKER_LOST, message="The worker stopped reporting and its lease ran out."
)


def standing_after(events: tuple[Event, ...]) -> tuple[RunStatus | None, Reason | None]:
    """The status that pausing and resuming events ask for; None when they ask for none."""
    for event in reversed(events):
        match event:
            case JobPaused(reason=reason):
                return RunStatus.PAUSED, reason
            case JobResumed():
                return RunStatus.RUNNING, None
            case _:
                continue
    return None, None


def reason_of_outcome(outcome: Outcome) -> Reason | None:
    """The closed reason that a bad end shows."""
    if outcome.status is RunStatus.COMPLETED:
        return None
    if outcome.reason is not None:
        return outcome.reason
    if outcome.status is RunStatus.CANCELLED:
        return Reason.USER_CANCELLED
    return Reason.INTERNAL_ERROR if outcome.problem is None else reason_of(outcome.problem.code)


def failure_class_of_outcome(outcome: Outcome) -> FailureClass | None:
    """Who can mend a failure; nothing for other ends."""
    if outcome.status is not RunStatus.FAILED:
        return None
    return FailureClass.FATAL if outcome.problem is None else failure_class_of(outcome.problem.code)


def lease_lost(lease: Lease) -> AppError:
    """What a stale owner hears."""
    message = "Another worker owns this run now, or it has ended. Nothing was written; stop working on it."
    return AppError(ErrorCode.LEASE_LOST, message, facts={"run_id": lease.run_id, "epoch": lease.epoch})


def run_not_found(run_id: str) -> AppError:
    """What anyone hears who asks for a run that is not there."""
    return AppError(ErrorCode.RUN_NOT_FOUND, f"There is no run {run_id}. GET /runs lists those there are.")


def run_has_ended(status: str) -> AppError:
    """What anyone hears who wants to cancel a run that has ended otherwise."""
    return AppError(ErrorCode.CONFLICT, f"This run has {status} already, so it cannot be cancelled.")


def key_reused() -> AppError:
    """What a caller hears who uses one idempotency key for two requests."""
    message = "This Idempotency-Key came with another body before. Use a new key for a new request."
    return AppError(ErrorCode.IDEMPOTENCY_KEY_REUSED, message)
