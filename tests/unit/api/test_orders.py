"""Ordering tokenizers, trainings and evaluations: what is accepted, what is refused, and that nothing is left behind."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from tests.unit.api.orders import BPE_BODY, tokenizer, training
from tests.unit.api.service import Service


def test_a_tokenizer_order_is_accepted_and_waits_in_the_short_queue(
    client: TestClient, service: Service
) -> None:
    answer = client.post("/tokenizers/train", json={**BPE_BODY, "user_id": "u1", "metadata": {"team": "a"}})

    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/tokenizers/{body['tokenizer_id']}"
    assert (body["status"], body["method"], body["vocab_size"]) == ("queued", "bpe", None)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert service.queue.depth("short") == 1
    assert client.get(answer.headers["location"]).json()["metadata"] == {"team": "a"}


def test_a_training_order_is_accepted_and_waits_in_the_training_queue(
    client: TestClient, service: Service
) -> None:
    run_id = training(client, service, metadata={"team": "a"}, user_id="u1")

    body = client.get(f"/runs/{run_id}").json()
    assert (body["status"], body["phase"], body["kind"], body["family"]) == (
        "queued",
        "waiting",
        "train",
        "toy",
    )
    assert body["heartbeat_age_seconds"] is None
    assert body["spec"]["num_layers"] == 2
    assert body["links"]["cancel"] == f"/runs/{run_id}/cancel"
    assert service.queue.depth("training") == 1


def test_a_running_run_shows_its_heartbeat(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.beat(service.claim(run_id), message="step 3")

    body = client.get(f"/runs/{run_id}").json()

    assert (body["status"], body["message"]) == ("running", "step 3")
    assert 0 <= body["heartbeat_age_seconds"] < 60


def test_an_evaluation_of_a_completed_run_is_a_run_of_its_own(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.finished(run_id)

    answer = client.post(f"/runs/{run_id}/evaluate", json={"split": "validation"})

    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/runs/{body['run_id']}"
    assert (body["kind"], body["parent_run_id"], body["family"]) == ("evaluate", run_id, "toy")
    assert body["links"]["parent"] == f"/runs/{run_id}"
    assert client.get(f"/runs/{run_id}/eval").json()["jobs"][0]["run_id"] == body["run_id"]


def test_text_from_outside_can_be_evaluated_against_another_run(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.finished(run_id)

    answer = client.post(
        f"/runs/{run_id}/evaluate", json={"corpus_path": "tiny.txt", "compare_to_run_id": run_id}
    )

    assert answer.status_code == 202


@pytest.mark.parametrize("path", ["/tokenizers/train", "/runs/train", "/runs/{run_id}/evaluate"])
def test_the_same_idempotency_key_gives_back_the_first_order(
    client: TestClient, service: Service, path: str
) -> None:
    run_id = training(client, service)
    service.finished(run_id)
    bodies: dict[str, JsonObject] = {
        "/tokenizers/train": BPE_BODY,
        "/runs/train": {
            "model_family": "toy",
            "corpus_path": "demo",
            "tokenizer_id": tokenizer(client, service),
        },
        "/runs/{run_id}/evaluate": {"split": "train"},
    }
    url, headers = path.format(run_id=run_id), {"Idempotency-Key": "intent-1"}

    first = client.post(url, json=bodies[path], headers=headers)
    second = client.post(url, json=bodies[path], headers=headers)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["location"] == second.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    other = client.post("/tokenizers/train", json={**BPE_BODY, "vocab_size": 301}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_a_repeated_order_is_answered_the_same_although_its_corpus_has_gone(
    client: TestClient, service: Service
) -> None:
    body = {**BPE_BODY, "corpus_path": "short-lived.txt", "vocab_size": 300}
    service.corpora.put("short-lived.txt", "some words of text\n" * 200)
    headers = {"Idempotency-Key": "intent-2"}
    first = client.post("/tokenizers/train", json=body, headers=headers)
    (service.corpora.root / "short-lived.txt").unlink()
    second = client.post("/tokenizers/train", json=body, headers=headers)

    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["tokenizer_id"] == first.json()["tokenizer_id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 300, "\x7f"])
def test_an_idempotency_key_of_another_shape_is_refused(client: TestClient, key: str) -> None:
    answer = client.post("/tokenizers/train", json=BPE_BODY, headers={"Idempotency-Key": key})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"


def test_a_kept_test_split_can_be_evaluated(client: TestClient, service: Service) -> None:
    run_id = training(client, service, test_fraction=0.1)
    service.finished(run_id)

    assert client.post(f"/runs/{run_id}/evaluate", json={"split": "test"}).status_code == 202


def test_a_queued_run_is_cancelled_at_once_and_cancelling_twice_changes_nothing(
    client: TestClient, service: Service
) -> None:
    run_id = training(client, service)

    first = client.post(f"/runs/{run_id}/cancel")
    second = client.post(f"/runs/{run_id}/cancel", content=b"{}")

    assert (first.status_code, first.json()["status"]) == (202, "cancelled")
    assert (second.status_code, second.json()["status"]) == (202, "cancelled")
    assert "cancel" not in second.json()["links"]
    assert service.queue.depth("training") == 0


def test_a_finished_run_cannot_be_cancelled(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.finished(run_id)

    assert client.post(f"/runs/{run_id}/cancel").status_code == 409
    assert client.post(f"/runs/{new_ulid()}/cancel").status_code == 404


def test_cancelling_takes_no_body(client: TestClient, service: Service) -> None:
    answer = client.post(f"/runs/{training(client, service)}/cancel", json={"force": True})

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"{",
        b'{"a": NaN}',
        b"\xff",
        b'{"method":"bpe","method":"char"}',
        b'{"a":{"b":1,"b":2}}',
        b"[" * 9999,
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/tokenizers/train", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    answer = client.post("/tokenizers/train", content=b"{}", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 422
    assert "application/json" in answer.json()["message"]
