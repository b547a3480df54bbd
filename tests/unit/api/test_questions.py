"""Questions to trained models: what is put in line, what is refused, and how answers come back."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from model_trainer.api.answers import Answers, AwaitedResponse
from model_trainer.api.asgi import Message
from model_trainer.api.main import Application, create_app
from model_trainer.api.requests import preferred_wait
from model_trainer.api.schemas.inference import question_json
from model_trainer.api.streams import Streams
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import (
    INFERENCE_QUEUE,
    LONGEST_DETAILED_TEXT,
    InferenceKind,
    InferenceRecord,
    InferenceRequest,
    InferenceStatus,
)
from model_trainer.core.contracts.run import Problem, ProblemFault
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunSignal
from model_trainer.infra.persistence.memory_inference import MemoryInferenceStore
from tests.unit.api.answering import answer_all, attended, take
from tests.unit.api.conftest import Connect
from tests.unit.api.service import Service, settings_with
from tests.unit.api.test_orders import training
from tests.unit.api.test_streams import SSE, fields, run
from tests.unit.api.toy_detector import body, detectors, trained

FILES: dict[str, str | bytes] = {
    "prompt.txt": "Once",
    "shelf/a.txt": "a",
    "shelf/b.md": "b",
    "rows.jsonl": '{"text": "a"}\n',
    "long.txt": "a" * (4 * LONGEST_DETAILED_TEXT + 1),
    "longer.md": "a" * 400_001,
    "empty.txt": "",
}
QUESTIONS: dict[str, dict[str, object]] = {
    "generate": {"prompt_text": "Once"},
    "score": {"text": "Once upon a time"},
    "chat": {"message": "Who are you?"},
    "predict": {"texts": ["One.", "Two."]},
}


@pytest.fixture
def service() -> Service:
    """Detectors beside language models, and somebody who would answer (but does not, by itself)."""
    service = detectors(FILES)
    service.worker_alive(INFERENCE_QUEUE)
    return service


@pytest.fixture
def model(client: TestClient, service: Service) -> str:
    """A completed language model."""
    run_id = training(client, service)
    service.finished(run_id)
    return run_id


@pytest.fixture
def detector(client: TestClient, service: Service) -> str:
    """A completed detector."""
    return trained(client, service)


@pytest.mark.parametrize("kind", list(QUESTIONS))
def test_a_question_is_put_in_line_and_answered_at_its_location(
    client: TestClient, service: Service, model: str, detector: str, kind: str
) -> None:
    run_id = detector if kind == "predict" else model

    asked = client.post(f"/runs/{run_id}/{kind}", json=QUESTIONS[kind])
    waiting = client.get(asked.headers["location"]).json()
    answer_all(service.inference)
    answered = client.get(asked.headers["location"]).json()

    view = asked.json()
    assert asked.status_code == 202, asked.text
    assert asked.headers["location"] == f"/runs/{run_id}/{kind}/{view['request_id']}" == view["links"]["self"]
    assert (view["run_id"], view["kind"], view["status"], view["result"]) == (run_id, kind, "queued", None)
    assert waiting == view
    assert (answered["status"], answered["problem"]) == ("completed", None)
    assert answered["timings"] == {"queued": 1.0, "load": 0.0, "model": 2.0, "total": 3.0}
    assert answered["result"]["asked"].items() >= QUESTIONS[kind].items()
    assert answered["created_at"] <= answered["started_at"] <= answered["finished_at"]
    assert ("events" in view["links"]) == (kind in ("generate", "chat"))
    assert view["links"]["run"] == f"/runs/{run_id}"
    assert "preference-applied" not in asked.headers


@pytest.mark.parametrize("kind", list(QUESTIONS))
def test_who_waits_gets_the_answer_itself(
    client: TestClient, service: Service, model: str, detector: str, kind: str
) -> None:
    run_id = detector if kind == "predict" else model

    with attended(service.inference):
        answer = client.post(
            f"/runs/{run_id}/{kind}", json=QUESTIONS[kind], headers={"Prefer": "respond-async, wait=20"}
        )

    assert (answer.status_code, answer.json()["status"]) == (200, "completed"), answer.text
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"] == answer.json()["links"]["self"]


def test_who_waits_in_vain_is_told_where_to_look(client: TestClient, service: Service, model: str) -> None:
    answer = client.post(f"/runs/{model}/generate", json=QUESTIONS["generate"], headers={"Prefer": "wait=0"})
    later = client.get(answer.headers["location"], headers={"Prefer": "wait=0"})

    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert (later.status_code, later.json()) == (200, answer.json())
    assert (answer.headers["preference-applied"], later.headers["preference-applied"]) == ("wait=0", "wait=0")


def test_nobody_waits_longer_than_the_settings_say(connect: Connect) -> None:
    settings = settings_with()
    inference = settings.inference.model_copy(update={"max_wait_seconds": 0.05})
    service = Service(settings=settings.model_copy(update={"inference": inference}))
    service.worker_alive(INFERENCE_QUEUE)
    client = connect(service)
    run_id = training(client, service)
    service.finished(run_id)

    answer = client.post(
        f"/runs/{run_id}/generate", json=QUESTIONS["generate"], headers={"Prefer": "wait=100000"}
    )

    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0.05")


def test_an_answer_can_be_waited_for_where_it_will_be(
    client: TestClient, service: Service, model: str
) -> None:
    asked = client.post(f"/runs/{model}/score", json=QUESTIONS["score"])

    with attended(service.inference):
        answer = client.get(asked.headers["location"], headers={"Prefer": "wait=20"})

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.headers["preference-applied"] == "wait=20"


def refusing(record: InferenceRecord) -> Problem:
    """A fault that only the worker can see."""
    fault = ProblemFault(pointer="/prompt_text", message="is too long")
    return Problem(code=ErrorCode.CONFIG_INVALID, message="The prompt is too long.", faults=(fault,))


def test_a_question_that_failed_says_why(client: TestClient, service: Service, model: str) -> None:
    url = f"/runs/{model}/generate"
    asked = client.post(url, json=QUESTIONS["generate"])
    answer_all(service.inference, refusing)

    seen = client.get(asked.headers["location"])
    with attended(service.inference, refusing):
        waited = client.post(url, json=QUESTIONS["generate"], headers={"Prefer": "wait=20"})

    problem = seen.json()["problem"]
    assert (seen.status_code, seen.json()["status"], seen.json()["result"]) == (200, "failed", None)
    assert (problem["code"], problem["status"]) == ("CONFIG_INVALID", 422)
    assert problem["errors"] == [{"pointer": "/prompt_text", "message": "is too long"}]
    assert problem["request_id"] == asked.headers["x-request-id"]
    assert (waited.status_code, waited.headers["content-type"]) == (422, "application/problem+json")
    assert waited.json()["message"] == "The prompt is too long."
    assert waited.json()["errors"] == problem["errors"]
    assert client.get(waited.headers["location"]).json()["status"] == "failed"
    assert waited.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize(
    ("code", "status"),
    [(ErrorCode.ARTIFACT_NOT_FOUND, 404), (ErrorCode.OUT_OF_MEMORY, 503), (ErrorCode.JOB_TIMEOUT, 500)],
)
def test_the_status_of_a_failed_answer_is_that_of_its_code(
    client: TestClient, service: Service, model: str, code: ErrorCode, status: int
) -> None:
    with attended(service.inference, lambda _record: Problem(code=code, message="It went wrong.")):
        answer = client.post(
            f"/runs/{model}/generate", json=QUESTIONS["generate"], headers={"Prefer": "wait=20"}
        )

    assert (answer.status_code, answer.json()["code"]) == (status, code.value)
    assert ("retry-after" in answer.headers) == (status == 503)


# What is refused


@pytest.mark.parametrize(
    ("kind", "order", "code", "pointer"),
    [
        ("generate", {}, "CONFIG_INVALID", ""),
        ("generate", {"prompt_text": ""}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": " \n\t\u2003"}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": "a", "prompt_path": "prompt.txt"}, "CONFIG_INVALID", ""),
        ("generate", {"prompt_text": 1}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": "a", "max_new_tokens": 0}, "CONFIG_INVALID", "/max_new_tokens"),
        ("generate", {"prompt_text": "a", "max_new_tokens": 513}, "CONFIG_INVALID", "/max_new_tokens"),
        ("generate", {"prompt_text": "a", "max_new_tokens": 1.5}, "CONFIG_INVALID", "/max_new_tokens"),
        ("generate", {"prompt_text": "a", "max_new_tokens": True}, "CONFIG_INVALID", "/max_new_tokens"),
        ("generate", {"prompt_text": "a", "temperature": -0.1}, "CONFIG_INVALID", "/temperature"),
        ("generate", {"prompt_text": "a", "top_k": -1}, "CONFIG_INVALID", "/top_k"),
        ("generate", {"prompt_text": "a", "top_p": 0}, "CONFIG_INVALID", "/top_p"),
        ("generate", {"prompt_text": "a", "top_p": 1.01}, "CONFIG_INVALID", "/top_p"),
        ("generate", {"prompt_text": "a", "min_p": 1}, "CONFIG_INVALID", "/min_p"),
        ("generate", {"prompt_text": "a", "repetition_penalty": 0}, "CONFIG_INVALID", "/repetition_penalty"),
        ("generate", {"prompt_text": "a", "stop_on_eos": "yes"}, "CONFIG_INVALID", "/stop_on_eos"),
        ("generate", {"prompt_text": "a", "stop_sequences": [""]}, "CONFIG_INVALID", "/stop_sequences/0"),
        ("generate", {"prompt_text": "a", "stop_sequences": ["a"] * 9}, "CONFIG_INVALID", "/stop_sequences"),
        ("generate", {"prompt_text": "a", "seed": -1}, "CONFIG_INVALID", "/seed"),
        ("generate", {"prompt_text": "a", "seed": 2**63}, "CONFIG_INVALID", "/seed"),
        ("generate", {"prompt_text": "a", "num_return_sequences": 0}, "CONFIG_INVALID", "/num_return_sequences"),
        ("generate", {"prompt_text": "a", "num_return_sequences": 11}, "CONFIG_INVALID", "/num_return_sequences"),
        ("generate", {"prompt_text": "a", "unknown": 1}, "CONFIG_INVALID", "/unknown"),
        ("generate", {"prompt_path": ""}, "CONFIG_INVALID", "/prompt_path"),
        ("generate", {"prompt_path": "absent.txt"}, "DATA_NOT_FOUND", "/prompt_path"),
        ("generate", {"prompt_path": "../secret.txt"}, "DATA_PATH_FORBIDDEN", "/prompt_path"),
        ("generate", {"prompt_path": "/etc/passwd"}, "DATA_PATH_FORBIDDEN", "/prompt_path"),
        ("generate", {"prompt_path": "shelf"}, "CONFIG_INVALID", "/prompt_path"),
        ("generate", {"prompt_path": "rows.jsonl"}, "DATA_FORMAT_UNSUPPORTED", "/prompt_path"),
        ("generate", {"prompt_path": "empty.txt"}, "DATA_EMPTY", "/prompt_path"),
        ("generate", {"prompt_path": "longer.md"}, "CONFIG_INVALID", "/prompt_path"),
        ("score", {}, "CONFIG_INVALID", ""),
        ("score", {"text": "a", "path": "prompt.txt"}, "CONFIG_INVALID", ""),
        ("score", {"text": "\n"}, "CONFIG_INVALID", "/text"),
        ("score", {"text": "a", "top_k": 3}, "CONFIG_INVALID", ""),
        ("score", {"text": "a", "detail_level": "per_char", "top_k": 51}, "CONFIG_INVALID", "/top_k"),
        ("score", {"text": "a" * 5_000, "detail_level": "per_char", "top_k": 50}, "CONFIG_INVALID", "/top_k"),
        ("score", {"text": "a", "detail_level": "all"}, "CONFIG_INVALID", "/detail_level"),
        ("score", {"path": "shelf"}, "CONFIG_INVALID", "/path"),
        ("score", {"path": "long.txt", "detail_level": "per_char"}, "CONFIG_INVALID", "/path"),
        ("chat", {}, "CONFIG_INVALID", "/message"),
        ("chat", {"message": " "}, "CONFIG_INVALID", "/message"),
        ("chat", {"message": "a", "conversation_id": "last"}, "CONFIG_INVALID", "/conversation_id"),
        ("chat", {"message": "a", "conversation_id": new_ulid()}, "CONFIG_INVALID", "/conversation_id"),
        ("chat", {"message": "a", "conversation_id": new_ulid(), "system": "b"}, "CONFIG_INVALID", ""),
        ("chat", {"message": "a", "history": [{"role": "assistant", "content": "b"}]}, "CONFIG_INVALID", ""),
        ("chat", {"message": "a", "history": [{"role": "tool", "content": "b"}]}, "CONFIG_INVALID", "/history/0/role"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_by_field(
    client: TestClient,
    service: Service,
    model: str,
    kind: str,
    order: dict[str, object],
    code: str,
    pointer: str,
) -> None:
    answer = client.post(f"/runs/{model}/{kind}", json=order)

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert service.inference.depth() == 0


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("generate", {"prompt_path": "prompt.txt", "temperature": 0, "top_k": 0}),
        ("generate", {"prompt_path": "shelf/b.md"}),
        ("score", {"path": "long.txt"}),
        ("score", {"path": "prompt.txt", "detail_level": "per_char", "top_k": 50}),
        ("score", {"text": "a" * 5_000, "detail_level": "per_char", "top_k": 49}),
        ("chat", {"message": "a", "history": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}),
    ],
)  # fmt: skip
def test_what_can_be_answered_is_accepted(
    client: TestClient, model: str, kind: str, order: dict[str, object]
) -> None:
    answer = client.post(f"/runs/{model}/{kind}", json=order)

    assert answer.status_code == 202, answer.text


def test_too_many_guesses_are_refused_with_the_way_out(client: TestClient, model: str) -> None:
    order = {"text": "a" * 5_000, "detail_level": "per_char", "top_k": 50}

    refused = client.post(f"/runs/{model}/score", json=order)

    assert "at most 49 " in refused.json()["message"]
    assert "send parts" in refused.json()["message"]


def test_a_text_too_long_for_its_tokens_to_be_listed_is_refused_with_the_way_out(connect: Connect) -> None:
    settings = settings_with()
    app = settings.app.model_copy(update={"max_body_bytes": 1 << 20})
    service = Service(settings=settings.model_copy(update={"app": app}))
    service.worker_alive(INFERENCE_QUEUE)
    client = connect(service)
    run_id = training(client, service)
    service.finished(run_id)
    text = "a" * (LONGEST_DETAILED_TEXT + 1)

    refused = client.post(f"/runs/{run_id}/score", json={"text": text, "detail_level": "per_char"})
    accepted = client.post(f"/runs/{run_id}/score", json={"text": text})
    fits = client.post(f"/runs/{run_id}/score", json={"text": text[1:], "detail_level": "per_char"})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/text")
    assert "ask for summary" in refused.json()["message"]
    assert (accepted.status_code, fits.status_code) == (202, 202)


@pytest.mark.parametrize(
    ("order", "pointer"),
    [
        ({}, "/texts"),
        ({"texts": []}, "/texts"),
        ({"texts": "one"}, "/texts"),
        ({"texts": ["a", ""]}, "/texts/1"),
        ({"texts": ["a", " \n\t", "b", "\u2003"]}, "/texts/1"),
        ({"texts": ["a", 1]}, "/texts/1"),
        ({"texts": ["a"] * 257}, "/texts"),
        ({"texts": ["a"], "decision": "best"}, "/decision"),
        ({"texts": ["a"], "unknown": 1}, "/unknown"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_field(
    client: TestClient, service: Service, detector: str, order: dict[str, object], pointer: str
) -> None:
    answer = client.post(f"/runs/{detector}/predict", json=order)

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID"), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert service.inference.depth() == 0


def test_every_blank_text_to_judge_is_named(client: TestClient, detector: str) -> None:
    answer = client.post(f"/runs/{detector}/predict", json={"texts": [" ", "a", "\n"]})

    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/texts/0", "/texts/2"]
    assert answer.json()["message"] == "There is nothing to judge in /texts/0, /texts/2."


@pytest.mark.parametrize("kind", list(QUESTIONS))
def test_only_a_completed_model_of_the_right_family_can_be_asked(
    client: TestClient, service: Service, model: str, detector: str, kind: str
) -> None:
    waits = training(client, service) if kind != "predict" else _waiting_detector(client)
    other = model if kind == "predict" else detector

    def ask(run_id: str) -> tuple[int, str, str]:
        answer = client.post(f"/runs/{run_id}/{kind}", json=QUESTIONS[kind])
        return answer.status_code, answer.json()["code"], answer.json()["message"]

    assert ask(waits)[:2] == (409, "CONFLICT")
    assert "is queued; only a completed" in ask(waits)[2]
    assert ask(other)[:2] == (409, "CONFLICT")
    assert re.search("only a (text detector|language model) can", ask(other)[2])
    assert ask(new_ulid())[:2] == (404, "RUN_NOT_FOUND")
    assert ask(_a_tokenizer(client, model))[:2] == (404, "RUN_NOT_FOUND")
    assert service.inference.depth() == 0


def _waiting_detector(client: TestClient) -> str:
    return str(client.post("/runs/train", json=body()).json()["run_id"])


def _a_tokenizer(client: TestClient, model: str) -> str:
    return str(client.get(f"/runs/{model}").json()["spec"]["tokenizer_id"])


@pytest.mark.parametrize("kind", ["score", "generate"])
def test_nothing_is_put_in_line_for_nobody(connect: Connect, kind: str) -> None:
    service = Service()
    client = connect(service)
    run_id = training(client, service)
    service.worker_alive("training")

    early = client.post(f"/runs/{run_id}/{kind}", json=QUESTIONS[kind])
    service.finished(run_id)
    answer = client.post(f"/runs/{run_id}/{kind}", json=QUESTIONS[kind])

    assert early.status_code == 409, "waiting for a process would not help"
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "`model-trainer inference`" in answer.json()["message"]
    assert "retry-after" in answer.headers
    assert service.inference.depth() == 0


def test_when_too_many_wait_others_are_sent_away_for_a_while(connect: Connect) -> None:
    settings = settings_with()
    inference = settings.inference.model_copy(update={"max_waiting": 2})
    service = Service(settings=settings.model_copy(update={"inference": inference}))
    service.worker_alive(INFERENCE_QUEUE)
    client = connect(service)
    run_id = training(client, service)
    service.finished(run_id)

    statuses = [
        client.post(f"/runs/{run_id}/generate", json=QUESTIONS["generate"]).status_code for _ in range(3)
    ]

    assert statuses == [202, 202, 503]


@pytest.mark.parametrize("kind", list(QUESTIONS))
def test_an_answer_that_is_not_there_is_not_found(
    client: TestClient, model: str, detector: str, kind: str
) -> None:
    asked = client.post(f"/runs/{model}/generate", json=QUESTIONS["generate"]).json()["request_id"]

    unknown = client.get(f"/runs/{model}/{kind}/{new_ulid()}")
    elsewhere = client.get(f"/runs/{detector}/generate/{asked}")
    malformed = client.get(f"/runs/{model}/{kind}/..%2f..")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "REQUEST_NOT_FOUND")
    assert elsewhere.status_code == 404
    assert malformed.status_code in (404, 422)
    if kind != "generate":
        assert client.get(f"/runs/{model}/{kind}/{asked}").status_code == 404


@pytest.mark.parametrize("path", ["generate", "chat"])
def test_events_of_a_question_that_is_not_there_are_a_problem(
    client: TestClient, model: str, path: str
) -> None:
    for headers in (SSE, {**SSE, "Last-Event-ID": "3"}):
        answer = client.get(f"/runs/{model}/{path}/{new_ulid()}/events", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "REQUEST_NOT_FOUND")
    for kind in ("score", "predict"):
        assert client.get(f"/runs/{model}/{kind}/{new_ulid()}/events").json()["code"] == "NOT_FOUND"


# Once for each key, together where it can be


def test_a_question_with_a_key_is_asked_once(client: TestClient, service: Service, model: str) -> None:
    url, headers = f"/runs/{model}/generate", {"Idempotency-Key": "intent-1"}
    first = client.post(url, json=QUESTIONS["generate"], headers=headers)
    answer_all(service.inference)
    service.workers.unregister(service.workers.alive()[0].worker_id)

    again = client.post(url, json=QUESTIONS["generate"], headers=headers)
    waited = client.post(url, json=QUESTIONS["generate"], headers={**headers, "Prefer": "wait=5"})
    at_once = client.post(url, json=QUESTIONS["generate"], headers={**headers, "Prefer": "wait=0"})
    other = client.post(url, json={"prompt_text": "Twice"}, headers=headers)
    elsewhere = client.post(f"/runs/{model}/score", json=QUESTIONS["score"], headers=headers)

    assert again.json()["request_id"] == first.json()["request_id"]
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert "idempotent-replayed" not in first.headers
    assert (waited.status_code, waited.json()["status"]) == (200, "completed")
    assert waited.headers["idempotent-replayed"] == "true"
    assert at_once.status_code == 200, "who does not wait gets what is there"
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert elsewhere.json()["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_questions_with_the_same_settings_go_together(
    client: TestClient, service: Service, model: str, detector: str
) -> None:
    def ask(kind: str, **order: object) -> None:
        run_id = detector if kind == "predict" else model
        answer = client.post(f"/runs/{run_id}/{kind}", json={**QUESTIONS[kind], **order})
        assert answer.status_code == 202, answer.text

    ask("generate")
    ask("generate", prompt_text="Twice", seed=7, num_return_sequences=2, stream=True)
    ask("generate", temperature=0.5)
    ask("score")
    ask("score", text="Another", seed=1)
    ask("score", detail_level="per_char")
    ask("predict")
    ask("predict", decision="half")

    batches = [len(take(service.inference)) for _ in range(6)]
    assert batches == [2, 1, 2, 1, 2, 0]


def test_other_trainings_are_asked_for_themselves(client: TestClient, service: Service, model: str) -> None:
    other = training(client, service)
    service.finished(other)
    for run_id in (model, other):
        client.post(f"/runs/{run_id}/generate", json=QUESTIONS["generate"])

    assert [len(take(service.inference)) for _ in range(2)] == [1, 1]


# Conversations


def test_a_conversation_is_gone_on_with_by_its_id(client: TestClient, service: Service, model: str) -> None:
    url = f"/runs/{model}/chat"
    first = client.post(url, json={"message": "Who are you?"}).json()
    busy = client.post(url, json={"message": "And?", "conversation_id": first["conversation_id"]})
    assert (busy.status_code, busy.json()["code"]) == (409, "CONFLICT")
    assert first["request_id"] in busy.json()["message"]
    answer_all(service.inference)
    second = client.post(url, json={"message": "Since when?", "conversation_id": first["conversation_id"]})
    too_early = client.post(url, json={"message": "And?", "conversation_id": first["conversation_id"]})
    another = client.post(url, json={"message": "Who are you?"}).json()

    assert second.status_code == 202, second.text
    assert second.json()["conversation_id"] == first["conversation_id"] != another["conversation_id"]
    assert (too_early.status_code, too_early.json()["code"]) == (409, "CONFLICT")


def test_a_conversation_whose_first_message_failed_is_not_gone_on_with(
    client: TestClient, service: Service, model: str
) -> None:
    url = f"/runs/{model}/chat"
    first = client.post(url, json={"message": "Who are you?"}).json()
    answer_all(service.inference, refusing)

    answer = client.post(url, json={"message": "And?", "conversation_id": first["conversation_id"]})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/conversation_id")
    assert "its first message failed" in answer.json()["message"]
    assert service.inference.depth() == 0


def test_what_was_said_can_be_read(client: TestClient, service: Service, model: str) -> None:
    asked = client.post(f"/runs/{model}/chat", json={"message": "Who are you?"}).json()
    url = asked["links"]["conversation"]

    before = client.get(url)
    answer_all(service.inference)
    said = client.get(url)

    assert (before.status_code, before.json()["code"]) == (404, "REQUEST_NOT_FOUND")
    assert [turn["content"] for turn in said.json()["turns"]] == ["Who are you?", "Yes."]
    assert said.json()["conversation_id"] == asked["conversation_id"]


def test_the_conversation_of_another_model_is_not_gone_on_with(
    client: TestClient, service: Service, model: str
) -> None:
    asked = client.post(f"/runs/{model}/chat", json={"message": "Who are you?"}).json()
    answer_all(service.inference)
    other = training(client, service)
    service.finished(other)
    order = {"message": "And?", "conversation_id": asked["conversation_id"]}

    answer = client.post(f"/runs/{other}/chat", json=order)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/conversation_id")
    assert client.get(f"/runs/{other}/chat/conversations/{asked['conversation_id']}").status_code == 404


# Told as they come


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


# A large answer passes as the text that it is: parsing it would stop all other requests


def test_an_answer_is_shown_as_it_was_written(client: TestClient, service: Service, model: str) -> None:
    asked = client.post(f"/runs/{model}/score", json=QUESTIONS["score"]).json()
    answer_all(service.inference)
    record = service.inference.get(InferenceKind.SCORE, model, asked["request_id"])
    written = '{"loss": 1.50, "tokens": [ ]}'

    shown = question_json(record.model_copy(update={"result": written}))

    assert written in shown
    view = client.get(asked["links"]["self"]).json()
    assert json.loads(shown) == {**view, "result": {"loss": 1.5, "tokens": []}}


# Waiting costs no thread, and ends when nobody waits


class Waiting:
    """Those who wait for the answers of a service, within one event loop."""

    def __init__(self) -> None:
        self.service = Service()
        self.stopping = asyncio.Event()
        self.signal = MemoryRunSignal()
        store = self.service.inference
        self.answers = Answers(
            store,
            Streams(signal=self.signal, stopping=self.stopping),
            signal=self.service.inference_signal,
            stopping=self.stopping,
            poll_seconds=60,
        )
        request = InferenceRequest(
            request_id=new_ulid(),
            kind=InferenceKind.GENERATE,
            run_id=new_ulid(),
            spec={"prompt_text": "Once"},
            batch_key="one",
            http_request_id="r",
        )
        self.record = store.submit(request, idempotency=None).record


def test_many_wait_for_one_answer_and_all_get_it_at_once() -> None:
    async def test() -> None:
        many = Waiting()
        waiting = [
            asyncio.create_task(many.answers.wait(many.record, patience_seconds=60)) for _ in range(200)
        ]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)
        answer_all(many.service.inference)
        found = await asyncio.gather(*waiting)
        assert {one.status for one in found} == {InferenceStatus.COMPLETED}

    run(test)


def test_who_runs_out_of_patience_gets_the_question_as_it_was() -> None:
    async def test() -> None:
        one = Waiting()
        assert await one.answers.wait(one.record, patience_seconds=0.02) == one.record

    run(test)


def test_an_answer_that_has_expired_is_not_waited_for() -> None:
    async def test() -> None:
        one = Waiting()
        gone = one.record.model_copy(
            update={"request": one.record.request.model_copy(update={"request_id": new_ulid()})}
        )
        with pytest.raises(AppError) as refused:
            await one.answers.wait(gone, patience_seconds=20)
        assert refused.value.code is ErrorCode.REQUEST_NOT_FOUND

    run(test)


def test_nobody_waits_for_a_server_that_stops() -> None:
    async def test() -> None:
        one = Waiting()
        waiting = asyncio.create_task(one.answers.wait(one.record, patience_seconds=60))
        await asyncio.sleep(0.02)
        one.stopping.set()
        assert await waiting == one.record

    run(test)


async def responded(response: Response, receive: Callable[[], Awaitable[Message]]) -> list[Message]:
    """What a response sends to a client that says this."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await response({"type": "http", "method": "POST"}, receive, send)
    return sent


def test_a_client_that_leaves_is_not_waited_for() -> None:
    async def test() -> None:
        was_cancelled = asyncio.Event()

        async def coming() -> Response:
            try:
                await asyncio.sleep(60)
            finally:
                was_cancelled.set()
            return Response(status_code=200)

        async def leave() -> Message:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        sent = await responded(AwaitedResponse(coming, instead=lambda: Response(status_code=202)), leave)
        assert was_cancelled.is_set()
        assert sent[0]["status"] == 202

    run(test)


def test_a_client_that_stays_gets_the_answer_or_the_fault() -> None:
    async def test() -> None:
        async def stay() -> Message:
            await asyncio.sleep(60)
            raise AssertionError

        async def coming() -> Response:
            return Response(status_code=200)

        async def failing() -> Response:
            raise AppError(ErrorCode.REQUEST_NOT_FOUND, "It has expired.")

        def instead() -> Response:
            raise AssertionError("made for nobody")

        [start, _] = await responded(AwaitedResponse(coming, instead=instead), stay)
        assert start["status"] == 200
        with pytest.raises(AppError):
            await responded(AwaitedResponse(failing, instead=instead), stay)

    run(test)


class Forgetful(MemoryInferenceStore):
    """Whatever is looked for a second time has expired."""

    num_looks = 0

    def get(self, kind: InferenceKind, run_id: str, request_id: str) -> InferenceRecord:
        self.num_looks += 1
        if self.num_looks > 1:
            raise AppError(ErrorCode.REQUEST_NOT_FOUND, "It has expired.")
        return super().get(kind, run_id, request_id)


def test_an_answer_that_expires_while_it_is_waited_for_is_not_found(service: Service) -> None:
    store = Forgetful(service.settings.inference, clock=time.time, announce=service.inference_signal.announce)
    app = create_app(replace(service.container, inference=store))
    with TestClient(app, raise_server_exceptions=False) as client:
        run_id = training(client, service)
        service.finished(run_id)
        asked = client.post(f"/runs/{run_id}/score", json=QUESTIONS["score"]).json()
        answer = client.get(asked["links"]["self"], headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["code"]) == (404, "REQUEST_NOT_FOUND")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        (["wait=10"], 10.0),
        (["Wait = 10"], 10.0),
        (['wait="10"'], 10.0),
        (["respond-async, wait=10"], 10.0),
        (["respond-async", "wait=10; foo"], 10.0),
        (['foo="a, wait=3", wait=10'], 10.0),
        (["wait=10, wait=3"], 10.0),
        (["wait=1000"], 60.0),
        (["wait=9999999999"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["wait=\N{ARABIC-INDIC DIGIT ONE}"], None),
        (['wait="'], None),
        (["waiting=10"], None),
        ([""], None),
    ],
)
def test_a_preference_that_cannot_be_understood_is_passed_over(
    lines: list[str], seconds: float | None
) -> None:
    headers = [(b"prefer", line.encode("latin-1", "replace")) for line in lines]

    assert preferred_wait(Request({"type": "http", "headers": headers}), most_seconds=60.0) == seconds


def test_the_description_has_every_question_and_an_answer_to_each(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    views = {
        "generate": "GenerationView",
        "score": "ScoreView",
        "chat": "ChatView",
        "predict": "PredictionsView",
    }
    for kind, view in views.items():
        operation = document["paths"][f"/runs/{{run_id}}/{kind}"]["post"]
        shown = operation["responses"]["202"]["content"]["application/json"]
        assert shown["schema"]["$ref"].endswith(f"/{view}")
        assert view in shown["examples"]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"] == shown["schema"]
        assert {"404", "409", "413", "422", "500", "503"} <= set(operation["responses"])
        assert {"Prefer", "Idempotency-Key"} <= {one["name"] for one in operation["parameters"]}
        assert ("text/event-stream" in operation["responses"]["200"]["content"]) == (
            kind in ("generate", "chat")
        )
    assert "/runs/{run_id}/chat/{request_id}/events" in document["paths"]
    assert "/runs/{run_id}/score/{request_id}/events" not in document["paths"]


@pytest.mark.parametrize("kind", list(QUESTIONS))
def test_every_example_of_a_question_fits_its_schema(
    client: TestClient, service: Service, model: str, detector: str, kind: str
) -> None:
    service.corpora.put("prompts/first.txt", "Once")
    document = client.get("/openapi.json").json()
    run_id = detector if kind == "predict" else model
    content = document["paths"][f"/runs/{{run_id}}/{kind}"]["post"]["requestBody"]["content"]

    for name, example in content["application/json"]["examples"].items():
        answer = client.post(f"/runs/{run_id}/{kind}", json=example["value"])
        assert answer.status_code == (422 if name == "continued" else 202), answer.text


def test_a_completed_model_says_what_it_can_be_asked(
    client: TestClient, service: Service, model: str, detector: str
) -> None:
    links = [client.get(f"/runs/{run_id}").json()["links"] for run_id in (model, detector)]

    assert links[0]["generate"] == f"/runs/{model}/generate"
    assert {"score", "chat"} <= set(links[0])
    assert "predict" not in links[0]
    assert links[1]["predict"] == f"/runs/{detector}/predict"
    assert {"model_card", "calibrate", "export"} <= set(links[1])
    assert "generate" not in links[1]
    assert "generate" not in client.get(f"/runs/{training(client, service)}").json()["links"]


def test_questions_in_line_are_counted(client: TestClient, model: str) -> None:
    client.post(f"/runs/{model}/generate", json=QUESTIONS["generate"])

    metrics = client.get("/metrics").text

    assert 'model_trainer_queue_depth{queue="inference"} 1.0' in metrics
    assert 'model_trainer_workers{queue="inference"} 1.0' in metrics
