"""`model-trainer calibrate`, `evaluate`, `export-onnx` and `model-card`: what follows a training, file by file."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from rich.text import Text

from model_trainer.cli.detector_files import Places, put
from model_trainer.cli.detector_tables import calibration_table, evaluation_table, export_table
from model_trainer.cli.session import Session
from model_trainer.cli.spec_file import build_spec
from model_trainer.container import Container, local
from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import Contract, as_json, dump_json
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.detector import (
    CalibrateSpec,
    DetectorSpec,
    ExportSpec,
    ReportSpec,
    TrainingConfig,
)
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode, FieldFault, faults_of
from model_trainer.engine.data.logits import read_logits
from model_trainer.engine.devices import select_device, set_threads
from model_trainer.models.family import DetectorFamily
from model_trainer.worker.detector.config_file import read_training_config
from model_trainer.worker.detector.data import texts_of
from model_trainer.worker.detector.preparing import prepared_rows
from model_trainer.worker.detector.stages import (
    Judge,
    Sample,
    Subject,
    calibrate_stage,
    card_stage,
    evaluate_stage,
    export_stage,
    refresh_stage,
    sample_of,
)

_C = TypeVar("_C", bound=Contract)


def run_calibration(session: Session, places: Places, *, settings: Sequence[str]) -> None:
    """calibration.json from val_logits.npz; thresholds.json beside it."""
    session.ways.doors.log_quietly(session.settings())
    spec = _spec(CalibrateSpec, settings)
    config = read_training_config(places.read("--training-config"))
    logits = read_logits(places.read("--val-logits"))
    target = places.write("--calibration")
    with tempfile.TemporaryDirectory() as made:
        calibration = calibrate_stage(logits, config=config, spec=spec, folder=Path(made))
        put(Path(made) / files.CALIBRATION, target)
        put(Path(made) / files.THRESHOLDS, target.with_name(files.THRESHOLDS))
    if target == places.own(files.CALIBRATION):
        refresh_stage(target.parent, calibration)
    else:
        session.output.note("A runtime bundle has its calibration inside: make it with `export-onnx`.")
    session.output.show(as_json(calibration), render=lambda: calibration_table(calibration))


def run_evaluation(session: Session, places: Places, *, settings: Sequence[str]) -> None:
    """eval_metrics.json from test_logits.npz and a calibration; plots/ beside it."""
    session.ways.doors.log_quietly(session.settings())
    spec = _spec(ReportSpec, settings)
    config = read_training_config(places.read("--training-config"))
    calibration = _read(places.read("--calibration"), Calibration)
    logits = read_logits(places.read("--test-logits"))
    target = places.write("--metrics")
    with tempfile.TemporaryDirectory() as made:
        evaluation = evaluate_stage(
            logits,
            calibration,
            subject=Subject(
                run_id=config.run_id,
                evaluation_id=new_ulid(),
                # The logits that a calibration was fitted on are no test of it, whatever the file is called.
                split="validation" if logits.digest() == calibration.logits_sha256 else "test",
                data_sha256=config.data_sha256,
            ),
            spec=spec,
            baseline=None,
            folder=Path(made),
        )
        put(Path(made) / files.DETECTOR_METRICS, target)
        put(Path(made) / files.PLOTS, target.with_name(files.PLOTS))
    session.output.show(as_json(evaluation), render=lambda: evaluation_table(evaluation))


def run_export(session: Session, places: Places, *, quantize: bool, data_paths: Sequence[str]) -> None:
    """model.onnx and runtime_bundle/ from model/ and a calibration; export_report.json beside model.onnx."""
    config = read_training_config(places.read("--training-config"))
    calibration = _read(places.read("--calibration"), Calibration)
    weights = places.read("--model-dir")
    onnx, bundle = places.write("--onnx"), places.write("--bundle-dir")
    settings = session.settings()
    session.ways.doors.log_quietly(settings)
    container = local(settings)
    judge = _judge(container, config, weights)
    with tempfile.TemporaryDirectory(dir=onnx.parent) as made:
        artifact = Path(made)
        put(weights, artifact / files.MODEL)
        report = export_stage(
            judge,
            calibration,
            sample=_validation_sample(container, config, data_paths) if quantize else (),
            spec=ExportSpec(quantize=quantize),
            artifact=artifact,
            still_wanted=lambda: None,
        )
        put(artifact / files.ONNX, onnx)
        put(artifact / files.BUNDLE, bundle)
        put(artifact / files.EXPORT_REPORT, onnx.with_name(files.EXPORT_REPORT))
    session.output.show(as_json(report), render=lambda: export_table(report, bundle))


def run_card(session: Session, places: Places) -> None:
    """model_card.json and README.md from what the other stages left; what is missing is said to be missing."""
    session.ways.doors.log_quietly(session.settings())
    known = {
        files.TRAINING_CONFIG: places.read("--training-config"),
        files.CALIBRATION: places.read("--calibration"),
        files.DETECTOR_METRICS: places.maybe("--metrics"),
        files.DATA_REPORT: places.beside(files.DATA_REPORT),
        files.EXPORT_REPORT: places.beside(files.EXPORT_REPORT),
    }
    target = places.write("--card")
    with tempfile.TemporaryDirectory() as made:
        for name, path in known.items():
            if path is not None:
                put(path, Path(made) / name)
        card = card_stage(Path(made))
        put(Path(made) / files.MODEL_CARD, target)
        put(Path(made) / files.CARD_PAGE, target.with_name(files.CARD_PAGE))
    page = target.with_name(files.CARD_PAGE).read_text(encoding="utf-8")
    session.output.show(as_json(card), render=lambda: Text(page))


def _judge(container: Container, config: TrainingConfig, weights: Path) -> Judge:
    family = container.registry.family(config.model_family)
    if not isinstance(family, DetectorFamily):
        message = f"{config.model_family} is no family of detectors: --training-config is of another model."
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    recipe = Recipe.model_validate_json(dump_json(config.recipe))
    set_threads(recipe.cpu_threads)
    return Judge(
        model=family.classifier().load(recipe, weights),
        device=select_device("cpu"),
        recipe=recipe,
        config=config,
        tokenizer=weights / "tokenizer.json",
    )


def _validation_sample(container: Container, config: TrainingConfig, data_paths: Sequence[str]) -> Sample:
    """Of the texts that the training validated on; raises DATA_CHANGED when the files are not those it saw."""
    spec = container.registry.parse_train_spec(dump_json(config.spec))
    if not isinstance(spec, DetectorSpec):
        raise AppError(ErrorCode.CONFIG_INVALID, "--training-config is not of a detector.")
    if data_paths:
        moved: dict[str, object] = {"data_paths": tuple(str(Path(path).resolve()) for path in data_paths)}
        spec = spec.model_copy(update=moved)
    with prepared_rows(container.worker_parts("local"), spec, report=lambda _share, _said: None) as rows:
        if rows.report.data_sha256 != config.data_sha256:
            message = "The labelled files are not those of the training: name those with --data-path, or leave --quantize out."
            raise AppError(ErrorCode.DATA_CHANGED, message, faults=[FieldFault("--data-path", message)])
        return sample_of(texts_of(rows, "validation"), seed=spec.seed)


def _read(path: Path, contract: type[_C]) -> _C:
    try:
        return contract.model_validate_json(path.read_bytes())
    except ValidationError as error:
        message = f"{path} is no {contract.__name__} of this version. Make it again."
        raise AppError(ErrorCode.ARTIFACT_CORRUPT, message, faults=faults_of(error)) from error


def _spec(contract: type[_C], settings: Sequence[str]) -> _C:
    body = build_spec(None, options={}, labels=(), settings=settings)
    try:
        return contract.model_validate_json(dump_json(body))
    except ValidationError as error:
        raise AppError(
            ErrorCode.CONFIG_INVALID, "--set: a field does not fit.", faults=faults_of(error)
        ) from error
