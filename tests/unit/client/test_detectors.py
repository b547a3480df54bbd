"""The client's words for detectors: jobs on them, predictions in portions, their cards and evaluations."""

import json

import httpx
import pytest

from model_trainer.client.questions import WAIT_SECONDS
from model_trainer.client.trainer_client import PORTION_BYTES, PORTION_TEXTS
from model_trainer.client.views import DetectorEvaluationView, EvaluationView
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import RUN_ID, FakeApi, answered, problem, run_view

JOB_ID = "01JD0000000000000000000002"


def figure(value: float) -> dict[str, object]:
    """A number with an interval."""
    return {"value": value, "interval": {"low": value - 0.1, "high": value + 0.1}}


def decisions(name: str, threshold: float) -> dict[str, object]:
    """Verdicts at one threshold."""
    shown = {kind: figure(0.8) for kind in ("f1", "precision", "recall", "accuracy", "mcc")}
    return {"name": name, "threshold": threshold, **shown, "fpr": {"value": 0.0125, "interval": None}}


def detector_evaluation(**changes: object) -> dict[str, object]:
    """An evaluation of a detector as the API shows it."""
    ranking = {name: figure(0.9) for name in ("roc_auc", "pr_auc", "tpr_at_fpr_1", "tpr_at_fpr_5")}
    evaluation: dict[str, object] = {
        "evaluation_id": RUN_ID,
        "split": "test",
        "ranking": ranking,
        "decision": "max_f1",
        "decisions": [decisions("half", 0.5), decisions("max_f1", 0.4321)],
        "comparison": None,
    }
    return evaluation | changes


def prediction(verdict: str = "human", **changes: object) -> dict[str, object]:
    """One judged text as the API shows it."""
    judged: dict[str, object] = {
        "probability": 0.25,
        "verdict": verdict,
        "band": "uncertain",
        "threshold": 0.4321,
        "threshold_name": "max_f1",
        "num_words": 1234,
        "windows": [{"start": 0, "end": 5, "logit": -1.0, "probability": 0.25}],
        "warnings": ["Fewer than 60 words."],
    }
    return judged | changes


def judging(request: httpx.Request) -> httpx.Response:
    """Judges each text by its own words."""
    body: dict[str, list[str]] = json.loads(request.content)
    answers = [prediction(text[:20]) for text in body["texts"]]
    return httpx.Response(200, json=answered("predict", {"run_id": RUN_ID, "predictions": answers}))


def test_jobs_on_a_detector_are_ordered_with_key_and_body() -> None:
    answer = httpx.Response(202, json=run_view(run_id=JOB_ID, status="queued"))
    api = FakeApi()
    for verb in ("calibrate", "export"):
        api.on("POST", f"/runs/{RUN_ID}/{verb}", answer)
    with api.client() as client:
        calibration = client.calibrate(RUN_ID, {"decision": "fpr_1"}, idempotency_key="mine")
        export = client.export(RUN_ID, {"quantize": True})
    assert (calibration.run_id, export.run_id) == (JOB_ID, JOB_ID)
    assert (api.sent(0), api.sent(1)) == ({"decision": "fpr_1"}, {"quantize": True})
    assert api.requests[0].headers["idempotency-key"] == "mine"
    assert len(api.requests[1].headers["idempotency-key"]) == 26


@pytest.mark.parametrize(
    ("texts", "portions"),
    [
        ([], []),
        ([f"text {number}" for number in range(PORTION_TEXTS)], [PORTION_TEXTS]),
        ([f"text {number}" for number in range(PORTION_TEXTS + 1)], [PORTION_TEXTS, 1]),
        (["a" * (PORTION_BYTES // 2), "b" * (PORTION_BYTES // 2), "c"], [1, 2]),
        (["a" * (2 * PORTION_BYTES), "b"], [1, 1]),
        (["\N{GRINNING FACE}" * (PORTION_BYTES // 8), "b" * (PORTION_BYTES // 2)], [1, 1]),
    ],
)
def test_texts_go_in_portions_and_come_back_in_their_order(texts: list[str], portions: list[int]) -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/predict", judging)
    with api.client() as client:
        found = [one.verdict for one in client.predict(RUN_ID, texts)]
    assert found == [text[:20] for text in texts]
    sent: list[dict[str, list[str]]] = [json.loads(request.content) for request in api.requests]
    assert [len(body["texts"]) for body in sent] == portions
    assert all(set(body) == {"texts"} for body in sent)


def test_a_threshold_may_be_named_and_judging_may_take_its_time() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/predict", judging).on("GET", f"/runs/{RUN_ID}", run_view())
    with api.client() as client:
        [found] = client.predict(RUN_ID, ["a"], decision="fpr_1")
        client.run(RUN_ID)
    assert found.windows[0]["logit"] == -1.0
    assert api.sent(0) == {"texts": ["a"], "decision": "fpr_1"}
    patience: list[dict[str, float]] = [request.extensions["timeout"] for request in api.requests]
    assert [one["read"] for one in patience] == [30.0 + WAIT_SECONDS, 30.0]
    assert [one["connect"] for one in patience] == [30.0, 30.0]


def test_a_refused_text_is_the_servers_word() -> None:
    api = FakeApi().on("POST", f"/runs/{RUN_ID}/predict", problem(409, "CONFLICT", "It is running."))
    with api.client() as client, pytest.raises(AppError, match="It is running") as caught:
        list(client.predict(RUN_ID, ["a"]))
    assert caught.value.code is ErrorCode.CONFLICT


def test_the_model_card_is_asked_for_in_two_ways() -> None:
    def card(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] == "text/markdown":
            return httpx.Response(200, content="# A detector \N{EM DASH} of ours".encode())
        return httpx.Response(200, json={"name": "a detector", "run_id": RUN_ID, "limits": ["many"]})

    api = FakeApi().on("GET", f"/runs/{RUN_ID}/model-card", card)
    with api.client() as client:
        assert client.model_card(RUN_ID).model_dump()["limits"] == ["many"]
        assert client.model_card_page(RUN_ID) == "# A detector \N{EM DASH} of ours"


def test_evaluations_are_read_as_what_they_are() -> None:
    metrics = {"loss": 1.5, "perplexity": 4.48, "bits_per_byte": 0.75}
    language = {"evaluation_id": RUN_ID, "split": "validation", "metrics": metrics}
    api = FakeApi().on("GET", f"/runs/{RUN_ID}/eval", {"data": [detector_evaluation(), language]})
    with api.client() as client:
        found = client.evaluations(RUN_ID)
    assert [type(one) for one in found.data] == [DetectorEvaluationView, EvaluationView]
    assert [one.metrics.loss for one in found.of_language_model] == [1.5]
    assert [one.ranking.roc_auc.value for one in found.of_detector] == [0.9]
