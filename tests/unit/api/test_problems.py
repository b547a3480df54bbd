"""Errors as answers: one shape for all of them, a status for every code, nothing that helps a stranger."""

import io
from collections.abc import Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from model_trainer.api.problems import (
    answer_app_error,
    answer_http_exception,
    answer_invalid_parameters,
    problem_response,
    status_of,
)
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import configure_logging
from model_trainer.infra.persistence.memory import MemoryRunStore
from tests.unit.api.conftest import Connect
from tests.unit.api.service import Service

NO_REQUEST = Request({"type": "http"})


class BrokenRuns(MemoryRunStore):
    """A store with a fault nobody foresaw."""

    def get(self, run_id: str) -> RunRecord:
        raise ZeroDivisionError("the password is hunter2")


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_an_error_status(code: ErrorCode) -> None:
    assert 400 <= status_of(code) <= 599


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [("/nowhere", "GET", 404, "NOT_FOUND"), ("/runs/train", "PUT", 405, "METHOD_NOT_ALLOWED")],
)
def test_the_routers_own_errors_are_problems_too(
    client: TestClient, path: str, method: str, status: int, code: str
) -> None:
    answer = client.request(method, path)

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert set(problem) == {
        "type", "title", "status", "detail", "code", "message", "request_id", "retryable", "errors",
    }  # fmt: skip


def test_a_405_says_what_is_allowed(client: TestClient) -> None:
    answer = client.request("TRACE", "/healthz")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


def test_other_http_errors_keep_their_status() -> None:
    answer = answer_http_exception(NO_REQUEST, HTTPException(418, "teapot", headers={"X-A": "b"}))

    assert (answer.status_code, answer.headers["x-a"]) == (418, "b")


@pytest.mark.parametrize("handler", [answer_app_error, answer_http_exception, answer_invalid_parameters])
def test_a_handler_passes_on_what_is_not_its_own(handler: Callable[[Request, Exception], object]) -> None:
    with pytest.raises(ZeroDivisionError):
        handler(NO_REQUEST, ZeroDivisionError())


def test_a_passing_fault_says_when_to_try_again() -> None:
    answer = problem_response(AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away."))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert b'"retryable":true' in bytes(answer.body)


def test_an_unknown_error_is_logged_with_its_stack_and_answered_without(connect: Connect) -> None:
    service = Service(run_store=BrokenRuns)
    log = io.StringIO()
    configure_logging(service="model-trainer-test", level="INFO", readable=False, stream=log)

    answer = connect(service).get("/runs/01J00000000000000000000000", headers={"X-Request-ID": "req-1"})

    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (
        500,
        "INTERNAL",
        "req-1",
    )
    assert "hunter2" not in answer.text
    assert answer.headers["x-request-id"] == "req-1"
    lines = [line for line in log.getvalue().splitlines() if "request_failed" in line]
    assert len(lines) == 1
    assert "ZeroDivisionError" in lines[0]
    assert '"request_id": "req-1"' in lines[0]
    assert any('"status_code": 500' in line for line in log.getvalue().splitlines())
