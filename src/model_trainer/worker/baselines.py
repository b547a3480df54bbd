"""Which earlier run a model is compared with, and by which of its evaluations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from model_trainer.core.artifact_files import EVALUATIONS
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
COMPARE_FIELD = "/compare_to_run_id"
Found = TypeVar("Found")
Read = Callable[[WorkerParts, RunRecord], Found]
"""Reads what a training is compared by; raises CONFLICT, ARTIFACT_NOT_FOUND or ARTIFACT_CORRUPT when there is nothing."""


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
    """What find_earlier() finds of language models."""
    return find_earlier(parts, record, asked=asked, read=_baseline_of)


def find_earlier(
    parts: WorkerParts, record: RunRecord, *, asked: str | None, read: Read[Found]
) -> Found | None:
    """The training asked for; else the one that `record` began from; else the newest completed one before it of the same
    family on the same data, each as `read` gives it.

    Raises RUN_NOT_FOUND, CONFLICT or ARTIFACT_CORRUPT when the training asked for has no evaluation that can be read.
    When nothing was asked for, trainings without one are passed over; None when there is no other.
    """
    if asked is not None:
        with faults_at(COMPARE_FIELD):
            return read(parts, parts.other_run(asked))
    parent = None if record.parent_run_id is None else if_readable(parts, record.parent_run_id, read)
    if parent is not None:  # none also for a parent that was branched off before it was completed
        return parent
    query = RunQuery(
        kind=RunKind.TRAIN,
        limit=_LOOK_BACK,
        status=RunStatus.COMPLETED,
        family=record.family,
        after=record.run_id,
    )
    for earlier in parts.other_runs(query).records:
        if _sources(earlier) == _sources(record):
            found = if_readable(parts, earlier.run_id, read)
            if found is not None:
                return found
    return None


@contextmanager
def completed_folder(parts: WorkerParts, record: RunRecord) -> Iterator[Path]:
    """Where a completed training lies, held; raises CONFLICT when it is none, or has gone."""
    is_complete = record.kind is RunKind.TRAIN and record.status is RunStatus.COMPLETED
    if not is_complete or not parts.artifacts.exists("models", record.run_id):
        raise nothing_to_compare(record.run_id)
    with parts.artifacts.use("models", record.run_id) as folder:
        yield folder


def nothing_to_compare(run_id: str) -> AppError:
    """What a run is refused with that has not been evaluated."""
    fault = FieldFault(COMPARE_FIELD, "must be a completed training with an evaluation")
    return AppError(ErrorCode.CONFLICT, f"Run {run_id} has no evaluation to compare with.", faults=[fault])


def _sources(record: RunRecord) -> tuple[JsonValue, ...]:
    """What a training learnt from, by its stored spec: one that an older version wrote may not parse any more."""
    return tuple(record.spec.get(field) for field in ("corpus_path", "data_paths"))


def if_readable(parts: WorkerParts, run_id: str, read: Read[Found]) -> Found | None:
    """What `read` gives of a run; None, with a line in the log, where it has gone or there is nothing to compare with."""
    try:
        return read(parts, parts.other_run(run_id))
    except AppError as error:
        if error.code is ErrorCode.STORE_UNAVAILABLE:  # nobody knows whether there is one
            raise
        log.warning("baseline_passed_over", error_code=error.code.value, detail=error.message)
        return None


def _baseline_of(parts: WorkerParts, record: RunRecord) -> Baseline:
    with completed_folder(parts, record) as artifact:
        folder = artifact / EVALUATIONS
        final = read_evaluation(folder / METRICS_FILE)
        if final is None:
            raise nothing_to_compare(record.run_id)
        asked_for = (_readable(path) for path in sorted(folder.glob(f"*/{METRICS_FILE}"), reverse=True))
        return Baseline(final=final, later=tuple(one for one in asked_for if one is not None))


def _readable(path: Path) -> Evaluation | None:
    try:
        return read_evaluation(path)
    except AppError as error:
        log.warning("evaluation_passed_over", evaluation_id=path.parent.name, error_code=error.code.value)
        return None
