"""Rules of a run's life that every store shares: what an outcome means, when a lost run is given up, who is refused."""

from model_trainer.core.contracts.events import StoredEvent
from model_trainer.core.contracts.run import Lease, Outcome, Problem, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, Reason, failure_class_of, reason_of

MAX_CRASHES = 3
"""Workers lost in a row without the run having come further; then the fault is taken to be the run's own."""
NEW_MESSAGE = "Waiting for a worker."
STARTED = "A worker started."
CANCELLED = "Cancelled on request."
PAUSED = "Paused on request."
PAUSING = "Pausing at the next step, as asked for."
RESUMED = "Resumed; waiting for a worker."
RESUMED_BY_ITSELF = "There is space on the disk again; waiting for a worker."
RESCUED = "The worker was lost; waiting for another one."
GIVEN_UP = (
    f"{MAX_CRASHES} workers were lost on this run without progress. See its log for the last thing it did."
)
LOST_WORKER = Problem(
    code=ErrorCode.WORKER_LOST, message="The worker died, or stopped reporting until its lease ran out."
)


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
    return owner_is_stale(lease.run_id, epoch=lease.epoch)


def store_lost(lease: Lease) -> AppError:
    """What an owner hears whose run the store does not know: nobody else has it, so it goes on."""
    message = (
        "The store does not know this run: it has lost its data. Bring it back with `model-trainer rebuild`; "
        "the worker goes on meanwhile."
    )
    return AppError(
        ErrorCode.STORE_UNAVAILABLE, message, facts={"run_id": lease.run_id, "epoch": lease.epoch}
    )


def run_not_found(run_id: str) -> AppError:
    """What anyone hears who asks for a run that is not there."""
    return AppError(ErrorCode.RUN_NOT_FOUND, f"There is no run {run_id}. GET /runs lists those there are.")


def run_has_ended(status: str) -> AppError:
    """What anyone hears who wants to cancel a run that has ended otherwise."""
    return AppError(ErrorCode.CONFLICT, f"This run has {status} already, so it cannot be cancelled.")


def run_goes_on(run_id: str) -> AppError:
    """What anyone hears who wants to do with a run what only its end allows."""
    message = f"Run {run_id} has not ended. Cancel it, or wait for its end."
    return AppError(ErrorCode.CONFLICT, message)


def artifact_has_moved(run_id: str) -> AppError:
    """What anyone hears who moves a run's artifact on from where it is not any more."""
    message = f"The artifact of run {run_id} has been stored anew by somebody else. Take over what they have, and try again."
    return AppError(ErrorCode.CONFLICT, message)


def owner_is_stale(run_id: str, *, epoch: int) -> AppError:
    """What a stale owner hears."""
    message = "Another worker owns this run now, or it has ended. Nothing was written; stop working on it."
    return AppError(ErrorCode.LEASE_LOST, message, facts={"run_id": run_id, "epoch": epoch})


def being_removed(thing: str) -> AppError:
    """What a run hears that needs what is on its way out."""
    kind, _, name = thing.partition(":")
    message = f"The {kind} {name} is being removed. Name another one, or bring it back when it is gone."
    return AppError(ErrorCode.CONFLICT, message)


def removal_goes_on(thing: str) -> AppError:
    """What a second one hears who wants to remove a thing."""
    kind, _, name = thing.partition(":")
    message = f"The {kind} {name} is being removed by somebody else already. Look again in a few minutes."
    return AppError(ErrorCode.CONFLICT, message)


def list_not_held(holder: str) -> AppError:
    """What a follower of the feed hears who does not hold the watch list, or no more."""
    message = (
        "Another Discord bot holds the watch list, or this one was silent too long. Nothing was written."
    )
    return AppError(ErrorCode.LEASE_LOST, message, facts={"holder": holder})


def cannot_pause(record: RunRecord) -> AppError:
    """What anyone hears who wants to pause what cannot stand still."""
    if record.kind is not RunKind.TRAIN:
        names = {
            RunKind.TOKENIZER: "a tokenizer's training",
            RunKind.EVALUATE: "an evaluation",
            RunKind.CALIBRATE: "a calibration",
            RunKind.EXPORT: "an export",
        }
        message = (
            f"Only a model's training can be paused; this run is {names[record.kind]}. Cancel it instead."
        )
    elif record.status is RunStatus.CANCELLING:
        message = (
            "This run is being cancelled, so it cannot be paused. Once it is cancelled it can be resumed."
        )
    else:
        message = f"This run is {record.status.value} already, so it cannot be paused."
    return AppError(ErrorCode.CONFLICT, message)


def cannot_resume(record: RunRecord) -> AppError:
    """What anyone hears who wants to resume a run that does not stand still, with the way out."""
    match record.status:
        case RunStatus.COMPLETED:
            way = "start a new training with init_from to go on from its weights"
            message = f"This run is completed; {way if record.kind is RunKind.TRAIN else 'start a new one'}."
        case RunStatus.CANCELLING:
            message = "This run is being cancelled; resume it when its status is cancelled."
        case RunStatus.QUEUED:
            message = "This run is queued; it starts as soon as a worker is free."
        case _ if record.pause_requested:
            message = "This run is still running; resume it when its status is paused."
        case _:
            message = (
                f"This run is {record.status.value}; pause it first to resume it from another checkpoint."
            )
    return AppError(ErrorCode.CONFLICT, message)


def without_gaps(events: tuple[StoredEvent, ...]) -> tuple[StoredEvent, ...]:
    """The events from number 1 up to the first that is missing: those that a restored stream can hold."""
    return tuple(event for place, event in enumerate(events, start=1) if event.seq == place)


def lease_ms_left(record: RunRecord) -> int:
    """How long the owner of a restored run has to be heard of: about the lease it had."""
    return max(0, record.lease_until_ms - record.updated_at_ms)


def key_reused() -> AppError:
    """What a caller hears who uses one idempotency key for two requests."""
    message = "This Idempotency-Key came with another body before. Use a new key for a new request."
    return AppError(ErrorCode.IDEMPOTENCY_KEY_REUSED, message)
