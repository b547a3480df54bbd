"""Conversations with trained models, gone on with by their ids."""

from starlette.testclient import TestClient

from tests.unit.api.answering import answer_all, refusing
from tests.unit.api.orders import training
from tests.unit.api.service import Service


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
