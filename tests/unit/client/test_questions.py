"""The client's words for questions to models: asked once, waited for, told as they are answered."""

import httpx
import pytest

from model_trainer.client.answers import GeneratedView, ScoredView
from model_trainer.client.questions import PAUSE_SECONDS, WAIT_SECONDS
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import (
    QUESTION_ID,
    RUN_ID,
    FakeApi,
    answered,
    event_stream,
    problem,
    run_view,
)

HERE = f"/runs/{RUN_ID}/generate/{QUESTION_ID}"
RESULT: dict[str, object] = {
    "outputs": [{"text": " a time", "steps": 3, "eos_terminated": True, "finish_reason": "eos"}]
}


def patience(request: httpx.Request) -> object:
    """How long the client waits for the first byte."""
    timeout: dict[str, object] = request.extensions["timeout"]
    return timeout["read"]


def test_a_question_is_asked_with_a_key_and_waited_for() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/generate", answered("generate", RESULT))
    with api.client() as client:
        answer = client.questions.ask("generate", RUN_ID, {"prompt_text": "Once"})
    assert answer.is_over
    assert answer.read(GeneratedView).outputs[0].text == " a time"
    [asked] = api.requests
    assert api.sent() == {"prompt_text": "Once"}
    assert asked.headers["prefer"] == f"wait={WAIT_SECONDS}"
    assert len(asked.headers["idempotency-key"]) == 26
    assert patience(asked) == 30.0 + WAIT_SECONDS


def test_whoever_does_not_wait_looks_later() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/generate", answered("generate", None))
    api.on("GET", HERE, answered("generate", RESULT))
    with api.client() as client:
        asked = client.questions.ask(
            "generate", RUN_ID, {"prompt_text": "Once"}, wait_seconds=None, idempotency_key="mine"
        )
        seen = client.questions.look("generate", RUN_ID, asked.request_id)
    assert (asked.is_over, seen.is_over) == (False, True)
    assert api.requests[0].headers["idempotency-key"] == "mine"
    assert ["prefer" in request.headers for request in api.requests] == [False, False]
    assert [patience(request) for request in api.requests] == [30.0, 30.0]


def test_an_answer_that_takes_its_time_is_asked_after_again_and_again() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/generate", answered("generate", None))
    api.on(
        "GET",
        HERE,
        answered("generate", None, status="queued"),
        answered("generate", None, status="running"),
        answered("generate", RESULT),
    )
    with api.client() as client:
        answer = client.questions.wait(client.questions.ask("generate", RUN_ID, {"prompt_text": "Once"}))
    assert answer.status == "completed"
    assert [request.headers["prefer"] for request in api.requests] == [f"wait={WAIT_SECONDS}"] * 4
    assert api.pauses == [PAUSE_SECONDS] * 3


def test_a_question_that_failed_raises_why() -> None:
    fault = {
        "code": "CONFIG_INVALID",
        "message": "The prompt is too long.",
        "request_id": "req-1",
        "errors": [{"pointer": "/prompt_text", "message": "is too long"}],
    }
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/generate", answered("generate", None))
    api.on("GET", HERE, answered("generate", None, status="failed", problem=fault))
    with api.client() as client, pytest.raises(AppError, match="too long") as caught:
        client.questions.wait(client.questions.ask("generate", RUN_ID, {"prompt_text": "Once"}))
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.faults[0].pointer == "/prompt_text"
    assert caught.value.facts == {"request_id": "req-1"}


def test_a_problem_of_a_newer_server_keeps_its_code_as_a_fact() -> None:
    fault = {"code": "MODEL_ASLEEP", "message": "It sleeps."}
    api = FakeApi().on(
        "POST", f"/runs/{RUN_ID}/generate", answered("generate", None, status="failed", problem=fault)
    )
    with api.client() as client, pytest.raises(AppError, match="It sleeps") as caught:
        client.questions.wait(client.questions.ask("generate", RUN_ID, {"prompt_text": "Once"}))
    assert caught.value.code is ErrorCode.INTERNAL
    assert caught.value.facts["server_code"] == "MODEL_ASLEEP"


def test_a_refused_question_is_the_servers_word() -> None:
    api = FakeApi().on(
        "POST", f"/runs/{RUN_ID}/score", problem(503, "SERVICE_UNAVAILABLE", "Nobody answers.")
    )
    with api.client() as client, pytest.raises(AppError, match="Nobody answers") as caught:
        client.questions.ask("score", RUN_ID, {"text": "a"})
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert len(str(caught.value.facts["idempotency_key"])) == 26


def test_pieces_are_told_as_they_come_also_over_a_broken_line() -> None:
    first = event_stream((1, "token", {"sequence": 0, "text": " a", "seq": 1}), breaks=True)
    rest = event_stream(
        (2, "token", {"sequence": 0, "text": " time", "seq": 2}), (None, "done", answered("generate", RESULT))
    )
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/generate", answered("generate", None))
    api.on("GET", f"{HERE}/events", first, rest)
    with api.client() as client:
        asked = client.questions.ask("generate", RUN_ID, {"stream": True}, wait_seconds=None)
        events = list(client.questions.follow(asked))
    assert [event.data.get("text") for event in events] == [" a", " time", None]
    assert events[-1].name == "done"
    assert api.requests[-1].headers["last-event-id"] == "1"


def test_an_answer_that_is_something_else_is_told() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/score", answered("score", {"loss": "much"}))
    with api.client() as client, pytest.raises(AppError, match="newer Model Trainer"):
        client.questions.ask("score", RUN_ID, {"text": "a"}).read(ScoredView)


def test_ids_are_one_segment_of_the_path_whatever_was_typed() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", run_view())
    with api.client() as client, pytest.raises(AppError):
        client.questions.look("generate", "../x", "a/b")
    assert api.requests[0].url.raw_path == b"/runs/..%2Fx/generate/a%2Fb"
