"""The job that calibrates a trained detector again, from the logits it has of its validation texts."""

from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.detector import CalibrateSpec
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.files import write_atomically
from model_trainer.core.logging import get_logger
from model_trainer.engine.calibration.calibrate import write_calibration
from model_trainer.engine.data.logits import Logits, read_logits
from model_trainer.worker.account import close_evaluation
from model_trainer.worker.detector.baselines import former_baseline, with_baseline
from model_trainer.worker.detector.results import figures_of, sentence_of, tell_evaluated
from model_trainer.worker.detector.stages import (
    Subject,
    calibrate_stage,
    card_stage,
    evaluate_stage,
    refresh_stage,
)
from model_trainer.worker.detector.trained import TrainedDetector, find_detector
from model_trainer.worker.follow_up import alone_on, follow_up_job, own_folder, parent_of
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)


def calibrate_model_job(parts: WorkerParts) -> Job:
    """Carries out a calibration record: `calibrations/<its id>/` of the model holds the result, and the model takes it."""
    return follow_up_job(parts, _CalibrateModel(parts).work)


class _CalibrateModel:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    def work(self, held: HeldRun, record: RunRecord) -> JobResult:
        spec = CalibrateSpec.model_validate_json(dump_json(record.spec))
        held.enter_phase(Phase.STARTING, "Reading the model's logits")
        trained = find_detector(self._parts, parent_of(record))
        with alone_on(trained.folder, held):
            return self._calibrated(held, record, spec=spec, trained=trained)

    def _calibrated(
        self, held: HeldRun, record: RunRecord, *, spec: CalibrateSpec, trained: TrainedDetector
    ) -> JobResult:
        """All of it into the job's own folder; then, without a stop in between, into the model's."""
        folder, artifact = own_folder(self._parts, record), trained.folder
        validation = read_logits(artifact / files.VALIDATION_LOGITS)
        split, evaluated = _evaluated(artifact, validation)
        held.enter_phase(Phase.CALIBRATING, "Fitting probabilities and thresholds")
        baseline = former_baseline(self._parts, trained.record, asked=trained.spec.compare_to_run_id)
        calibration = calibrate_stage(validation, config=trained.config, spec=spec, folder=folder)
        held.enter_phase(Phase.EVALUATING, f"Measuring on the {split} split")
        evaluation = evaluate_stage(
            evaluated,
            calibration,
            subject=Subject(
                run_id=trained.record.run_id,
                evaluation_id=record.run_id,
                split=split,
                data_sha256=trained.config.data_sha256,
            ),
            spec=trained.spec.report,
            baseline=with_baseline(baseline, evaluated),
            folder=folder,
        )
        held.enter_phase(Phase.FINALIZING, "Putting it in the model's place")
        write_calibration(calibration, artifact)
        _take_over(folder, artifact)
        refresh_stage(artifact, calibration)
        card_stage(artifact)
        self._parts.reached(Failpoint.FINISH_EVALUATED)
        close_evaluation(record, self._parts.artifacts, evaluated=trained.record)
        self._parts.reached(Failpoint.FINISH_SEALED)
        return _job_result(held, evaluation, calibration)


def _evaluated(artifact: Path, validation: Logits) -> tuple[SplitName, Logits]:
    """What the training was evaluated on: its test split, or validation where it has none."""
    path = artifact / files.TEST_LOGITS
    return ("test", read_logits(path)) if path.exists() else ("validation", validation)


def _take_over(folder: Path, artifact: Path) -> None:
    """The evaluation in the job's folder becomes the model's."""
    (artifact / files.PLOTS).mkdir(exist_ok=True)
    for path in (folder / files.DETECTOR_METRICS, *sorted((folder / files.PLOTS).iterdir())):
        write_atomically(artifact / path.relative_to(folder), path.read_bytes())


def _job_result(held: HeldRun, evaluation: DetectorEvaluation, calibration: Calibration) -> JobResult:
    tell_evaluated(held, evaluation)
    message = f"Temperature {calibration.temperature:.3f}. {sentence_of(evaluation)}"
    log.info("detector_calibrated", detail=message)
    return JobResult(
        message=message,
        metrics={**figures_of(evaluation), "temperature": calibration.temperature},
        result={"calibration": as_json(calibration), "evaluation": as_json(evaluation)},
    )
