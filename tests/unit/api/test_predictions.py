"""What a trained detector answers at once: predictions, its model card, what its evaluations found."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_trainer.api.main import Application
from model_trainer.api.routes.detectors import AT_ONCE
from model_trainer.core.contracts.calibration import Calibration, ProbabilityQuality, Threshold, Thresholds
from model_trainer.core.contracts.detector import CalibrateSpec, DecisionName
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation, Figure, NullTest, Ranking
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.prediction import Prediction, WindowScore
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.orchestrators.predictions import Judge, PredictionOrchestrator
from tests.unit.api.service import Service
from tests.unit.api.test_orders import tokenizer, training
from tests.unit.api.toy_detector import body, detectors, trained

MANIFEST = "runtime_bundle/manifest.json"
Serve = Callable[[Service, Callable[[Path], Judge]], TestClient]


def judged(text: str, decision: DecisionName | None) -> Prediction:
    """Long texts are AI's."""
    probability = 0.9 if len(text) > 20 else 0.1
    return Prediction(
        probability=probability,
        verdict="ai" if probability > 0.5 else "human",
        band="ai" if probability > 0.5 else "human",
        threshold=0.5,
        threshold_name=decision or "half",
        length_bucket=None,
        logit=2.0,
        num_words=len(text.split()),
        num_tokens=3,
        windows=(WindowScore(start=0, end=len(text), logit=2.0, probability=probability),),
    )


class LengthJudge:
    """Judges by length."""

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> list[Prediction]:
        return [judged(text, decision) for text in texts]


class PatientJudge(LengthJudge):
    """Waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> list[Prediction]:
        self.begun.release()
        assert self.go.wait(30)
        return super().judge(texts, decision=decision)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Clients of services whose bundles are loaded by a function of the test's."""
    with ExitStack() as stack:

        def to(service: Service, load: Callable[[Path], Judge]) -> TestClient:
            predictions = PredictionOrchestrator(artifacts=service.artifacts, load=load)
            app = Application(service.container, predictions=predictions)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield to


@pytest.fixture
def service() -> Service:
    """With a family of detectors."""
    return detectors()


@pytest.fixture
def client(service: Service, serve: Serve) -> TestClient:
    """Texts are judged by their length."""
    return serve(service, lambda _bundle: LengthJudge())


def exported(client: TestClient, service: Service) -> str:
    """A completed detector with the manifest of a bundle."""
    run_id = trained(client, service)
    service.write("models", run_id, MANIFEST, b"{}")
    return run_id


def test_texts_are_judged_in_their_order(client: TestClient, service: Service) -> None:
    run_id = exported(client, service)

    answer = client.post(
        f"/runs/{run_id}/predict",
        json={"texts": ["short", "rather a long text, is it not"], "decision": "fpr_1"},
    )

    found = answer.json()
    assert (answer.status_code, found["run_id"]) == (200, run_id), answer.text
    assert [one["verdict"] for one in found["predictions"]] == ["human", "ai"]
    assert found["predictions"][0]["threshold_name"] == "fpr_1"
    assert found["predictions"][1]["windows"] == [{"start": 0, "end": 29, "logit": 2.0, "probability": 0.9}]


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
    client: TestClient, service: Service, order: dict[str, object], pointer: str
) -> None:
    answer = client.post(f"/runs/{exported(client, service)}/predict", json=order)

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID"), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_every_blank_text_is_named(client: TestClient, service: Service) -> None:
    answer = client.post(f"/runs/{exported(client, service)}/predict", json={"texts": [" ", "a", "\n"]})

    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/texts/0", "/texts/2"]
    assert answer.json()["message"] == "There is nothing to judge in /texts/0, /texts/2."


def test_more_text_than_a_body_may_hold_is_refused(client: TestClient, service: Service) -> None:
    answer = client.post(f"/runs/{exported(client, service)}/predict", json={"texts": ["a" * 20_000]})

    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("path", ["predict", "model-card"])
def test_only_completed_detectors_can_be_asked(client: TestClient, service: Service, path: str) -> None:
    waiting = str(client.post("/runs/train", json=body()).json()["run_id"])
    language_model = training(client, service)
    service.finished(language_model)

    def ask(run_id: str) -> tuple[int, str]:
        url = f"/runs/{run_id}/{path}"
        answer = client.post(url, json={"texts": ["a"]}) if path == "predict" else client.get(url)
        return answer.status_code, answer.json()["message"]

    assert ask(waiting)[0] == 409
    assert "is queued; only a completed detector can" in ask(waiting)[1]
    assert ask(language_model)[0] == 409
    assert "trains a toy; only a text detector can" in ask(language_model)[1]
    assert ask(tokenizer(client, service))[0] == 404
    assert ask(new_ulid())[0] == 404


@pytest.mark.parametrize(
    ("code", "status"), [(ErrorCode.ARTIFACT_NOT_FOUND, 404), (ErrorCode.ARTIFACT_CORRUPT, 500)]
)
def test_a_bundle_that_is_not_whole_is_named_with_the_way_out(
    service: Service, serve: Serve, code: ErrorCode, status: int
) -> None:
    def load(_bundle: Path) -> Judge:
        raise AppError(code, "The runtime bundle lacks model.onnx.")

    client = serve(service, load)
    run_id = exported(client, service)

    answer = client.post(f"/runs/{run_id}/predict", json={"texts": ["a"]})

    assert (answer.status_code, answer.json()["code"]) == (status, code.value)
    assert answer.json()["message"] == (
        f"The runtime bundle lacks model.onnx. POST /runs/{run_id}/export makes the bundle again."
    )


def test_a_missing_library_is_a_service_that_is_missing(service: Service, serve: Serve) -> None:
    def load(_bundle: Path) -> Judge:
        raise AppError(ErrorCode.SERVICE_UNAVAILABLE, "pip install onnxruntime tokenizers numpy.")

    client = serve(service, load)

    answer = client.post(f"/runs/{exported(client, service)}/predict", json={"texts": ["a"]})

    assert (answer.status_code, answer.json()["message"]) == (
        503,
        "pip install onnxruntime tokenizers numpy.",
    )


def test_judging_leaves_the_threads_of_other_requests_alone(service: Service, serve: Serve) -> None:
    judge = PatientJudge()
    client = serve(service, lambda _bundle: judge)
    run_id = exported(client, service)

    def ask() -> int:
        return client.post(f"/runs/{run_id}/predict", json={"texts": ["a"]}).status_code

    with ThreadPoolExecutor(AT_ONCE + 1) as many:
        asked = [many.submit(ask) for _ in range(AT_ONCE + 1)]
        assert judge.begun.acquire(timeout=30)
        seen = client.get(f"/runs/{run_id}").status_code
        judge.go.set()
        statuses = [one.result() for one in asked]
    assert (seen, statuses) == (200, [200] * (AT_ONCE + 1))


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
