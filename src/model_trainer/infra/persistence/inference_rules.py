"""Rules of requests to models that every store shares: their keys, how long they live, who is refused and how."""

from hashlib import sha256

from model_trainer.core.contracts.inference import InferenceKind, InferenceRequest
from model_trainer.core.contracts.run import IdempotencyKey, Problem
from model_trainer.core.errors import AppError, ErrorCode, FieldFault

UNANSWERED_SECONDS = 24 * 3600
"""A request is kept so long without an answer."""
SEEN = 64
"""From the head of the line: a batch is made of these."""
LOST = Problem(
    code=ErrorCode.WORKER_LOST,
    message="The process that worked on this request ended, or fell silent, each time it was tried. "
    "Ask for less at once (a shorter text, fewer tokens or sequences), or look into the inference worker's log.",
)


def request_key(kind: InferenceKind, run_id: str, request_id: str) -> str:
    """The key of a request's record."""
    return f"{kind.value}:{run_id}:{request_id}"


def key_of(request: InferenceRequest) -> str:
    """The same, of a request that is at hand."""
    return request_key(request.kind, request.run_id, request.request_id)


def conversation_key(run_id: str, conversation_id: str) -> str:
    """The key of a conversation; with `:pending` behind it, of the mark that a message of it is unanswered."""
    return f"chat:conversation:{run_id}:{conversation_id}"


def idempotency_key(idempotency: IdempotencyKey) -> str:
    """Where it stands what a caller's key was used for. Not in clear: it is the caller's."""
    return f"idempotency:{sha256(idempotency.key.encode()).hexdigest()}"


def request_not_found(kind: InferenceKind, run_id: str, request_id: str) -> AppError:
    """What anyone hears who asks for a request that is not there, or no longer."""
    message = (
        f"There is no request {request_id} of this kind to run {run_id}, or its answer has expired. "
        f"POST /runs/{run_id}/{kind.value} asks again."
    )
    return AppError(ErrorCode.REQUEST_NOT_FOUND, message)


def answer_has_expired() -> AppError:
    """What a caller hears who repeats a request after its answer was given up."""
    message = (
        "This Idempotency-Key was used for a request whose answer has expired. Use a new key to ask again."
    )
    return AppError(ErrorCode.REQUEST_NOT_FOUND, message)


def conversation_not_found(run_id: str, conversation_id: str) -> AppError:
    """What anyone hears who wants to read a conversation that is not there, not yet, or no longer."""
    message = (
        f"There is no conversation {conversation_id} with run {run_id}: its first message is not answered yet or failed, or it "
        "has expired. Leave conversation_id out to begin a new one; `history` takes the turns so far."
    )
    return AppError(ErrorCode.REQUEST_NOT_FOUND, message, faults=[FieldFault("/conversation_id", message)])


def nothing_to_go_on_with(run_id: str, conversation_id: str) -> AppError:
    """What a caller hears whose message goes on with a conversation that is not there, or no longer."""
    message = (
        f"Run {run_id} has no conversation {conversation_id}: its first message failed, or nobody went on with it for too "
        "long. Leave conversation_id out to begin a new one; `history` takes the turns so far."
    )
    # Not REQUEST_NOT_FOUND: the path of this request exists, a field of its body is wrong.
    return AppError(ErrorCode.CONFIG_INVALID, message, faults=[FieldFault("/conversation_id", message)])


def conversation_is_busy(request_id: str) -> AppError:
    """What a caller hears who sends two messages of a conversation at once."""
    message = (
        f"An earlier message of this conversation is not answered yet. Wait for request {request_id}, then send "
        "the next one."
    )
    return AppError(ErrorCode.CONFLICT, message, faults=[FieldFault("/conversation_id", message)])


def too_many_wait(most: int) -> AppError:
    """What a caller hears when the line is full."""
    message = (
        f"{most} requests wait for an answer already. Try again in a moment; more inference workers, or a larger "
        "INFERENCE__MAX_WAITING, take more."
    )
    return AppError(ErrorCode.SERVICE_UNAVAILABLE, message)
