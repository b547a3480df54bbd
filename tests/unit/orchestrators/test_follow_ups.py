"""Jobs on a finished training: which of them are taken, and what is recorded."""

import time

import pytest

from model_trainer.core.contracts.detector import CalibrateSpec, ExportSpec
from model_trainer.core.contracts.run import Outcome, RunKind, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.persistence.memory_references import MemoryReferences
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree
from model_trainer.infra.storage.stores.memory import MemoryStore
from model_trainer.orchestrators.follow_ups import CalibrationOrchestrator, ExportOrchestrator
from model_trainer.orchestrators.needs import Needs
from tests.contract.run_stores import new_run


class House:
    """Both over one store."""

    def __init__(self) -> None:
        self.queue = MemoryJobQueue()
        self.runs = MemoryRunStore(queue=self.queue, clock=time.time, announce=lambda _: None)
        self.artifacts = MemoryArtifactTree()
        needs = Needs(references=MemoryReferences(), store=MemoryStore(), runs=self.runs)
        self.calibrations = CalibrationOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name="short"
        )
        self.exports = ExportOrchestrator(
            runs=self.runs, artifacts=self.artifacts, needs=needs, queue_name="short"
        )

    def run(self, *, kind: RunKind = RunKind.TRAIN, family: str = "text_detector") -> RunRecord:
        """A queued run."""
        new = new_run(
            kind=kind,
            family=family,
            spec={"data_paths": ["a.csv"]} if family == "text_detector" else {"corpus_path": "a.txt"},
            user_id="u",
        )
        return self.runs.submit(new, idempotency=None).record

    def completed(self, *, kind: RunKind = RunKind.TRAIN, family: str = "text_detector") -> RunRecord:
        """A run that has come to its end."""
        record = self.run(kind=kind, family=family)
        lease = self.runs.claim(record.run_id, epoch=record.epoch, owner="w", host=None, lease_seconds=15)
        assert lease is not None
        return self.runs.finish(lease, Outcome(status=RunStatus.COMPLETED, message=""))


def test_a_calibration_is_a_run_of_its_own_in_the_short_queue_with_its_whole_spec() -> None:
    house = House()
    parent = house.completed()
    record = house.calibrations.start(
        CalibrateSpec(fit_bias=True), parent=parent, request_id="r2", idempotency=None
    ).record
    assert (record.kind, record.queue, record.family) == (RunKind.CALIBRATE, "short", "text_detector")
    assert (record.parent_run_id, record.user_id, record.request_id) == (parent.run_id, "u", "r2")
    assert record.spec == {**CalibrateSpec().model_dump(mode="json"), "fit_bias": True}
    assert house.queue.depth("short") == 1


def test_jobs_of_one_kind_are_listed_apart_from_the_others() -> None:
    house = House()
    parent = house.completed()
    started = house.exports.start(
        ExportSpec(quantize=True), parent=parent, request_id="r", idempotency=None
    ).record
    house.calibrations.start(CalibrateSpec(), parent=parent, request_id="r", idempotency=None)
    assert started.kind is RunKind.EXPORT
    listed = house.exports.list_of(parent_run_id=parent.run_id, limit=5)
    assert [record.run_id for record in listed.records] == [started.run_id]
    assert house.exports.list_of(parent_run_id=parent.run_id, limit=5, after=started.run_id).records == ()


@pytest.mark.parametrize(
    ("kind", "family", "why"),
    [
        (RunKind.TRAIN, "gpt2", "is a training of gpt2; only a detector can be exported"),
        (RunKind.TOKENIZER, "bpe", "is of kind tokenizer; only a detector can be exported"),
        (RunKind.CALIBRATE, "text_detector", "is of kind calibrate; only a detector can be exported"),
    ],
)
def test_what_is_no_detector_is_refused_with_the_reason(kind: RunKind, family: str, why: str) -> None:
    house = House()
    parent = house.completed(kind=kind, family=family)
    with pytest.raises(AppError, match=why) as raised:
        house.exports.start(ExportSpec(), parent=parent, request_id="r", idempotency=None)
    assert (raised.value.code, raised.value.facts) == (ErrorCode.CONFLICT, {"run_id": parent.run_id})
    assert house.queue.depth("short") == 0


def test_a_detector_that_is_not_done_yet_is_refused() -> None:
    house = House()
    with pytest.raises(AppError, match="is queued; only a completed run can be calibrated"):
        house.calibrations.start(CalibrateSpec(), parent=house.run(), request_id="r", idempotency=None)
