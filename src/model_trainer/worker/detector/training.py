"""The training of a detector: labelled texts in; weights, a calibration, an evaluation, a bundle and a card out."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.detector import DetectorSpec, TrainingConfig
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.contracts.run import Phase
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.failpoints import Failpoint
from model_trainer.engine.data.logits import Logits
from model_trainer.engine.data.token_texts import token_texts
from model_trainer.engine.devices import select_device
from model_trainer.engine.protocols import Device, TextClassifier, TrainingTask
from model_trainer.engine.tasks.labelled_text import LabelledTextTask
from model_trainer.models.family import DetectorFamily
from model_trainer.worker.detector.baselines import with_baseline
from model_trainer.worker.detector.config_file import write_training_config
from model_trainer.worker.detector.data import scratch_folder, texts_of, windows_of
from model_trainer.worker.detector.preparing import Prepared, prepared_rows, tokenize, validate
from model_trainer.worker.detector.results import figures_of, sentence_of, tell_evaluated
from model_trainer.worker.detector.stages import (
    Judge,
    SplitTexts,
    Subject,
    calibrate_stage,
    card_stage,
    evaluate_stage,
    export_stage,
    logits_stage,
    sample_of,
)
from model_trainer.worker.fitting import Fitted, OnEvaluation, summary_of, train
from model_trainer.worker.job import JobResult
from model_trainer.worker.workplace import Workplace


def train_detector(place: Workplace, *, family: DetectorFamily, spec: DetectorSpec) -> JobResult:
    """From reading the data to the model card; the artifact is not sealed yet."""
    held, account = place.held, place.account
    held.enter_phase(Phase.VALIDATING, "Reading all labelled texts")
    with account.timed("validate"):
        rows = prepared_rows(place.parts, spec, report=held.report)
    with rows, scratch_folder(place.cache) as scratch:
        with account.timed("validate"):
            validated = validate(place, rows, family=family, spec=spec)
        held.enter_phase(Phase.TOKENIZING, "Turning texts into tokens")
        with account.timed("tokenize"):
            prepared = tokenize(place, validated, scratch=scratch)
        fitted = train(place, spec=prepared.spec, subject=_Network(prepared), recipe=prepared.recipe)
        held.check()
        judge = Judge(
            model=fitted.model,
            device=select_device(fitted.recipe.device),
            recipe=fitted.recipe,
            config=_save(place, fitted, prepared),
            tokenizer=prepared.tokenizer.path,
        )
        place.parts.reached(Failpoint.FINISH_WEIGHTS_SAVED)
        finished = _follow_up(place, judge, prepared, scratch=scratch)
    return _job_result(finished, fitted)


@dataclass(frozen=True, slots=True)
class _HeldOut:
    validation: Logits
    evaluated: Logits
    """Of the test split, or of validation where there is none."""
    split: SplitName


@dataclass(frozen=True, slots=True)
class _Finished:
    evaluation: DetectorEvaluation
    export: ExportReport


class _Network:
    """A Subject: labels of texts."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._backend = prepared.family.classifier()

    @property
    def train_tokens(self) -> int:
        return self._prepared.train.header.num_tokens

    @property
    def validation_tokens(self) -> int:
        return self._prepared.validation.header.num_tokens

    def build(self, recipe: Recipe) -> TextClassifier:
        model = self._backend.build(recipe)
        texts = token_texts(self._prepared.tokenizer.path, vocab_size=recipe.vocab_size)
        model.prepare(tokens=texts, documents=self._prepared.train.texts)
        return model

    def load(self, recipe: Recipe, folder: Path) -> TextClassifier:
        return self._backend.load(recipe, folder / files.MODEL)

    def task(
        self, recipe: Recipe, *, device: Device, on_evaluation: OnEvaluation
    ) -> AbstractContextManager[TrainingTask]:
        task = LabelledTextTask(
            train=self._prepared.train,
            validation=self._prepared.validation,
            recipe=recipe,
            device=device,
            focal_gamma=self._prepared.spec.focal_gamma,
            positive_weight=self._prepared.positive_weight,
            on_evaluation=on_evaluation,
        )
        return nullcontext(task)  # it has nothing to close


def _save(place: Workplace, fitted: Fitted[TextClassifier], prepared: Prepared) -> TrainingConfig:
    """Weights beside the tokenizer, and what they must be used with."""
    prepared.family.classifier().save(fitted.model, fitted.recipe, place.folder / files.MODEL)
    config = TrainingConfig(
        run_id=place.record.run_id,
        model_family=place.record.family,
        spec=place.record.spec,
        recipe=as_json(fitted.recipe),
        reading=prepared.reading,
        windows=prepared.plan,
        focal_gamma=prepared.spec.focal_gamma,
        positive_weight=prepared.positive_weight,
        num_parameters=sum(parameter.numel() for parameter in fitted.model.parameters()),
        num_embedding_parameters=fitted.model.num_embedding_parameters(),
        data_sha256=prepared.rows.data_sha256,
        tokenizer_sha256=prepared.tokenizer.sha256,
    )
    write_training_config(config, place.folder / files.TRAINING_CONFIG)
    return config


def _follow_up(place: Workplace, judge: Judge, prepared: Prepared, *, scratch: Path) -> _Finished | None:
    """What follows the training is a function of its weights: a worker that takes over does all of it again. None for a
    training that was to end with its logits."""
    held, folder, spec = place.held, place.folder, prepared.spec
    held.enter_phase(Phase.EVALUATING, "Judging held-out texts")
    with place.account.timed("judge"):
        held_out = _judge_held_out(place, judge, prepared, scratch=scratch)
    if not spec.finish:
        return None
    held.enter_phase(Phase.CALIBRATING, "Fitting probabilities and thresholds")
    with place.account.timed("calibrate"):
        calibration = calibrate_stage(
            held_out.validation, config=judge.config, spec=spec.calibration, folder=folder
        )
    held.enter_phase(Phase.EVALUATING, f"Measuring on the {held_out.split} split")
    with place.account.timed("evaluate"):
        evaluation = evaluate_stage(
            held_out.evaluated,
            calibration,
            subject=Subject(
                run_id=place.record.run_id,
                evaluation_id=place.record.run_id,
                split=held_out.split,
                data_sha256=judge.config.data_sha256,
            ),
            spec=spec.report,
            baseline=with_baseline(prepared.baseline, held_out.evaluated),
            folder=folder,
        )
    tell_evaluated(held, evaluation)
    place.parts.reached(Failpoint.FINISH_EVALUATED)
    held.enter_phase(Phase.EXPORTING, "Writing the runtime bundle")
    with place.account.timed("export"):
        export = export_stage(
            judge,
            calibration,
            sample=sample_of(texts_of(prepared.rows, "validation"), seed=prepared.spec.seed)
            if spec.export.quantize
            else (),
            spec=spec.export,
            artifact=folder,
            still_wanted=held.check,
        )
        card_stage(folder)
    return _Finished(evaluation=evaluation, export=export)


def _judge_held_out(place: Workplace, judge: Judge, prepared: Prepared, *, scratch: Path) -> _HeldOut:
    """Logits of validation, and of the test split where there is one; of what is evaluated, with attacked copies."""
    rows, report, folder = prepared.rows, place.held.report, place.folder
    has_test = rows.count("test") > 0
    validation = logits_stage(
        judge,
        SplitTexts(texts=lambda: texts_of(rows, "validation"), windows=prepared.validation),
        attacks=None if has_test else prepared.spec.report,
        scratch=scratch,
        path=folder / files.VALIDATION_LOGITS,
        report=report,
    )
    if not has_test:
        return _HeldOut(validation=validation, evaluated=validation, split="validation")
    windows = windows_of(
        texts_of(rows, "test"),
        total=rows.count("test"),
        tokenizer=prepared.tokenizer.path,
        plan=prepared.plan,
        reading=prepared.reading,
        folder=scratch / "test",
        report=report,
    )
    test = logits_stage(
        judge,
        SplitTexts(texts=lambda: texts_of(rows, "test"), windows=windows),
        attacks=prepared.spec.report,
        scratch=scratch,
        path=folder / files.TEST_LOGITS,
        report=report,
    )
    return _HeldOut(validation=validation, evaluated=test, split="test")


def _job_result(finished: _Finished | None, fitted: Fitted[TextClassifier]) -> JobResult:
    if finished is None:
        message = f"Trained {fitted.result.steps} steps; the logits of held-out texts wait for a calibration."
        return JobResult(message=message, metrics={}, result=summary_of(fitted.result))
    evaluation = finished.evaluation
    shown = figures_of(evaluation)
    return JobResult(
        message=sentence_of(evaluation),
        metrics={f"{evaluation.split}_{name}": value for name, value in shown.items()},
        result={
            **summary_of(fitted.result),
            "evaluation": as_json(evaluation),
            "export": as_json(finished.export),
        },
    )
