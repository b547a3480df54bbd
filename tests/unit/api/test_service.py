"""Health, readiness, metrics, what can be trained, evaluations found, and the API's own description."""

import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

import model_trainer
from model_trainer.api.main import create_app, openapi_document
from model_trainer.api.schemas.inference import ChatView, GenerationView, PredictionsView, ScoreView
from model_trainer.api.schemas.problem import ProblemDocument
from model_trainer.api.schemas.run import RunView
from model_trainer.api.schemas.tokenizer import TokenizerView
from model_trainer.core.contracts.base import Contract, parse_json_object
from model_trainer.core.contracts.evaluation import Evaluation, LanguageMetrics, TokenisationStats
from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.storage.stores.memory import MemoryStore
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import Service, settings_with


def test_the_process_says_that_it_answers(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "version": model_trainer.__version__}


def test_it_is_ready_with_a_store_a_worker_for_each_queue_and_disk(
    client: TestClient, service: Service
) -> None:
    nobody = client.get("/readyz")
    service.worker_alive("training")
    service.worker_alive("short")
    service.worker_alive("short")
    unasked = client.get("/readyz")
    service.worker_alive("inference")
    ready = client.get("/readyz")

    assert nobody.status_code == 503
    assert [error["pointer"] for error in nobody.json()["errors"]] == [
        "/workers/training",
        "/workers/short",
        "/workers/inference",
    ]
    assert [error["pointer"] for error in unasked.json()["errors"]] == ["/workers/inference"]
    assert nobody.headers["retry-after"] == "5"
    assert (ready.status_code, ready.json()["workers"]) == (
        200,
        {"training": 1, "short": 2, "inference": 1},
    )


def test_a_full_disk_is_not_ready(connect: Connect) -> None:
    settings = settings_with()
    app = settings.app.model_copy(update={"min_free_disk_bytes": 1 << 62})
    service = Service(settings=settings.model_copy(update={"app": app}))
    for queue in ("training", "short", "inference"):
        service.worker_alive(queue)

    answer = connect(service).get("/readyz")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (503, "/disk")


class AwayStore(MemoryStore):
    """A store of artifacts that cannot be worked with."""

    def check(self) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "The bucket is away.")


def test_without_its_artifact_store_it_is_not_ready(connect: Connect) -> None:
    service = Service()
    for queue in ("training", "short", "inference"):
        service.worker_alive(queue)
    service.container = replace(service.container, store=AwayStore())

    answer = connect(service).get("/readyz")

    assert answer.status_code == 503
    assert [(each["pointer"], each["message"]) for each in answer.json()["errors"]] == [
        ("/artifact_store", "The bucket is away.")
    ]


class AwayRuns(MemoryRunStore):
    """A store that does not answer."""

    def ping(self) -> None:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")

    def status_counts(self) -> dict[tuple[str, str], int]:
        raise AppError(ErrorCode.STORE_UNAVAILABLE, "Redis is away.")


def test_without_its_store_it_is_not_ready_and_metrics_say_so(connect: Connect) -> None:
    client = connect(Service(run_store=AwayRuns))

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (503, "/store")
    assert "model_trainer_store_up 0.0" in client.get("/metrics").text


def test_metrics_count_runs_queues_workers_and_requests(client: TestClient, service: Service) -> None:
    service.worker_alive("training")
    training(client, service)

    text = client.get("/metrics").text

    assert 'model_trainer_runs{kind="train",status="queued"} 1.0' in text
    assert 'model_trainer_queue_depth{queue="training"} 1.0' in text
    assert 'model_trainer_workers{queue="training"} 1.0' in text
    assert "model_trainer_store_up 1.0" in text
    assert 'model_trainer_http_requests_total{code="202",method="POST",route="/runs/train"} 1.0' in text
    assert "model_trainer_http_request_duration_seconds_bucket" in text


def test_two_apps_in_one_process_count_apart() -> None:
    first, second = create_app(Service().container), create_app(Service().container)
    first.telemetry.observe(route="/x", method="GET", status=200, seconds=0.1)

    assert b'route="/x"' in first.telemetry.exposition()
    assert b'route="/x"' not in second.telemetry.exposition()


def test_families_and_tokenizers_are_listed_with_their_schemas(client: TestClient, service: Service) -> None:
    listed = client.get("/families").json()

    (family,) = listed["families"]
    assert (family["name"], family["supported_tokenizers"]) == ("toy", ["bpe", "char"])
    assert family["json_schema"]["properties"]["num_layers"]["default"] == 2
    assert family["example"]["model_family"] == "toy"
    assert [kind["name"] for kind in listed["tokenizers"]] == ["bpe", "char", "sentencepiece"]
    assert all(kind["available"] for kind in listed["tokenizers"])


def test_a_tokenizer_is_available_where_a_worker_has_its_library(
    client: TestClient, service: Service
) -> None:
    def sentencepiece() -> tuple[bool, list[str]]:
        kind = client.get("/families").json()["tokenizers"][2]
        return kind["available"], kind["missing_modules"]

    service.worker_alive("short")
    assert sentencepiece() == (False, ["sentencepiece", "tokenizers"])
    service.worker_alive("short", extras=("sentencepiece",))
    assert sentencepiece() == (True, [])


def found_by(evaluation_id: str, run_id: str) -> Evaluation:
    """A result."""
    return Evaluation(
        run_id=run_id,
        evaluation_id=evaluation_id,
        split="validation",
        corpus_sha256="c",
        text_sha256="x",
        tokenizer_sha256="t",
        metrics=LanguageMetrics(
            loss=1.0,
            perplexity=2.7,
            bits_per_byte=1.1,
            nats_per_char=0.9,
            accuracy=0.5,
            num_tokens=10,
            num_bytes=20,
            num_characters=20,
            protocol="p",
        ),
        samples=None,
        tokenisation=TokenisationStats(
            tokens_per_char=0.5,
            tokens_per_word=2.0,
            bytes_per_token=2.0,
            document_tokens_mean=1.0,
            document_tokens_p50=1.0,
            document_tokens_p95=1.0,
            document_tokens_max=1,
        ),
        comparison=None,
    )


def test_evaluations_of_a_training_are_found_together(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    assert client.get(f"/runs/{run_id}/eval").json() == {
        "run_id": run_id,
        "data": [],
        "jobs": [],
        "has_more": False,
    }
    service.finished(run_id)
    service.write("models", run_id, "eval/metrics.json", found_by(run_id, run_id).model_dump_json().encode())
    asked, waiting = (
        client.post(f"/runs/{run_id}/evaluate", json={"split": "validation"}).json()["run_id"]
        for _ in range(2)
    )
    service.finished(asked, parse_json_object(found_by(asked, run_id).model_dump_json()))

    shown = client.get(f"/runs/{run_id}/eval").json()

    assert [evaluation["evaluation_id"] for evaluation in shown["data"]] == [run_id, asked]
    assert {job["run_id"]: job["status"] for job in shown["jobs"]} == {asked: "completed", waiting: "queued"}
    assert client.get(f"/runs/{tokenizer(client, service)}/eval").status_code == 404


def test_many_evaluations_come_in_pages_the_one_after_training_on_the_first(
    client: TestClient, service: Service
) -> None:
    run_id = training(client, service)
    service.finished(run_id)
    service.write("models", run_id, "eval/metrics.json", found_by(run_id, run_id).model_dump_json().encode())
    asked = [
        client.post(f"/runs/{run_id}/evaluate", json={"split": "validation"}).json()["run_id"]
        for _ in range(3)
    ]
    for each in asked:
        service.finished(each, parse_json_object(found_by(each, run_id).model_dump_json()))
    newest_first = sorted(asked, reverse=True)

    first = client.get(f"/runs/{run_id}/eval?limit=2").json()
    rest = client.get(f"/runs/{run_id}/eval?after={first['jobs'][-1]['run_id']}").json()

    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [found["evaluation_id"] for found in first["data"]] == [run_id, *newest_first[:2]]
    assert [found["evaluation_id"] for found in rest["data"]] == newest_first[2:]
    assert client.get(f"/runs/{run_id}/eval?limit=0").status_code == 422


def test_a_damaged_evaluation_is_said_to_be_damaged(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.write("models", run_id, "eval/metrics.json", b"{}")

    assert client.get(f"/runs/{run_id}/eval").json()["code"] == "ARTIFACT_CORRUPT"


def test_the_description_is_the_same_bytes_each_time() -> None:
    assert openapi_document(Service().container) == openapi_document(Service().container)


def test_every_operation_has_an_id_of_its_own_and_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]

    assert len(set(ids)) == len(ids) == 45
    for operation in operations:
        assert "application/problem+json" in operation["responses"]["422"]["content"], operation[
            "operationId"
        ]
        assert operation["summary"]


def test_every_reference_of_the_description_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    references = [part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]]
    targets = {
        f"#/components/{group}/{name}"
        for group in ("schemas", "examples")
        for name in document["components"][group]
    }

    assert references
    assert set(references) <= targets


@pytest.mark.parametrize(
    "view", [RunView, TokenizerView, GenerationView, ScoreView, ChatView, PredictionsView, ProblemDocument]
)
def test_a_main_answer_has_an_example_that_is_one(client: TestClient, view: type[Contract]) -> None:
    name = view.__name__
    document = client.get("/openapi.json").json()
    example = document["components"]["examples"][name]["value"]
    contents = [
        (status, content)
        for path in document["paths"].values()
        for operation in path.values()
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if content.get("schema") == {"$ref": f"#/components/schemas/{name}"}
    ]
    shown = [(status, content) for status, content in contents if "examples" in content]

    view.model_validate_json(json.dumps(example))
    assert shown == [one for one in contents if name != "ProblemDocument" or one[0] == "422"]
    assert shown
    for _, content in shown:
        assert content["examples"] == {name: {"$ref": f"#/components/examples/{name}"}}


def test_bodies_are_described_by_discriminator_with_examples(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/runs/train"]["post"]["requestBody"]["content"]["application/json"]

    assert content["schema"]["discriminator"] == {
        "propertyName": "model_family",
        "mapping": {"toy": "#/components/schemas/ToySpec"},
    }
    assert content["examples"]["toy"]["value"]["model_family"] == "toy"
    assert document["components"]["schemas"]["ToySpec"]["properties"]["num_layers"]


def test_query_parameters_are_described_with_their_bounds(client: TestClient) -> None:
    parameters = client.get("/openapi.json").json()["paths"]["/runs"]["get"]["parameters"]
    by_name = {parameter["name"]: parameter for parameter in parameters}

    assert by_name["limit"]["schema"]["maximum"] == 100
    assert by_name["metadata"]["style"] == "deepObject"
    download = client.get("/openapi.json").json()["paths"]["/artifacts/{kind}/{item_id}/download"]["get"]
    assert next(parameter for parameter in download["parameters"] if parameter["name"] == "path")["required"]


@pytest.mark.parametrize("name", ["ProblemDocument", "RunView", "EvaluateSpec", "BpeSpec", "JobQueued"])
def test_the_shapes_that_travel_are_described(client: TestClient, name: str) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]

    assert name in schemas


def test_a_worker_of_another_queue_does_not_count(client: TestClient, service: Service) -> None:
    service.worker_alive("elsewhere")
    assert isinstance(service.workers.alive()[0], Worker)
    assert client.get("/readyz").status_code == 503
