"""Answers of models told piece by piece, and large ones passed on as they were written."""

import asyncio
import json

import pytest
from starlette.testclient import TestClient

from model_trainer.api.main import Application
from model_trainer.api.schemas.inference import question_json
from model_trainer.api.streams import Streams
from model_trainer.core.contracts.inference import InferenceKind
from tests.unit.api.answering import answer_all, attended, refusing, take
from tests.unit.api.questions.asked import QUESTIONS
from tests.unit.api.service import Service
from tests.unit.api.streams import SSE, fields


@pytest.mark.parametrize("kind", ["generate", "chat"])
def test_an_answer_is_told_as_it_comes(client: TestClient, service: Service, model: str, kind: str) -> None:
    with attended(service.inference, pieces=("Once", " upon\ndata: {}", " a time")):
        answer = client.post(f"/runs/{model}/{kind}", json=QUESTIONS[kind], headers=SSE)
    again = client.get(f"{answer.headers['location']}/events", headers=SSE)
    rest = client.get(f"{answer.headers['location']}/events", headers={**SSE, "Last-Event-ID": "2"})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert fields(answer.text, "event") == ["token", "token", "token", "done"]
    assert fields(answer.text, "id") == ["1", "2", "3"]
    data = [json.loads(line) for line in fields(answer.text, "data")]
    assert data[1] == {"sequence": 0, "text": " upon\ndata: {}", "seq": 2}
    assert data[-1] == client.get(answer.headers["location"]).json()
    assert data[-1]["result"]["asked"]["stream"] is True
    assert again.text == answer.text
    assert fields(rest.text, "id") == ["3"]


def test_a_stream_of_a_question_that_failed_ends_with_its_problem(
    client: TestClient, service: Service, model: str
) -> None:
    with attended(service.inference, refusing):
        answer = client.post(f"/runs/{model}/generate", json=QUESTIONS["generate"], headers=SSE)

    assert fields(answer.text, "event") == ["done"]
    assert json.loads(fields(answer.text, "data")[0])["problem"]["code"] == "CONFIG_INVALID"


def test_a_question_that_nobody_could_be_told_of_is_not_put_in_line(
    client: TestClient, service: Service, model: str
) -> None:
    full = Streams(signal=service.signal, stopping=asyncio.Event(), max_streams=0)

    with TestClient(Application(service.container, streams=full)) as crowded:
        refused = crowded.post(f"/runs/{model}/generate", json=QUESTIONS["generate"], headers=SSE)

    assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert service.inference.depth() == 0


def test_a_refused_question_is_a_problem_and_not_a_stream(client: TestClient, model: str) -> None:
    answer = client.post(f"/runs/{model}/generate", json={"prompt_text": ""}, headers=SSE)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_figures_and_predictions_are_not_streamed(client: TestClient, service: Service, model: str) -> None:
    answer = client.post(f"/runs/{model}/score", json=QUESTIONS["score"], headers=SSE)

    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
    [record] = take(service.inference)
    assert "stream" not in record.request.spec


def test_an_answer_is_shown_as_it_was_written(client: TestClient, service: Service, model: str) -> None:
    asked = client.post(f"/runs/{model}/score", json=QUESTIONS["score"]).json()
    answer_all(service.inference)
    record = service.inference.get(InferenceKind.SCORE, model, asked["request_id"])
    written = '{"loss": 1.50, "tokens": [ ]}'

    shown = question_json(record.model_copy(update={"result": written}))

    assert written in shown
    view = client.get(asked["links"]["self"]).json()
    assert json.loads(shown) == {**view, "result": {"loss": 1.5, "tokens": []}}
