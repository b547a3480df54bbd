"""What follows a detector's training, stage by stage: logits, calibration, evaluation, export, card.

Plain functions over files, for jobs and for the command line alike. Each writes its files whole or not at all, and can be
done again; they know no queue, no record and no lease.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from model_trainer.core import artifact_files as files
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import CalibrateSpec, ExportSpec, Label, ReportSpec, TrainingConfig
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.calibration.calibrate import calibrate, read_calibration, write_calibration
from model_trainer.engine.data.labelled_windows import LabelledText, LabelledWindows
from model_trainer.engine.data.logits import Logits, write_logits
from model_trainer.engine.evaluation.attacks import ATTACKS
from model_trainer.engine.evaluation.detector.evaluate import evaluate_detector, write_evaluation
from model_trainer.engine.evaluation.detector.plots import write_plots
from model_trainer.engine.evaluation.judging import collect_logits, rows_to_attack, write_attacked
from model_trainer.engine.export.card import make_card, write_card
from model_trainer.engine.export.stage import ENOUGH_TEXTS, export_detector, refresh_export
from model_trainer.engine.protocols import Device, TextClassifier
from model_trainer.serving.tokens import TokenizerFile
from model_trainer.worker.detector.config_file import read_training_config
from model_trainer.worker.detector.data import Report
from model_trainer.worker.manifests import library_versions

Found = TypeVar("Found", bound=Contract)
Texts = Callable[[], Iterator[LabelledText]]
"""Gives a fresh pass over some texts each time it is called."""
Sample = Sequence[tuple[str, Label]]
"""Texts and their labels."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A trained network and how it reads."""

    model: TextClassifier
    """On `device`."""
    device: Device
    recipe: Recipe
    config: TrainingConfig
    tokenizer: Path
    """tokenizer.json."""


@dataclass(frozen=True, slots=True)
class SplitTexts:
    """Texts to judge: themselves, and their windows."""

    texts: Texts
    windows: LabelledWindows


def logits_stage(
    judge: Judge, split: SplitTexts, *, attacks: ReportSpec | None, scratch: Path, path: Path, report: Report
) -> Logits:
    """Judges a split, with attacked copies where `attacks` asks for robustness; puts the logits at `path`."""
    chosen = rows_to_attack(0, at_most=0, seed=judge.recipe.seed)
    attacked: dict[str, LabelledWindows] = {}
    if attacks is not None and attacks.robustness:
        chosen = rows_to_attack(len(split.windows), at_most=attacks.robustness_texts, seed=judge.recipe.seed)
        tokens = TokenizerFile(judge.tokenizer)
        for name, attack in ATTACKS.items():
            report(0.0, f"Attacking {len(chosen):,} texts: {name}")
            attacked[name] = write_attacked(
                split.texts(),
                chosen=chosen,
                attack=attack,
                seed=judge.recipe.seed,
                encode=lambda texts: [each.ids for each in tokens.of(texts)],
                plan=judge.config.windows,
                reading=judge.config.reading,
                folder=scratch / f"attack-{name}",
            )
    logits = collect_logits(
        judge.model,
        split.windows,
        attacked_rows=chosen,
        attacked=attacked,
        device=judge.device,
        recipe=judge.recipe,
        report=lambda share: report(share, "Judging texts"),
    )
    write_logits(logits, path)
    return logits


def calibrate_stage(
    logits: Logits, *, config: TrainingConfig, spec: CalibrateSpec, folder: Path
) -> Calibration:
    """calibration.json and thresholds.json in `folder`, fitted on validation logits."""
    calibration = calibrate(
        logits, spec, focal_gamma=config.focal_gamma, positive_weight=config.positive_weight
    )
    write_calibration(calibration, folder)
    return calibration


@dataclass(frozen=True, slots=True)
class Subject:
    """What an evaluation is of."""

    run_id: str
    evaluation_id: str
    split: str
    data_sha256: str


def evaluate_stage(
    logits: Logits,
    calibration: Calibration,
    *,
    subject: Subject,
    spec: ReportSpec,
    baseline: tuple[str, Logits] | None,
    folder: Path,
    warnings: tuple[str, ...] = (),
) -> DetectorEvaluation:
    """eval_metrics.json and plots/ in `folder`; `warnings` are what the caller knows of the texts."""
    evaluation = evaluate_detector(
        logits,
        calibration,
        run_id=subject.run_id,
        evaluation_id=subject.evaluation_id,
        split=subject.split,
        data_sha256=subject.data_sha256,
        report=spec,
        baseline=baseline,
    )
    warned: dict[str, object] = {"warnings": (*evaluation.warnings, *warnings)}
    evaluation = evaluation.model_copy(update=warned)
    write_plots(logits, calibration, evaluation, folder / files.PLOTS)
    write_evaluation(evaluation, folder / files.DETECTOR_METRICS)
    return evaluation


def export_stage(
    judge: Judge,
    calibration: Calibration,
    *,
    sample: Sample,
    spec: ExportSpec,
    artifact: Path,
    still_wanted: Callable[[], None],
) -> ExportReport:
    """model.onnx, runtime_bundle/ and export_report.json in the folder `artifact`; only int8 looks at the `sample` of
    validation texts."""
    return export_detector(
        judge.model,
        artifact=artifact,
        config=judge.config,
        vocab_size=judge.recipe.vocab_size,
        calibration=calibration,
        sample=sample,
        spec=spec,
        threads=judge.recipe.cpu_threads,
        still_wanted=still_wanted,
    )


def refresh_stage(artifact: Path, calibration: Calibration) -> None:
    """The bundle in `artifact` with a new calibration, where there is a bundle; see refresh_export()."""
    if (artifact / files.BUNDLE).is_dir():
        refresh_export(artifact, calibration)


def sample_of(texts: Iterator[LabelledText], *, seed: int) -> Sample:
    """As many texts as an export looks at, of each class a seeded draw from all there are: files begin with one domain."""
    most = ENOUGH_TEXTS // 2
    draw = random.Random(seed)
    drawn: dict[Label, list[tuple[str, Label]]] = {0: [], 1: []}
    seen = {0: 0, 1: 0}
    for row in texts:
        seen[row.label] += 1
        if len(drawn[row.label]) < most:
            drawn[row.label].append((row.text, row.label))
        elif (place := draw.randrange(seen[row.label])) < most:  # algorithm R (Vitter 1985)
            drawn[row.label][place] = (row.text, row.label)
    return [*drawn[0], *drawn[1]]


def card_stage(artifact: Path) -> ModelCard:
    """model_card.json and README.md in the folder `artifact`, from what the other stages have left there."""
    config = read_training_config(artifact / files.TRAINING_CONFIG)
    card = make_card(
        name=f"{config.model_family} {config.run_id}",
        config=config,
        data=read_optional(artifact / files.DATA_REPORT, DataReport),
        calibration=read_calibration(artifact),
        evaluation=read_optional(artifact / files.DETECTOR_METRICS, DetectorEvaluation),
        export=read_optional(artifact / files.EXPORT_REPORT, ExportReport),
        libraries=library_versions(),
    )
    write_card(card, artifact)
    return card


def read_optional(path: Path, contract: type[Found]) -> Found | None:
    """A file that may not be there; raises ARTIFACT_CORRUPT for one that cannot be read."""
    try:
        return contract.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        message = f"{path.name} is damaged, or of another version. Do the stage that writes it again."
        raise AppError(ErrorCode.ARTIFACT_CORRUPT, message) from error
