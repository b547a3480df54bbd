"""The job that exports a trained detector again, from its saved weights: with int8 or without."""

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.detector import ExportSpec
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.files import write_atomically
from model_trainer.core.logging import get_logger
from model_trainer.engine.calibration.calibrate import read_calibration
from model_trainer.engine.devices import set_threads
from model_trainer.worker.account import close_evaluation
from model_trainer.worker.detector.data import texts_of
from model_trainer.worker.detector.preparing import same_rows
from model_trainer.worker.detector.stages import Sample, card_stage, export_stage, sample_of
from model_trainer.worker.detector.trained import TrainedDetector, find_detector
from model_trainer.worker.follow_up import alone_on, follow_up_job, own_folder, parent_of
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)


def export_model_job(parts: WorkerParts) -> Job:
    """Carries out an export record: the model gets a new bundle, `exports/<its id>/` of the model a copy of the report."""
    return follow_up_job(parts, _ExportModel(parts).work)


class _ExportModel:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    def work(self, held: HeldRun, record: RunRecord) -> JobResult:
        spec = ExportSpec.model_validate_json(dump_json(record.spec))
        held.enter_phase(Phase.STARTING, "Loading the model")
        trained = find_detector(self._parts, parent_of(record))
        judge = trained.judge()
        set_threads(judge.recipe.cpu_threads)
        held.enter_phase(Phase.VALIDATING, "Reading the validation texts")
        sample = self._sample(held, trained) if spec.quantize else ()
        with alone_on(trained.folder, held):
            held.enter_phase(Phase.EXPORTING, "Writing the runtime bundle")
            report = export_stage(
                judge,
                read_calibration(trained.folder),
                sample=sample,
                spec=spec,
                artifact=trained.folder,
                still_wanted=held.check,
            )
            card_stage(trained.folder)
            kept = (trained.folder / files.EXPORT_REPORT).read_bytes()
            write_atomically(own_folder(self._parts, record) / files.EXPORT_REPORT, kept)
            self._parts.reached(Failpoint.FINISH_EVALUATED)
            close_evaluation(record, self._parts.artifacts, evaluated=trained.record)
            self._parts.reached(Failpoint.FINISH_SEALED)
        return _job_result(report)

    def _sample(self, held: HeldRun, trained: TrainedDetector) -> Sample:
        """What int8 is tried on; without it no text is needed, so that a model outlives its data."""
        with faults_at("/quantize"), same_rows(self._parts, trained, report=held.report) as rows:
            return sample_of(texts_of(rows, "validation"), seed=trained.spec.seed)


def _job_result(report: ExportReport) -> JobResult:
    gate = report.quantization
    metrics = {"onnx_difference": report.parity.max_difference}
    if gate is not None:
        metrics |= {"int8_auroc_loss": gate.auroc_loss, "int8_flips": gate.flips}
    why = "" if gate is None else f" int8 {'taken' if gate.passed else 'rejected'}: {gate.why}."
    message = f"Exported, with {report.bundled} weights in the bundle.{why}"
    log.info("detector_exported", detail=message)
    return JobResult(
        message=message,
        metrics=metrics,
        result=as_json(report),
    )
