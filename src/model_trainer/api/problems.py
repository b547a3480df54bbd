"""Errors as HTTP answers. The only place that knows which status a code has."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol, assert_never, runtime_checkable

from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.schemas.problem import PROBLEM_MEDIA_TYPE, FieldProblem, ProblemDocument, RunProblem
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import AppError, ErrorCode, FailureClass, FieldFault, failure_class_of
from model_trainer.core.logging import get_logger

RETRY_AFTER_SECONDS = 5
logger = get_logger(__name__)


def status_of(code: ErrorCode) -> int:
    """The HTTP status of an error code."""
    match code:
        case ErrorCode.UNAUTHORIZED:
            return 401
        case (
            ErrorCode.NOT_FOUND
            | ErrorCode.RUN_NOT_FOUND
            | ErrorCode.TOKENIZER_NOT_FOUND
            | ErrorCode.ARTIFACT_NOT_FOUND
            | ErrorCode.FILE_NOT_FOUND
            | ErrorCode.REQUEST_NOT_FOUND
        ):
            return 404
        case ErrorCode.METHOD_NOT_ALLOWED:
            return 405
        case ErrorCode.CONFLICT | ErrorCode.LEASE_LOST:
            return 409
        case ErrorCode.REQUEST_TOO_LARGE:
            return 413
        case ErrorCode.RANGE_NOT_SATISFIABLE:
            return 416
        case (
            ErrorCode.CONFIG_INVALID
            | ErrorCode.FAMILY_UNKNOWN
            | ErrorCode.TOKENIZER_UNKNOWN
            | ErrorCode.TOKENIZER_UNAVAILABLE
            | ErrorCode.TOKENIZER_MISMATCH
            | ErrorCode.DEVICE_UNAVAILABLE
            | ErrorCode.MODEL_TOO_LARGE
            | ErrorCode.DATA_NOT_FOUND
            | ErrorCode.DATA_PATH_FORBIDDEN
            | ErrorCode.DATA_EMPTY
            | ErrorCode.DATA_TOO_SMALL
            | ErrorCode.DATA_FORMAT_UNSUPPORTED
            | ErrorCode.DATA_ENCODING_INVALID
            | ErrorCode.DATA_CHANGED
            | ErrorCode.DIGEST_MISMATCH
            | ErrorCode.VOCAB_TOO_LARGE
            | ErrorCode.IDEMPOTENCY_KEY_REUSED
            | ErrorCode.DIVERGED
        ):
            return 422
        case (
            ErrorCode.STORE_UNAVAILABLE
            | ErrorCode.SERVICE_UNAVAILABLE
            | ErrorCode.WORKER_LOST
            | ErrorCode.OUT_OF_MEMORY
            | ErrorCode.DISK_FULL
            | ErrorCode.CHECKPOINT_NOT_WRITTEN
        ):
            return 503
        case (
            ErrorCode.TOKENIZER_TRAIN_FAILED
            | ErrorCode.MODEL_TRAIN_FAILED
            | ErrorCode.EVALUATION_FAILED
            | ErrorCode.ARTIFACT_CORRUPT
            | ErrorCode.CHECKPOINT_INVALID
            | ErrorCode.STORAGE_READ_ONLY
            | ErrorCode.STACK_FAILED
            | ErrorCode.JOB_TIMEOUT
            | ErrorCode.INTERNAL
        ):
            return 500
        case _:
            assert_never(code)


def problem_response(
    error: AppError, *, status: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The answer to an error; `status` only where one code has two (a malformed request is 400)."""
    answered = status_of(error.code) if status is None else status
    document = ProblemDocument(
        title=HTTPStatus(answered).phrase,
        status=answered,
        detail=error.message,
        code=error.code,
        message=error.message,
        request_id=current_request_id(),
        retryable=error.failure_class is FailureClass.TRANSIENT,
        errors=tuple(FieldProblem(pointer=fault.pointer, message=fault.message) for fault in error.faults),
    )
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if answered == HTTPStatus.SERVICE_UNAVAILABLE:
        sent["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if answered == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    return Response(
        document.model_dump_json(), status_code=answered, headers=sent, media_type=PROBLEM_MEDIA_TYPE
    )


def view_problem(problem: Problem, *, request_id: str) -> RunProblem:
    """Why a run failed, in the shape of every other error."""
    status = status_of(problem.code)
    return RunProblem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=problem.message,
        code=problem.code,
        message=problem.message,
        request_id=request_id,
        retryable=failure_class_of(problem.code) is FailureClass.TRANSIENT,
        errors=tuple(FieldProblem(pointer=fault.pointer, message=fault.message) for fault in problem.faults),
        exception=problem.exception,
    )


def answer_app_error(_request: Request, error: Exception) -> Response:
    """Our own errors: the sentence goes out, the facts go to the log."""
    if not isinstance(error, AppError):
        raise error
    logger.info("request_refused", error_code=error.code.value, detail=error.message)
    return problem_response(error)


def answer_http_exception(_request: Request, error: Exception) -> Response:
    """What the router says: no such path, no such method there."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return problem_response(
                AppError(ErrorCode.NOT_FOUND, "There is nothing at this path. /docs lists what there is.")
            )
        case 405:
            message = (
                f"This path answers other methods: {headers.get('Allow', headers.get('allow', 'see /docs'))}."
            )
            return problem_response(AppError(ErrorCode.METHOD_NOT_ALLOWED, message), headers=headers)
        case status:
            refused = AppError(ErrorCode.CONFIG_INVALID, f"The request cannot be answered: {error.detail}.")
            return problem_response(refused, status=status, headers=headers)


def answer_invalid_parameters(_request: Request, error: Exception) -> Response:
    """Path and query parameters that do not fit."""
    if not isinstance(error, _ReportsErrors):
        raise error
    rows = _rows.validate_python(error.errors())
    faults = [FieldFault(pointer="/" + "/".join(map(str, row.loc[1:])), message=row.msg) for row in rows]
    named = ", ".join(fault.pointer.strip("/") for fault in faults)
    return problem_response(
        AppError(ErrorCode.CONFIG_INVALID, f"These parameters do not fit: {named}.", faults=faults)
    )


def answer_disconnect(_request: Request, _error: Exception) -> Response:
    """A client that left before its body was complete. Nobody reads this; it keeps the log honest."""
    return problem_response(AppError(ErrorCode.CONFIG_INVALID, "The body ended early."), status=400)


async def answer_unknown_error(_request: Request, _error: Exception) -> Response:
    """Everything else: the stack goes to the log, a sentence goes out. Called while the error is being handled."""
    logger.error("request_failed", error_code=ErrorCode.INTERNAL.value)
    message = "This is a fault of the server. Its log has the details under this request_id."
    return problem_response(AppError(ErrorCode.INTERNAL, message))


@runtime_checkable
class _ReportsErrors(Protocol):
    """FastAPI's RequestValidationError, as far as it is used here."""

    def errors(self) -> Sequence[object]: ...


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    loc: tuple[str | int, ...]
    msg: str


_rows: TypeAdapter[list[_Row]] = TypeAdapter(list[_Row])
