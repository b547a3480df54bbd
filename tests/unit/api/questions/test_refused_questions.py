"""Questions to trained models that are refused: each by field, with the way out, and nothing is put in line."""

import re

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.inference import INFERENCE_QUEUE, LONGEST_DETAILED_TEXT
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import training
from tests.unit.api.questions.asked import QUESTIONS
from tests.unit.api.service import Service, settings_with
from tests.unit.api.streams import SSE
from tests.unit.api.toy_detector import body


@pytest.mark.parametrize(
    ("kind", "order", "code", "pointer"),
    [
        ("generate", {}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": ""}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": " \n\t\u2003"}, "CONFIG_INVALID", "/prompt_text"),
        ("generate", {"prompt_text": "a", "prompt_path": "prompt.txt"}, "CONFIG_INVALID", "/prompt_text"),
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
        ("score", {}, "CONFIG_INVALID", "/text"),
        ("score", {"text": "a", "path": "prompt.txt"}, "CONFIG_INVALID", "/text"),
        ("score", {"text": "\n"}, "CONFIG_INVALID", "/text"),
        ("score", {"text": "a", "top_k": 3}, "CONFIG_INVALID", "/top_k"),
        ("score", {"text": "a", "detail_level": "per_char", "top_k": 51}, "CONFIG_INVALID", "/top_k"),
        ("score", {"text": "a" * 5_000, "detail_level": "per_char", "top_k": 50}, "CONFIG_INVALID", "/top_k"),
        ("score", {"text": "a", "detail_level": "all"}, "CONFIG_INVALID", "/detail_level"),
        ("score", {"path": "shelf"}, "CONFIG_INVALID", "/path"),
        ("score", {"path": "long.txt", "detail_level": "per_char"}, "CONFIG_INVALID", "/path"),
        ("chat", {}, "CONFIG_INVALID", "/message"),
        ("chat", {"message": " "}, "CONFIG_INVALID", "/message"),
        ("chat", {"message": "a", "conversation_id": "last"}, "CONFIG_INVALID", "/conversation_id"),
        ("chat", {"message": "a", "conversation_id": new_ulid()}, "CONFIG_INVALID", "/conversation_id"),
        ("chat", {"message": "a", "conversation_id": new_ulid(), "system": "b"}, "CONFIG_INVALID", "/conversation_id"),
        ("chat", {"message": "a", "history": [{"role": "assistant", "content": "b"}]}, "CONFIG_INVALID", "/history"),
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
