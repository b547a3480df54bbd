"""A detector from its order to a judged text, asked over HTTP alone: real jobs, a real bundle."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from model_trainer.api.main import create_app
from model_trainer.core.artifact_files import BUNDLE, ONNX
from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.prediction import Predictions
from tests.integration.asked import answers_of, be_present
from tests.integration.workshop import TINY_DETECTOR, Workshop
from tests.unit.api.answering import attended

QUEUE, SHORT = "training", "short"
AWAITED = {"Prefer": "wait=60"}
TEXTS = ["the cat sat on a mat and looked at one small bird", "a bird"]


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture(scope="module")
def client(workshop: Workshop) -> Iterator[TestClient]:
    be_present(workshop.container)
    answer = answers_of(workshop.container)
    app = create_app(workshop.container)
    with TestClient(app) as client, attended(workshop.container.inference, answer):
        yield client


@pytest.fixture(scope="module")
def run_id(workshop: Workshop, client: TestClient) -> str:
    answer = client.post("/runs/train", json=TINY_DETECTOR)
    assert answer.status_code == 202, answer.text
    workshop.work(QUEUE)
    run = client.get(answer.headers["location"]).json()
    assert run["status"] == "completed", run["problem"]
    return str(run["run_id"])


def carried_out(
    workshop: Workshop, client: TestClient, path: str, order: dict[str, object]
) -> dict[str, object]:
    answer = client.post(path, json=order)
    assert answer.status_code == 202, answer.text
    workshop.work(SHORT)
    run: dict[str, object] = client.get(answer.headers["location"]).json()
    assert run["status"] == "completed", run["problem"]
    return run


def judged(client: TestClient, run_id: str, **order: object) -> Predictions:
    answer = client.post(f"/runs/{run_id}/predict", json={"texts": TEXTS, **order}, headers=AWAITED)
    assert answer.status_code == 200, answer.text
    return Predictions.model_validate_json(dump_json(answer.json()["result"]))


def test_texts_are_judged_by_the_bundle_and_differently_after_another_calibration(
    workshop: Workshop, client: TestClient, run_id: str
) -> None:
    before = judged(client, run_id, decision="half")
    carried_out(workshop, client, f"/runs/{run_id}/calibrate", {"fit_bias": True, "undo_loss": False})
    after = judged(client, run_id, decision="half")

    assert [one.logit for one in after.predictions] == [one.logit for one in before.predictions]
    assert [one.probability for one in after.predictions] != [one.probability for one in before.predictions]
    assert {one.threshold_name for one in after.predictions} == {"half"}


def test_a_threshold_that_the_calibration_has_not_is_a_wrong_field(client: TestClient, run_id: str) -> None:
    order = {"texts": TEXTS, "decision": "fpr_1"}
    answer = client.post(f"/runs/{run_id}/predict", json=order, headers=AWAITED)

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID"), (
        "too few human texts for 1 %"
    )
    assert answer.json()["errors"][0]["pointer"] == "/decision"


def test_card_and_evaluations_are_there_after_training_and_after_a_job(
    workshop: Workshop, client: TestClient, run_id: str
) -> None:
    job = carried_out(workshop, client, f"/runs/{run_id}/evaluate", {"split": "validation"})

    found = client.get(f"/runs/{run_id}/eval").json()
    card = ModelCard.model_validate_json(client.get(f"/runs/{run_id}/model-card").content)
    page = client.get(f"/runs/{run_id}/model-card", headers={"Accept": "text/markdown"}).text

    assert [one["split"] for one in found["data"]] == ["test", "validation"]
    assert found["jobs"][0]["run_id"] == job["run_id"]
    assert card.run_id == run_id
    assert page.startswith("---\n")


def test_a_part_of_the_bundle_that_is_gone_is_named_and_an_export_makes_it_again(
    workshop: Workshop, client: TestClient, run_id: str
) -> None:
    bundle = workshop.container.artifacts.folder("models", run_id) / BUNDLE
    expected = judged(client, run_id)
    (bundle / ONNX).unlink()
    # It is loaded already, but no longer what lies on disk.
    refused = client.post(f"/runs/{run_id}/predict", json={"texts": TEXTS}, headers=AWAITED)
    carried_out(workshop, client, f"/runs/{run_id}/export", {})
    made_again = judged(client, run_id)

    assert (refused.status_code, refused.json()["code"]) == (404, "ARTIFACT_NOT_FOUND")
    assert ONNX in refused.json()["message"]
    assert f"POST /runs/{run_id}/export" in refused.json()["message"]
    assert made_again == expected
