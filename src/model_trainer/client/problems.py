"""An error answer of the API as the AppError it stands for."""

from http import HTTPStatus

from pydantic import ValidationError

from model_trainer.client.views import ProblemView
from model_trainer.core.errors import AppError, ErrorCode, FieldFault


def problem_of(
    status: int, body: bytes, request_id: str | None, *, idempotency_key: str | None = None
) -> AppError:
    """The server's code, sentence and faults; an answer that is no problem document keeps its status in the sentence."""
    try:
        problem = ProblemView.model_validate_json(body)
    except ValidationError:
        problem = ProblemView()
    facts: dict[str, str | int | float | bool | None] = {
        "status": status,
        "request_id": problem.request_id or request_id,
    }
    if idempotency_key is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Whether it was done is open: the same key asks again without doing it twice.
        facts["idempotency_key"] = idempotency_key
    known = problem.code in ErrorCode.__members__
    if problem.code and not known:
        facts["server_code"] = problem.code
    return AppError(
        ErrorCode(problem.code) if known else _code_of_status(status),
        problem.message
        or f"The server answered {status} without saying why: is this the address of a Model Trainer API?",
        facts=facts,
        faults=[FieldFault(pointer=fault.pointer, message=fault.message) for fault in problem.errors],
    )


def _code_of_status(status: int) -> ErrorCode:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return ErrorCode.UNAUTHORIZED
        case HTTPStatus.NOT_FOUND:
            return ErrorCode.NOT_FOUND
        case HTTPStatus.CONFLICT:
            return ErrorCode.CONFLICT
        case HTTPStatus.BAD_GATEWAY | HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.GATEWAY_TIMEOUT:
            return ErrorCode.SERVICE_UNAVAILABLE
        case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ErrorCode.CONFIG_INVALID
        case _:
            return ErrorCode.INTERNAL
