"""What a trained detector tells of itself: its model card, what its evaluations found."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.calibration import Calibration, ProbabilityQuality, Threshold, Thresholds
from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation, Figure, NullTest, Ranking
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.model_card import ModelCard
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import Service
from tests.unit.api.toy_detector import body, detectors, trained


@pytest.fixture
def service() -> Service:
    """With a family of detectors."""
    return detectors()


def test_only_a_completed_detector_has_a_model_card(client: TestClient, service: Service) -> None:
    waiting = str(client.post("/runs/train", json=body()).json()["run_id"])
    language_model = training(client, service)
    service.finished(language_model)

    def ask(run_id: str) -> tuple[int, str]:
        answer = client.get(f"/runs/{run_id}/model-card")
        return answer.status_code, answer.json()["message"]

    assert ask(waiting)[0] == 409
    assert "is queued; only a completed detector can" in ask(waiting)[1]
    assert ask(language_model)[0] == 409
    assert "trains a toy; only a text detector can" in ask(language_model)[1]
    assert ask(tokenizer(client, service))[0] == 404
    assert ask(new_ulid())[0] == 404


# The model card


def card() -> ModelCard:
    """As an export leaves it."""
    quality = ProbabilityQuality(
        nll=0.3,
        brier=0.1,
        brier_reliability=0.01,
        brier_resolution=0.1,
        brier_uncertainty=0.25,
        ece=0.02,
        slope=1.0,
        intercept=0.0,
    )
    half = Threshold(name="half", value=0.5)
    calibration = Calibration(
        asked=CalibrateSpec(),
        num_human=10,
        num_ai=10,
        logits_sha256="0" * 64,
        focal_gamma=0.0,
        positive_weight=1.0,
        temperature=1.5,
        temperature_at_bound=False,
        bias=0.0,
        optimal_threshold=0.5,
        before=quality,
        after=quality,
        reliability=(),
        thresholds=Thresholds(decision="half", thresholds=(half,), band=None, length_buckets=()),
    )
    return ModelCard(
        name="a detector",
        run_id="01J00000000000000000000000",
        model_family="toy_detector",
        base_model=None,
        num_parameters=10,
        num_embedding_parameters=5,
        max_tokens=8,
        training={},
        data=None,
        calibration=calibration,
        evaluation=None,
        export=None,
        intended_use=("To be tested.",),
        limits=("None of it is true.",),
        libraries={},
    )


def test_the_model_card_comes_as_json_or_as_a_page(client: TestClient, service: Service) -> None:
    run_id = trained(client, service)
    service.write("models", run_id, "model_card.json", card().model_dump_json().encode())
    service.write("models", run_id, "README.md", "# A detector \N{EM DASH} <script>".encode())

    as_json = client.get(f"/runs/{run_id}/model-card")
    page = client.get(f"/runs/{run_id}/model-card", headers={"Accept": "text/markdown"})

    assert (as_json.status_code, as_json.headers["content-type"]) == (200, "application/json")
    assert ModelCard.model_validate_json(as_json.content) == card()
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text == "# A detector \N{EM DASH} <script>"
    assert (page.headers["x-content-type-options"], page.headers["vary"]) == ("nosniff", "Accept")
    assert page.headers["content-security-policy"].startswith("sandbox")
    assert as_json.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", ["*/*", "text/markdown"])
def test_a_model_card_that_is_not_there_is_told_with_the_way_out(
    client: TestClient, service: Service, accept: str
) -> None:
    run_id = trained(client, service)

    answer = client.get(f"/runs/{run_id}/model-card", headers={"Accept": accept})

    assert (answer.status_code, answer.json()["code"]) == (404, "ARTIFACT_NOT_FOUND")
    assert f"POST /runs/{run_id}/calibrate" in answer.json()["message"]


def test_a_damaged_model_card_is_a_fault(client: TestClient, service: Service) -> None:
    run_id = trained(client, service)
    service.write("models", run_id, "model_card.json", b"{}")

    answer = client.get(f"/runs/{run_id}/model-card")

    assert (answer.status_code, answer.json()["code"]) == (500, "ARTIFACT_CORRUPT")


# What evaluations found


def evaluation(split: str) -> DetectorEvaluation:
    """As a job leaves it."""
    figure = Figure(value=0.75)
    return DetectorEvaluation(
        run_id="01J00000000000000000000000",
        evaluation_id="01J00000000000000000000001",
        split=split,
        data_sha256="0" * 64,
        text_sha256="1" * 64,
        num_human=10,
        num_ai=10,
        num_groups=10,
        ranking=Ranking(roc_auc=figure, pr_auc=figure, tpr_at_fpr_1=figure, tpr_at_fpr_5=figure),
        decisions=(),
        decision="half",
        probabilities=card().calibration.after,
        ece_interval=None,
        reliability=(),
        uncertain=0.1,
        slices=(),
        robustness=(),
        null_test=NullTest(roc_auc_low=0.4, roc_auc_high=0.6, p_value=0.01),
        comparison=None,
    )


def test_evaluations_of_a_detector_are_listed_the_first_one_first(
    client: TestClient, service: Service
) -> None:
    run_id = trained(client, service)
    jobs = [
        client.post(f"/runs/{run_id}/evaluate", json={"split": split}).json()["run_id"]
        for split in ("train", "validation")
    ]
    service.write("models", run_id, "eval_metrics.json", evaluation("test").model_dump_json().encode())
    service.finished(jobs[0])
    for job in jobs:
        found = evaluation("train").model_dump_json().encode()
        service.write("models", run_id, f"eval/{job}/eval_metrics.json", found)

    answer = client.get(f"/runs/{run_id}/eval").json()

    assert [one["split"] for one in answer["data"]] == ["test", "train"], "the other job has not ended"
    assert answer["data"][0]["ranking"]["roc_auc"]["value"] == 0.75
    assert [job["run_id"] for job in answer["jobs"]] == jobs[::-1]


def test_before_anything_was_measured_the_list_is_empty(client: TestClient, service: Service) -> None:
    run_id = trained(client, service)

    assert client.get(f"/runs/{run_id}/eval").json()["data"] == []


def test_damaged_metrics_are_a_fault(client: TestClient, service: Service) -> None:
    run_id = trained(client, service)
    service.write("models", run_id, "eval_metrics.json", b'{"run_id": 1}')

    assert client.get(f"/runs/{run_id}/eval").json()["code"] == "ARTIFACT_CORRUPT"
