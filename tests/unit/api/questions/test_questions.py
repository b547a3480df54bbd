"""Questions to trained models: put in line, answered, and asked once for each key."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.inference import INFERENCE_QUEUE
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import ErrorCode
from tests.unit.api.answering import answer_all, attended, refusing, take
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import training
from tests.unit.api.questions.asked import QUESTIONS
from tests.unit.api.service import Service, settings_with


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
