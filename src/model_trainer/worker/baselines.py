"""Which earlier run a model is compared with, and by which of its evaluations."""

from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.run import RunKind, RunQuery, RunRecord, RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.logging import get_logger
from model_trainer.engine.evaluation.compare import read_evaluation
from model_trainer.engine.evaluation.evaluate import METRICS_FILE
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)

_LOOK_BACK = 100
_FIELD = "/compare_to_run_id"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A completed training and what has been measured of it."""

    final: Evaluation
    """Of its own validation split, at its end."""
    later: tuple[Evaluation, ...]
    """Asked for since, newest first."""

    def on_text(self, text_sha256: str) -> Evaluation:
        """An evaluation on this very text; where there is none, the final one: the figures still stand side by side."""
        for evaluation in (self.final, *self.later):
            if evaluation.text_sha256 == text_sha256:
                return evaluation
        return self.final


def find_baseline(parts: WorkerParts, record: RunRecord, *, asked: str | None) -> Baseline | None:
    """The training asked for; else the one that `record` began from; else the newest completed one before it of the same
    family on the same corpus.

    Raises RUN_NOT_FOUND, CONFLICT or ARTIFACT_CORRUPT when the training asked for has no evaluation that can be read.
    When nothing was asked for, trainings without one are passed over; None when there is no other.
    """
    if asked is not None:
        with faults_at(_FIELD):
            return _baseline_of(parts, parts.other_run(asked))
    parent = _parent_of(parts, record)
    if parent is not None:
        return parent
    query = RunQuery(
        kind=RunKind.TRAIN,
        limit=_LOOK_BACK,
        status=RunStatus.COMPLETED,
        family=record.family,
        after=record.run_id,
    )
    for earlier in parts.other_runs(query).records:
        if earlier.spec.get("corpus_path") == record.spec.get("corpus_path"):
            found = _if_readable(parts, earlier.run_id)
            if found is not None:
                return found
    return None


def _parent_of(parts: WorkerParts, record: RunRecord) -> Baseline | None:
    """None also for a parent that was branched off before it was completed."""
    return None if record.parent_run_id is None else _if_readable(parts, record.parent_run_id)


def _if_readable(parts: WorkerParts, run_id: str) -> Baseline | None:
    try:
        return _baseline_of(parts, parts.other_run(run_id))
    except AppError as error:
        if error.code is ErrorCode.STORE_UNAVAILABLE:  # nobody knows whether there is one
            raise
        log.warning("baseline_passed_over", error_code=error.code.value, detail=error.message)
        return None


def _baseline_of(parts: WorkerParts, record: RunRecord) -> Baseline:
    is_complete = record.kind is RunKind.TRAIN and record.status is RunStatus.COMPLETED
    if not is_complete or not parts.artifacts.exists("models", record.run_id):
        raise _nothing_to_compare(record.run_id)
    folder = parts.artifacts.folder("models", record.run_id) / "eval"
    final = read_evaluation(folder / METRICS_FILE)
    if final is None:
        raise _nothing_to_compare(record.run_id)
    asked_for = (_readable(path) for path in sorted(folder.glob(f"*/{METRICS_FILE}"), reverse=True))
    return Baseline(final=final, later=tuple(one for one in asked_for if one is not None))


def _readable(path: Path) -> Evaluation | None:
    try:
        return read_evaluation(path)
    except AppError as error:
        log.warning("evaluation_passed_over", evaluation_id=path.parent.name, error_code=error.code.value)
        return None


def _nothing_to_compare(run_id: str) -> AppError:
    fault = FieldFault(_FIELD, "must be a completed training with an evaluation")
    return AppError(ErrorCode.CONFLICT, f"Run {run_id} has no evaluation to compare with.", faults=[fault])
