"""A trained detector, measured again: on one of its splits, or on labelled texts it never saw."""

from pathlib import Path

from model_trainer.core.artifact_files import DATA_REPORT
from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import EvaluateDetectorSpec
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.engine.calibration.calibrate import read_calibration
from model_trainer.engine.data.labelled.prepare import LabelledRows, prepare_whole
from model_trainer.engine.devices import set_threads
from model_trainer.worker.detector.baselines import EVALUATION_LOGITS, find_detector_baseline, with_baseline
from model_trainer.worker.detector.data import (
    DATA_FIELD,
    counted,
    locate,
    scratch_folder,
    texts_of,
    windows_of,
)
from model_trainer.worker.detector.preparing import same_rows
from model_trainer.worker.detector.results import figures_of, sentence_of, tell_evaluated
from model_trainer.worker.detector.stages import (
    SplitTexts,
    Subject,
    evaluate_stage,
    logits_stage,
    read_optional,
)
from model_trainer.worker.detector.trained import TrainedDetector, find_detector
from model_trainer.worker.follow_up import parent_of
from model_trainer.worker.job import JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)

_ALL: SplitName = "test"
"""Where texts from outside stand among prepared rows: all of them."""


def evaluate_trained_detector(
    parts: WorkerParts, held: HeldRun, record: RunRecord, *, folder: Path
) -> JobResult:
    """Carries out an evaluation record; results go to `folder`."""
    spec = EvaluateDetectorSpec.model_validate_json(dump_json(record.spec))
    held.enter_phase(Phase.STARTING, "Loading the model")
    trained = find_detector(parts, parent_of(record))
    judge = trained.judge()
    set_threads(judge.recipe.cpu_threads)
    calibration = read_calibration(trained.folder)
    held.enter_phase(Phase.VALIDATING, "Reading the labelled texts")
    baseline = find_detector_baseline(parts, trained.record, asked=spec.compare_to_run_id)
    split = spec.split or _ALL
    with _rows(parts, held, spec, trained) as rows, scratch_folder(parts.artifacts.cache_folder()) as scratch:
        held.enter_phase(Phase.TOKENIZING, "Turning texts into tokens")
        windows = windows_of(
            texts_of(rows, split),
            total=rows.count(split),
            tokenizer=judge.tokenizer,
            plan=trained.config.windows,
            reading=trained.config.reading,
            folder=scratch / split,
            report=held.report,
        )
        held.enter_phase(Phase.EVALUATING, "Judging every text")
        logits = logits_stage(
            judge,
            SplitTexts(texts=lambda: texts_of(rows, split), windows=windows),
            attacks=spec.report,
            scratch=scratch,
            path=folder / EVALUATION_LOGITS,
            report=held.report,
        )
        data_sha256 = rows.data_sha256
        seen = _seen_in_training(trained, rows) if spec.split is None else None
    evaluation = evaluate_stage(
        logits,
        calibration,
        subject=Subject(
            run_id=trained.record.run_id,
            evaluation_id=record.run_id,
            split=spec.split or "external",
            data_sha256=data_sha256,
        ),
        spec=spec.report,
        baseline=with_baseline(baseline, logits),
        folder=folder,
        warnings=() if seen is None else (seen,),
    )
    tell_evaluated(held, evaluation)
    message = sentence_of(evaluation)
    log.info("detector_evaluated", detail=message)
    return JobResult(message=message, metrics=figures_of(evaluation), result=as_json(evaluation))


def _seen_in_training(trained: TrainedDetector, rows: LabelledRows) -> str | None:
    """What to say of texts from outside that are none; None where no file is one of the training's."""
    report = read_optional(trained.folder / DATA_REPORT, DataReport)
    known = {file.sha256 for file in report.files} if report is not None else set[str]()
    again = [file.path for file in rows.report.files if file.sha256 in known]
    if not again:
        return None
    return f"The model was trained on these very files: {', '.join(again)}. Evaluate its test split instead."


def _rows(
    parts: WorkerParts, held: HeldRun, spec: EvaluateDetectorSpec, trained: TrainedDetector
) -> LabelledRows:
    if spec.split is None:
        sources = locate(parts.corpora, spec.data_paths, report=held.report)
        with faults_at(DATA_FIELD):
            return prepare_whole(
                sources, spec.columns, cache=parts.artifacts.cache_folder(), report=counted(held.report)
            )
    with faults_at("/split"):
        rows = same_rows(parts, trained, report=held.report)
        if rows.count(spec.split) == 0:
            rows.close()
            message = (
                f"The model was trained without a {spec.split} split. Evaluate another split, or data_paths."
            )
            raise AppError(ErrorCode.DATA_EMPTY, message)
    return rows
