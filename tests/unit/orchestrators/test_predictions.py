"""Predictions at once: which detector is loaded, for how long, and that a newer bundle is seen."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.prediction import Prediction, PredictSpec
from model_trainer.core.contracts.run import Phase, Progress, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.orchestrators.detectors import check_trained_detector, is_detector
from model_trainer.orchestrators.predictions import PredictionOrchestrator, load_bundle

ASKED = PredictSpec(texts=("a text",))


def detector(**changes: object) -> RunRecord:
    record = RunRecord(
        run_id=new_ulid(), kind=RunKind.TRAIN, queue="q", family="toy", spec={"data_paths": ["a.csv"]}, user_id=None,
        metadata={}, parent_run_id=None, request_id="r", status=RunStatus.COMPLETED, phase=Phase.DONE, message="",
        reason=None, failure_class=None, problem=None, epoch=1, owner=None, lease_until_ms=0, attempt=1, attempts=(),
        cancel_requested=False, created_at_ms=1, updated_at_ms=1, started_at_ms=1, finished_at_ms=1,
        heartbeat_at_ms=1, progress=Progress(), metrics={}, result={}, last_event_seq=1,
    )  # fmt: skip
    return record.model_copy(update=changes)


class Named:
    """Answers with the content that its bundle's manifest had, and tells of two at once."""

    def __init__(self, content: str) -> None:
        self._content = content
        self._busy = False

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> list[Prediction]:
        assert not self._busy
        self._busy = True
        threading.Event().wait(0.01)
        self._busy = False
        return [
            Prediction(
                probability=0.5,
                verdict="human",
                band="human",
                threshold=0.5,
                threshold_name=decision or "half",
                length_bucket=None,
                logit=0.0,
                num_words=1,
                num_tokens=1,
                windows=(),
                warnings=(self._content,),
            )
            for _ in texts
        ]


class Shelf:
    """Bundles of detectors, and which of them were loaded."""

    def __init__(self, *, kept: int = 2) -> None:
        self.artifacts = MemoryArtifactTree()
        self.loaded: list[str] = []
        self.predictions = PredictionOrchestrator(artifacts=self.artifacts, load=self._load, kept=kept)

    def put(self, run: RunRecord, content: str) -> None:
        bundle = self.artifacts.create("models", run.run_id) / "runtime_bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "manifest.json").write_text(content)

    def said(self, run: RunRecord) -> str:
        return self.predictions.predict(ASKED, run=run).predictions[0].warnings[0]

    def _load(self, bundle: Path) -> Named:
        manifest = bundle / "manifest.json"
        if not manifest.exists():
            raise AppError(ErrorCode.ARTIFACT_NOT_FOUND, "There is no bundle.")
        self.loaded.append(manifest.read_text())
        return Named(manifest.read_text())


def test_a_detector_is_loaded_once_and_again_when_its_bundle_was_made_again() -> None:
    shelf, run = Shelf(), detector()
    shelf.put(run, "first")
    assert [shelf.said(run), shelf.said(run)] == ["first", "first"]

    shelf.put(run, "second")

    assert [shelf.said(run), shelf.said(run)] == ["second", "second"]
    assert shelf.loaded == ["first", "second"]


def test_the_detectors_asked_for_last_stay_loaded() -> None:
    shelf, runs = Shelf(kept=2), [detector() for _ in range(3)]
    for number, run in enumerate(runs):
        shelf.put(run, str(number))

    for number in (0, 1, 0, 2, 0, 1):
        assert shelf.said(runs[number]) == str(number)

    assert shelf.loaded == ["0", "1", "2", "1"]


def test_a_detector_judges_one_request_at_a_time_and_is_loaded_once_for_all() -> None:
    shelf, run = Shelf(), detector()
    shelf.put(run, "only")

    with ThreadPoolExecutor(4) as many:
        said = list(many.map(shelf.said, [run] * 8))

    assert said == ["only"] * 8
    assert shelf.loaded == ["only"]


def test_the_answer_names_the_run_and_the_threshold_asked_for() -> None:
    shelf, run = Shelf(), detector()
    shelf.put(run, "only")

    found = shelf.predictions.predict(PredictSpec(texts=("a", "b"), decision="fpr_5"), run=run)

    assert found.run_id == run.run_id
    assert [one.threshold_name for one in found.predictions] == ["fpr_5", "fpr_5"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_bundle_that_is_not_there_is_told_with_the_way_out(exists: bool) -> None:
    shelf, run = Shelf(), detector()
    if exists:
        shelf.artifacts.create("models", run.run_id)

    with pytest.raises(AppError, match=f"POST /runs/{run.run_id}/export makes the bundle again") as caught:
        shelf.said(run)

    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_other_faults_of_loading_pass_as_they_are() -> None:
    artifacts, run = MemoryArtifactTree(), detector()
    artifacts.create("models", run.run_id)

    def load(_bundle: Path) -> Named:
        raise AppError(ErrorCode.SERVICE_UNAVAILABLE, "pip install onnxruntime")

    with pytest.raises(AppError) as caught:
        PredictionOrchestrator(artifacts=artifacts, load=load).predict(ASKED, run=run)

    assert caught.value.message == "pip install onnxruntime"


def test_the_real_loader_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        load_bundle(tmp_path / "runtime_bundle")

    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": RunStatus.RUNNING}, "is running; only a completed detector can sing"),
        ({"spec": {"corpus_path": "a"}}, "trains a toy; only a text detector can sing"),
        ({"kind": RunKind.EVALUATE}, "trains a toy; only a text detector can sing"),
    ],
)
def test_what_is_no_trained_detector_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    with pytest.raises(AppError, match=why) as caught:
        check_trained_detector(detector(**changes), wanted="sing")

    assert caught.value.code is ErrorCode.CONFLICT


def test_a_job_on_a_detector_is_none_itself() -> None:
    assert is_detector(detector())
    assert not is_detector(detector(kind=RunKind.EVALUATE))
    check_trained_detector(detector(), wanted="sing")
