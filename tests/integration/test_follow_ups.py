"""Jobs on a trained detector that die, that meet, and that change what others are reading meanwhile."""

import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import CalibrateSpec, ExportSpec
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.run import RunRecord, RunStatus
from model_trainer.core.errors import ErrorCode
from model_trainer.core.failpoints import Failpoint, Reached
from model_trainer.engine.export.bundle import refresh_bundle
from model_trainer.serving.bundle import open_bundle
from model_trainer.worker.inference.loaded import AskedDetector
from model_trainer.worker.manifests import read_manifest, verify
from tests.integration.asked import models_of
from tests.integration.conftest import MakeWorkshop
from tests.integration.workshop import TINY_DETECTOR, Workshop

TEXTS = ("the cat sat on a mat and looked at one small bird", "a bird")


class Killed(BaseException):
    """What nothing in a worker hears, as a kill."""


@dataclass
class Bench:
    """A workshop and a completed detector."""

    workshop: Workshop
    run: RunRecord

    @property
    def folder(self) -> Path:
        return self.workshop.folder(self.run)

    def ordered(self, spec: CalibrateSpec | ExportSpec) -> str:
        container = self.workshop.container
        if isinstance(spec, CalibrateSpec):
            started = container.calibrations.start(spec, parent=self.run, request_id="r-1", idempotency=None)
        else:
            started = container.exports.start(spec, parent=self.run, request_id="r-1", idempotency=None)
        return started.record.run_id

    def calibration(self) -> Calibration:
        return Calibration.model_validate_json((self.folder / "calibration.json").read_bytes())

    def assert_all_of_one_piece(self) -> None:
        """The calibration is the same everywhere, and every file is as the manifest says."""
        calibration = self.calibration()
        assert open_bundle(self.folder / "runtime_bundle").calibration == calibration
        card = ModelCard.model_validate_json((self.folder / "model_card.json").read_bytes())
        assert card.calibration == calibration
        assert verify(self.folder) == []


@pytest.fixture(scope="module")
def bench() -> Bench:
    workshop = Workshop()
    run = workshop.train(TINY_DETECTOR)
    assert run.status is RunStatus.COMPLETED, run.problem
    return Bench(workshop=workshop, run=run)


def dies_at(wanted: Failpoint) -> Reached:
    def reached(point: Failpoint) -> None:
        if point is wanted:
            raise Killed

    return reached


def test_a_job_that_died_when_all_was_done_is_accounted_for_once(bench: Bench) -> None:
    workshop, run_id = bench.workshop, bench.ordered(CalibrateSpec())
    with pytest.raises(Killed):
        workshop.work("short", reached=dies_at(Failpoint.FINISH_SEALED))
    assert [one for one in verify(bench.folder) if one.why != "unlisted"] == []
    workshop.container.runs.reap(workshop.container.runs.held())
    workshop.work("short")
    assert workshop.record(run_id).status is RunStatus.COMPLETED
    bench.assert_all_of_one_piece()
    assert [one.job_id for one in read_manifest(bench.folder).revisions].count(run_id) == 1


def problem_of(record: RunRecord) -> tuple[ErrorCode, str]:
    assert record.problem is not None, record.status
    return record.problem.code, record.problem.message


@pytest.mark.parametrize(
    "spec",
    [CalibrateSpec(decision="youden"), ExportSpec(quantize=True, max_flips=1.0, max_auroc_loss=1.0)],
    ids=["calibration", "export"],
)
def test_a_job_that_died_between_the_models_files_and_its_manifest_is_done_again_and_accounted_for_once(
    bench: Bench, spec: CalibrateSpec | ExportSpec
) -> None:
    workshop, run_id = bench.workshop, bench.ordered(spec)
    with pytest.raises(Killed):
        workshop.work("short", reached=dies_at(Failpoint.FINISH_EVALUATED))
    assert workshop.record(run_id).status is RunStatus.RUNNING, "nobody could say that it had died"
    changed = {one.path for one in verify(bench.folder) if one.why != "unlisted"}
    assert changed, "the manifest is not of these files"
    runs = workshop.container.runs
    assert runs.reap(runs.held()) == (run_id,)
    workshop.work("short")
    record = workshop.record(run_id)
    assert (record.status, record.attempt) == (RunStatus.COMPLETED, 2), record.problem
    bench.assert_all_of_one_piece()
    assert [one.job_id for one in read_manifest(bench.folder).revisions].count(run_id) == 1


def test_two_jobs_on_one_model_come_one_after_the_other(bench: Bench) -> None:
    workshop = bench.workshop
    descriptor = os.open(bench.folder / "model", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    orders = [
        bench.ordered(CalibrateSpec(decision="half")),
        bench.ordered(CalibrateSpec(decision="fpr_5")),
        bench.ordered(ExportSpec()),
    ]
    workers = [threading.Thread(target=workshop.work, args=("short",)) for _ in orders]
    for worker in workers:
        worker.start()
    try:
        while not all("Waiting" in workshop.record(run_id).message for run_id in orders):
            for run_id in orders:
                workshop.wait_until_heeded(run_id)
    finally:
        os.close(descriptor)
        for worker in workers:
            worker.join()
    assert {workshop.record(run_id).status for run_id in orders} == {RunStatus.COMPLETED}
    assert bench.calibration().asked.decision in ("half", "fpr_5")
    bench.assert_all_of_one_piece()
    jobs = [one.job_id for one in read_manifest(bench.folder).revisions]
    assert set(orders) <= set(jobs)
    assert len(jobs) == len(set(jobs))


def test_who_reads_or_judges_while_a_bundle_is_replaced_gets_the_old_one_or_the_new_one(bench: Bench) -> None:
    artifacts = bench.workshop.container.artifacts
    models = models_of(bench.workshop.container)
    before = bench.calibration()
    after = before.model_copy(update={"temperature": 2 * before.temperature})
    expected = {before.temperature, after.temperature}
    judged, read = set[float](), set[float]()
    problems: list[Exception] = []
    is_over = threading.Event()

    def always(ask: Callable[[], None]) -> threading.Thread:
        def go_on() -> None:
            while not is_over.is_set():
                try:
                    ask()
                except Exception as error:  # whatever it is: told below
                    problems.append(error)

        return threading.Thread(target=go_on)

    def judge() -> None:
        with models.use(bench.run.run_id) as in_use:
            assert isinstance(in_use.model, AskedDetector)
            judged.add(in_use.model.judge.judge(TEXTS, decision=None)[0].probability)

    def look() -> None:
        name = "runtime_bundle/calibration.json"
        text = artifacts.file("models", bench.run.run_id, name).read_bytes()
        read.add(Calibration.model_validate_json(text).temperature)

    readers = [always(judge), always(look)]
    for reader in readers:
        reader.start()
    try:
        rounds = 0
        while not problems and (rounds < 100 or len(judged) < 2 or read != expected):
            rounds += 1
            refresh_bundle(bench.folder, after if rounds % 2 else before)
    finally:
        is_over.set()
        for reader in readers:
            reader.join()
        refresh_bundle(bench.folder, before)
    assert problems == []
    assert (len(judged), read) == (2, expected)


def test_a_training_that_ends_with_its_logits_is_calibrated_before_all_else(
    make_workshop: MakeWorkshop,
) -> None:
    workshop = make_workshop()
    run = workshop.train(TINY_DETECTOR, finish=False)
    folder = workshop.folder(run)
    assert run.status is RunStatus.COMPLETED, run.problem
    assert "wait for a calibration" in run.message
    names = {path.name for path in folder.iterdir()}
    assert {"val_logits.npz", "test_logits.npz", "training_config.json", "data_report.json"} <= names
    assert not names & {"calibration.json", "eval_metrics.json", "model.onnx", "runtime_bundle", "README.md"}
    assert verify(folder) == []
    without = (ErrorCode.ARTIFACT_NOT_FOUND, "There is no calibration.json. Calibrate this model first.")
    few: dict[str, object] = {"split": "test", "report": {"bootstrap_samples": 0, "robustness": False}}
    assert problem_of(workshop.export(run)) == without
    assert problem_of(workshop.evaluate(run, **few)) == without
    assert not {path.name for path in folder.iterdir()} & {"model.onnx", "runtime_bundle"}
    calibrated = workshop.calibrate(run)
    assert calibrated.status is RunStatus.COMPLETED, calibrated.problem
    assert {"calibration.json", "thresholds.json", "eval_metrics.json", "README.md", "model_card.json"} <= {
        path.name for path in folder.iterdir()
    }
    exported = workshop.export(run)
    assert exported.status is RunStatus.COMPLETED, exported.problem
    Bench(workshop=workshop, run=run).assert_all_of_one_piece()
    card = ModelCard.model_validate_json((folder / "model_card.json").read_bytes())
    assert card.export is not None, "an export writes the card again"
    evaluated = workshop.evaluate(run, **few)
    assert evaluated.status is RunStatus.COMPLETED, evaluated.problem
    assert verify(folder) == []
