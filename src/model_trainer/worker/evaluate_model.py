"""The job that measures a trained model again: on one of its splits, or on text from outside."""

from model_trainer.core.contracts.run import RunRecord
from model_trainer.models.family import DetectorFamily
from model_trainer.worker.follow_up import follow_up_job, own_folder
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts


def evaluate_model_job(parts: WorkerParts) -> Job:
    """Carries out an evaluation record; results go to `eval/<evaluation_id>/` of the model."""
    return follow_up_job(parts, _EvaluateModel(parts).work)


class _EvaluateModel:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    def work(self, held: HeldRun, record: RunRecord) -> JobResult:
        folder = own_folder(self._parts, record)
        if isinstance(self._parts.registry.family(record.family), DetectorFamily):
            from model_trainer.worker.detector.evaluation import evaluate_trained_detector

            return evaluate_trained_detector(self._parts, held, record, folder=folder)
        from model_trainer.worker.language_evaluation import evaluate_language_model

        return evaluate_language_model(self._parts, held, record, folder=folder)
