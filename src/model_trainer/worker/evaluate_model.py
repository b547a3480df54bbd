"""The job that measures a trained model again: on one of its splits, or on text from outside."""

from pathlib import Path

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import ErrorCode
from model_trainer.models.family import DetectorFamily
from model_trainer.worker.account import close_evaluation
from model_trainer.worker.follow_up import own_folder, parent_of
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts


def evaluate_model_job(parts: WorkerParts) -> Job:
    """Carries out an evaluation record; results go to `eval/<evaluation_id>/` of the model."""
    return _EvaluateModel(parts).job()


class _EvaluateModel:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts

    def job(self) -> Job:
        return Job(
            work=self._work, folder=self._folder, ended=self._ended, fallback=ErrorCode.EVALUATION_FAILED
        )

    def _folder(self, record: RunRecord) -> Path:
        return own_folder(self._parts, record)

    def _work(self, held: HeldRun, record: RunRecord) -> JobResult:
        folder = self._folder(record)
        if isinstance(self._parts.registry.family(record.family), DetectorFamily):
            from model_trainer.worker.detector.evaluation import evaluate_trained_detector

            return evaluate_trained_detector(self._parts, held, record, folder=folder)
        from model_trainer.worker.language_evaluation import evaluate_language_model

        return evaluate_language_model(self._parts, held, record, folder=folder)

    def _ended(self, record: RunRecord) -> None:
        evaluated = self._parts.other_run(parent_of(record))
        close_evaluation(record, self._parts.artifacts, evaluated=evaluated)
