"""A model card: what a detector is, how well it does, what it is not for. Says only what was measured."""

from collections.abc import Mapping
from pathlib import Path, PurePath

from model_trainer.core.artifact_files import CARD_PAGE, MODEL_CARD
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.calibration import Calibration
from model_trainer.core.contracts.data_report import DataReport, SourceFile
from model_trainer.core.contracts.detector import TrainingConfig
from model_trainer.core.contracts.detector_evaluation import DetectorEvaluation
from model_trainer.core.contracts.export import ExportReport
from model_trainer.core.contracts.model_card import ModelCard
from model_trainer.core.files import write_atomically
from model_trainer.engine.export.card_page import page_of
from model_trainer.serving.detector import FEW_WORDS

FEW_ROWS = 100
"""Texts of a domain or a generator below which little is known of it."""
MOST_NAMES = 10
_CHOICES = (
    "optimizer",
    "learning_rate",
    "weight_decay",
    "schedule",
    "num_epochs",
    "max_steps",
    "batch_size",
    "gradient_accumulation_steps",
    "precision",
    "seed",
)
INTENDED_USE = (
    "Ranking texts by how likely they were written by a language model, for people who then look for themselves.",
    "Studies of collections of texts, where errors of known rates can be reckoned with.",
)
LIMITS = (
    "A verdict is not evidence against a person: human texts are called AI at the rates below, and nothing in a text proves "
    "who wrote it.",
    f"Texts of fewer than {FEW_WORDS} words are judged far less well; predictions say so.",
    "Nothing is known about languages, kinds of text and language models that are not in the data below; nor about texts "
    "that a person and a language model wrote together.",
    "Thresholds keep what they promise on texts like those of validation, and only there.",
)


def make_card(
    *,
    name: str,
    config: TrainingConfig,
    calibration: Calibration,
    data: DataReport | None,
    evaluation: DetectorEvaluation | None,
    export: ExportReport | None,
    libraries: Mapping[str, str],
) -> ModelCard:
    """The card of the detector that `config` tells of. Cards travel: no folder of this disk stands in one."""
    data = None if data is None else _without_folders(data)
    return ModelCard(
        name=name,
        run_id=config.run_id,
        model_family=config.model_family,
        base_model=_base_model(config),
        num_parameters=config.num_parameters,
        num_embedding_parameters=config.num_embedding_parameters,
        max_tokens=config.windows.length,
        training=_training(config),
        data=data,
        calibration=calibration,
        evaluation=evaluation,
        export=export,
        intended_use=INTENDED_USE,
        limits=(*LIMITS, *_past(config), *_own_limits(calibration, data, evaluation)),
        libraries=dict(libraries),
    )


def write_card(card: ModelCard, folder: Path) -> None:
    """Puts model_card.json and README.md into `folder`."""
    write_atomically(folder / MODEL_CARD, f"{card.model_dump_json(indent=2)}\n".encode())
    write_atomically(folder / CARD_PAGE, page_of(card).encode())


def _without_folders(data: DataReport) -> DataReport:
    """Of files that were named by their whole path, the names alone."""
    names = {file.path: PurePath(file.path).name for file in data.files if PurePath(file.path).is_absolute()}

    def bare(words: str) -> str:
        for path in sorted(names, key=len, reverse=True):  # one path may be the beginning of another
            words = words.replace(path, names[path])
        return words

    files: list[SourceFile] = []
    for file in data.files:
        named: dict[str, object] = {"path": bare(file.path)}
        files.append(file.model_copy(update=named))
    told: dict[str, object] = {
        "files": tuple(files),
        "group_evidence": bare(data.group_evidence),
        "warnings": tuple(map(bare, data.warnings)),
    }
    return data.model_copy(update=told)


def _base_model(config: TrainingConfig) -> str | None:
    """None for random weights; a folder on somebody's disk is no name on the hub, and would tell of that disk."""
    named = config.spec.get("model_name")
    if (
        config.spec.get("from_scratch") is True
        or not isinstance(named, str)
        or named.startswith((".", "/", "~"))
    ):
        return None
    return named


def _training(config: TrainingConfig) -> JsonObject:
    loss = "weighted binary cross-entropy" if config.focal_gamma == 0 else "weighted focal loss"
    chosen: JsonObject = {key: config.recipe[key] for key in _CHOICES if config.recipe.get(key) is not None}
    return {
        "loss": loss,
        "focal_gamma": config.focal_gamma,
        "positive_weight": config.positive_weight,
        **chosen,
        "collapse_whitespace": config.reading.collapse_whitespace,
        "normalise_unicode": config.reading.normalise_unicode,
        "data_sha256": config.data_sha256,
        "tokenizer_sha256": config.tokenizer_sha256,
    }


def _past(config: TrainingConfig) -> list[str]:
    """What was decided on texts that the figures below are about, or may be."""
    limits: list[str] = []
    parent = config.spec.get("init_from")
    if isinstance(parent, dict):
        limits.append(
            f"It began with the weights of run {parent.get('run_id')}: where that one had other data or another seed, it "
            "may have been trained on texts that this one is tested on."
        )
    checkpoint = config.recipe.get("checkpoint")
    keeps_best = isinstance(checkpoint, dict) and checkpoint.get("keep_best") is True
    if keeps_best or config.recipe.get("early_stopping") is not None:
        limits.append(
            "Its weights were chosen by their loss on validation, which the thresholds are fitted on too: a little more "
            "human texts than promised may be called AI."
        )
    return limits


def _own_limits(
    calibration: Calibration, data: DataReport | None, evaluation: DetectorEvaluation | None
) -> list[str]:
    limits: list[str] = []
    if data is None:
        limits.append("What it was trained on is not recorded here.")
    else:
        limits += [
            f"A trivial feature tells the classes of the training data apart: {finding.message}"
            for finding in data.audit
            if finding.is_shortcut
        ]
        limits += _rare("domain", data.domains) + _rare("generator", data.generators)
    if evaluation is None:
        limits.append("It was not measured on texts that no training decision saw.")
    else:
        limits += [
            f"At the threshold {made.name} more human texts were called AI than promised "
            f"({made.fpr_by_source or 0.0:.2%} of source documents, promised at most {made.promised_fpr.high:.2%})."
            for made in evaluation.decisions
            if made.kept_promise is False and made.promised_fpr is not None
        ]
        limits += evaluation.warnings
    return [*limits, *calibration.warnings]


def _rare(kind: str, rows: Mapping[str, int]) -> list[str]:
    few = sorted(name for name, number in rows.items() if number < FEW_ROWS)
    if not few:
        return []
    others = f" and {len(few) - MOST_NAMES} more" if len(few) > MOST_NAMES else ""
    return [f"Fewer than {FEW_ROWS} texts of each of these {kind}s: {', '.join(few[:MOST_NAMES])}{others}."]
