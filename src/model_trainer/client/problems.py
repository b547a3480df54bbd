"""An error answer of the API as the AppError it stands for."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import ValidationError

from model_trainer.client.views import ProblemView
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.errors.app_error import Fact


def problem_of(
    status: int, body: bytes, request_id: str | None, *, idempotency_key: str | None = None
) -> AppError:
    """The server's code, sentence and faults; an answer that is no problem document keeps its status in the sentence."""
    try:
        problem = ProblemView.model_validate_json(body)
    except ValidationError:
        problem = ProblemView()
    facts: dict[str, Fact] = {
        "status": status,
        "request_id": problem.request_id or request_id,
    }
    if idempotency_key is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Whether it was done is open: the same key asks again without doing it twice.
        facts["idempotency_key"] = idempotency_key
    if not problem.message:
        silent = (
            f"The server answered {status} without saying why: is this the address of a Model Trainer API?"
        )
        told: dict[str, object] = {"message": silent}
        problem = problem.model_copy(update=told)
    return error_of(problem, otherwise=_code_of_status(status), facts=facts)


def error_of(
    problem: ProblemView,
    *,
    otherwise: ErrorCode = ErrorCode.INTERNAL,
    facts: Mapping[str, Fact] | None = None,
) -> AppError:
    """A problem as the error it stands for; `otherwise` is its code where this client does not know the server's."""
    told = dict(facts or {"request_id": problem.request_id})
    known = problem.code in ErrorCode.__members__
    if problem.code and not known:
        told["server_code"] = problem.code
    return AppError(
        ErrorCode(problem.code) if known else otherwise,
        problem.message,
        facts=told,
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
