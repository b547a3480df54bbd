"""The job that turns data into a trained, evaluated, accounted model: what all kinds of models share of it."""

from contextlib import AbstractContextManager
from pathlib import Path

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.detector import DetectorSpec
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.contracts.training import LanguageModelSpec, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FailureClass
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.logging import get_logger
from model_trainer.engine.training.checkpoint import Commit, commit_whole
from model_trainer.models.family import DetectorFamily, LanguageFamily
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.handing_in import hand_in
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HandedOver, HeldRun, Paused
from model_trainer.worker.outcomes import as_app_error
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.workplace import Workplace

log = get_logger(__name__)


def train_model_job(parts: WorkerParts, *, commit: Commit = commit_whole) -> Job:
    """Trains the model a record describes; `commit` is how its checkpoints come to stand under their names."""
    return _TrainModel(parts, commit).job()


class _TrainModel:
    def __init__(self, parts: WorkerParts, commit: Commit) -> None:
        self._parts = parts
        self._commit = commit
        self._account: ArtifactAccount | None = None

    def job(self) -> Job:
        return Job(
            work=self._work, folder=self._folder, ended=self._ended, fallback=ErrorCode.MODEL_TRAIN_FAILED
        )

    def _folder(self, record: RunRecord) -> AbstractContextManager[Path]:
        self._parts.artifacts.create("models", record.run_id)
        return self._parts.artifacts.use("models", record.run_id)

    def _work(self, held: HeldRun, record: RunRecord) -> JobResult:
        spec = self._parts.registry.parse_train_spec(dump_json(record.spec))
        account = ArtifactAccount(
            kind="models",
            record=record,
            seed=spec.seed,
            folder=self._parts.artifacts.folder("models", record.run_id),
        )
        self._account = account
        place = Workplace(parts=self._parts, held=held, record=record, account=account, commit=self._commit)
        try:
            return self._trained(place, spec)
        except Exception as error:
            log.info("training_left", detail=type(error).__name__)
            if _is_given_up(error) and not held.is_lost:  # while the folder is still this worker's
                account.seal_meanwhile(record, self._parts.artifacts)
            raise

    def _trained(self, place: Workplace, spec: TrainSpec) -> JobResult:
        done = self._of_its_kind(place, spec)
        place.held.enter_phase(Phase.FINALIZING, "Accounting for every file")
        place.account.metrics = done.result
        place.account.seal_done(place.record, self._parts.artifacts)
        self._parts.reached(Failpoint.FINISH_SEALED)
        hand_in(self._parts, place.held, place.record, place.account)
        return done

    def _of_its_kind(self, place: Workplace, spec: TrainSpec) -> JobResult:
        """Imports what the kind needs here, so that a language model never waits for plots and ONNX."""
        family = self._parts.registry.family(spec.model_family)
        if isinstance(spec, LanguageModelSpec) and isinstance(family, LanguageFamily):
            from model_trainer.worker.language_training import train_language_model

            return train_language_model(place, family=family, spec=spec)
        if isinstance(spec, DetectorSpec) and isinstance(family, DetectorFamily):
            from model_trainer.worker.detector.training import train_detector

            return train_detector(place, family=family, spec=spec)
        message = (
            f"The family {family.name} is neither of language models nor of detectors. Repair the plug-in."
        )
        raise AppError(ErrorCode.CONFIG_INVALID, message)

    def _ended(self, record: RunRecord) -> None:
        if self._account is not None:
            self._account.seal_as_recorded(record, self._parts.artifacts)
            self._parts.reached(Failpoint.FINISH_RESEALED)


def _is_given_up(error: Exception) -> bool:
    """Whether the run goes on later, so that its account must be true until then."""
    if isinstance(error, Paused | HandedOver):
        return True
    known = as_app_error(error, fallback=ErrorCode.MODEL_TRAIN_FAILED)
    return known.failure_class is FailureClass.TRANSIENT
