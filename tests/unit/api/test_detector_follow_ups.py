"""What is ordered on top of a detector: one that begins from it, a calibration, an evaluation, an export."""

import json

import pytest
from starlette.testclient import TestClient

from model_trainer.api.validators.training import ANY_MACHINE
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.training import TrainSpec
from model_trainer.models.recipe_file import write_recipe
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import GIB, Service, ToyFamily
from tests.unit.api.toy_detector import ToyDetector, body, detectors, trained


@pytest.fixture
def service() -> Service:
    """With a family of detectors."""
    return detectors()


def branch_of(service: Service, parent: str, *, layers: int = 3, model_name: str = "") -> dict[str, object]:
    """Gives the parent a recipe; an order that begins from it."""
    asked = (
        body(layers=layers)
        if not model_name
        else body(from_scratch=False, vocab_size=None, model_name=model_name)
    )
    spec = service.registry.parse_train_spec(json.dumps(asked))
    family = ToyDetector()
    recipe = family.resolve(spec, ANY_MACHINE, vocab_size=3072)
    if model_name:
        recipe = recipe.model_copy(
            update={"shape": {**recipe.shape, "hub_layers": 12}}
        )  # as the hub told the worker
    write_recipe(service.artifacts.create("models", parent), recipe)
    return {"init_from": {"run_id": parent}}


def test_a_detector_begins_from_another_with_its_sizes_and_its_tokenizer(
    client: TestClient, service: Service
) -> None:
    parent = trained(client, service, layers=3, vocab_size=None)
    origin = branch_of(service, parent)
    service.worker_alive("training", memory_bytes=GIB)

    too_large = client.post("/runs/train", json=body(vocab_size=None, **origin))
    service.worker_alive("training", memory_bytes=64 * GIB)
    accepted = client.post("/runs/train", json=body(vocab_size=None, **origin))
    other_size = client.post("/runs/train", json=body(vocab_size=None, layers=4, **origin))
    no_sizes = client.post("/runs/train", json=body(vocab_size=None, from_scratch=False, **origin))

    assert "at least 6.0 GiB" in too_large.json()["message"], (
        "three layers and 3072 entries, as in the parent"
    )
    assert (accepted.status_code, accepted.json()["parent_run_id"]) == (202, parent)
    assert other_size.json()["errors"] == [
        {"pointer": "/layers", "message": "must be 3, as in the run it begins from; leave it out"}
    ]
    assert no_sizes.json()["errors"][0] == {
        "pointer": "/from_scratch",
        "message": "must be true, as in the run it begins from",
    }


def test_sizes_of_an_encoder_of_the_hub_are_compared_by_the_worker(
    client: TestClient, service: Service
) -> None:
    hub: dict[str, object] = {"from_scratch": False, "vocab_size": None}
    parent = trained(client, service, **hub, model_name="some/encoder")
    origin = branch_of(service, parent, model_name="some/encoder")

    accepted = client.post("/runs/train", json=body(**hub, **origin))
    other = client.post("/runs/train", json=body(**hub, **origin, model_name="other/encoder"))

    assert accepted.status_code == 202, accepted.text
    assert other.json()["errors"][0] == {
        "pointer": "/model_name",
        "message": 'must be "some/encoder", as in the run it begins from; leave it out',
    }


def test_a_family_that_learns_from_something_else_is_refused(connect: Connect) -> None:
    class OtherSpec(TrainSpec):
        """Neither text nor labels."""

    class Other(ToyFamily):
        name = "other"
        spec: type[TrainSpec] = OtherSpec

    answer = connect(Service(families=[Other()])).post("/runs/train", json={"model_family": "other"})

    assert (answer.status_code, answer.json()["code"]) == (422, "FAMILY_UNKNOWN")
    assert answer.json()["errors"][0]["pointer"] == "/model_family"


# Jobs on a trained detector


@pytest.mark.parametrize(
    ("verb", "kind", "order"),
    [
        ("calibrate", "calibrate", {"decision": "fpr_1"}),
        ("export", "export", {"quantize": True}),
        ("evaluate", "evaluate", {"split": "test"}),
        ("evaluate", "evaluate", {"data_paths": ["shelf"]}),
    ],
)
def test_a_job_on_a_trained_detector_is_a_run_of_its_own(
    client: TestClient, service: Service, verb: str, kind: str, order: dict[str, object]
) -> None:
    run_id = trained(client, service)
    headers = {"Idempotency-Key": "intent-1"}

    first = client.post(f"/runs/{run_id}/{verb}", json=order, headers=headers)
    second = client.post(f"/runs/{run_id}/{verb}", json=order, headers=headers)
    other = client.post(f"/runs/{trained(client, service)}/{verb}", json=order, headers=headers)

    job = first.json()
    assert first.status_code == 202, first.text
    assert (job["kind"], job["parent_run_id"], job["family"]) == (kind, run_id, "toy_detector")
    assert first.headers["location"] == f"/runs/{job['run_id']}"
    assert job["spec"].items() >= order.items()
    assert second.json()["run_id"] == job["run_id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert service.queue.depth("short") == 1


def test_one_key_is_not_for_two_kinds_of_jobs(client: TestClient, service: Service) -> None:
    run_id, headers = trained(client, service), {"Idempotency-Key": "intent-1"}

    assert client.post(f"/runs/{run_id}/calibrate", json={}, headers=headers).status_code == 202
    assert client.post(f"/runs/{run_id}/export", json={}, headers=headers).status_code == 422


@pytest.mark.parametrize("verb", ["calibrate", "export"])
def test_an_order_without_a_body_is_one_with_defaults(
    client: TestClient, service: Service, verb: str
) -> None:
    run_id = trained(client, service)

    assert client.post(f"/runs/{run_id}/{verb}").status_code == 202
    assert client.post(f"/runs/{run_id}/{verb}", json={}).status_code == 202


@pytest.mark.parametrize(
    ("verb", "order", "code", "pointer"),
    [
        ("calibrate", {"unknown": 1}, "CONFIG_INVALID", "/unknown"),
        ("calibrate", {"decision": "best"}, "CONFIG_INVALID", "/decision"),
        ("calibrate", {"length_buckets": [120, 60]}, "CONFIG_INVALID", "/length_buckets"),
        ("export", {"quantize": "yes"}, "CONFIG_INVALID", "/quantize"),
        ("evaluate", {"corpus_path": "demo"}, "CONFIG_INVALID", "/corpus_path"),
        ("evaluate", {}, "CONFIG_INVALID", "/split"),
        ("evaluate", {"split": "train", "data_paths": ["texts.csv"]}, "CONFIG_INVALID", "/split"),
        ("evaluate", {"data_paths": ["absent"]}, "DATA_NOT_FOUND", "/data_paths/0"),
        ("evaluate", {"data_paths": ["texts.csv"], "columns": {"text_col": "x"}}, "CONFIG_INVALID", "/columns/text_col"),
        ("evaluate", {"split": "test"}, "CONFIG_INVALID", "/split"),
        ("evaluate", {"split": "train", "compare_to_run_id": new_ulid()}, "CONFIG_INVALID", "/compare_to_run_id"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_work_is_refused_by_field(
    client: TestClient, service: Service, verb: str, order: dict[str, object], code: str, pointer: str
) -> None:
    run_id = trained(client, service, test_fraction=0.0)

    answer = client.post(f"/runs/{run_id}/{verb}", json=order)

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert service.queue.depth("short") == 0


def test_a_split_that_a_detector_did_not_keep_is_refused_with_the_way_out(
    client: TestClient, service: Service
) -> None:
    run_id = trained(client, service, test_fraction=0.0)

    answer = client.post(f"/runs/{run_id}/evaluate", json={"split": "test"})

    assert answer.json()["message"].endswith("evaluate validation, or data_paths.")


@pytest.mark.parametrize("verb", ["calibrate", "export"])
def test_only_a_completed_detector_can_be_worked_on(client: TestClient, service: Service, verb: str) -> None:
    waiting = str(client.post("/runs/train", json=body()).json()["run_id"])
    language_model = training(client, service)
    service.finished(language_model)

    early = client.post(f"/runs/{waiting}/{verb}", json={})
    wrong = client.post(f"/runs/{language_model}/{verb}", json={})
    unknown = client.post(f"/runs/{new_ulid()}/{verb}", json={})
    no_training = client.post(f"/runs/{tokenizer(client, service)}/{verb}", json={})

    assert (early.status_code, early.json()["code"]) == (409, "CONFLICT")
    assert (wrong.status_code, wrong.json()["code"]) == (409, "CONFLICT")
    assert "detector" in wrong.json()["message"]
    assert (unknown.status_code, no_training.status_code) == (404, 404)
