"""All that comes before a detector's training: data proven and split, a tokenizer, a recipe, windows on disk."""

from dataclasses import dataclass
from pathlib import Path

from model_trainer.core import artifact_files as files
from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.detector import DetectorSpec, Reading, WindowPlan
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled.audit import shortcuts_refused
from model_trainer.engine.data.labelled.prepare import LabelledPlan, LabelledRows, prepare
from model_trainer.engine.data.labelled_windows import LabelledWindows
from model_trainer.models.family import DetectorFamily
from model_trainer.models.requirements import check_memory
from model_trainer.worker.detector.baselines import DetectorBaseline, find_detector_baseline
from model_trainer.worker.detector.data import (
    DATA_FIELD,
    Report,
    counted,
    locate,
    spooled,
    texts_of,
    windows_of,
    write_report,
)
from model_trainer.worker.detector.tokenizer import (
    DetectorTokenizer,
    TrainingTexts,
    expected_vocab_size,
    write_tokenizer,
)
from model_trainer.worker.detector.trained import TrainedDetector
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Validated:
    """Data and a spec that can be trained on, as far as is known before there is a tokenizer."""

    spec: DetectorSpec
    family: DetectorFamily
    machine: Machine
    rows: LabelledRows
    baseline: DetectorBaseline | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready to be trained on."""

    spec: DetectorSpec
    family: DetectorFamily
    recipe: Recipe
    rows: LabelledRows
    tokenizer: DetectorTokenizer
    plan: WindowPlan
    reading: Reading
    """Of texts that are judged."""
    train: LabelledWindows
    validation: LabelledWindows
    positive_weight: float
    baseline: DetectorBaseline | None


def prepared_rows(parts: WorkerParts, spec: DetectorSpec, *, report: Report) -> LabelledRows:
    """The rows of a training, split as it saw them; close them after use. A shortcut does not stop anybody here."""
    plan = LabelledPlan(
        seed=spec.seed,
        holdout_fraction=spec.holdout_fraction,
        test_fraction=spec.test_fraction,
        audit="off" if spec.audit == "off" else "warn",
    )
    sources = locate(parts.corpora, spec.data_paths, report=report)
    with faults_at(DATA_FIELD):
        return prepare(
            sources, spec.columns, plan=plan, cache=parts.artifacts.cache_folder(), report=counted(report)
        )


def validate(
    place: Workplace, rows: LabelledRows, *, family: DetectorFamily, spec: DetectorSpec
) -> Validated:
    """Puts data_report.json into the artifact, and refuses what would fail later: shortcuts that must not be there, an
    encoder that cannot be had, a model that does not fit, a run that cannot be compared with."""
    write_report(rows.report, place.folder / files.DATA_REPORT)
    if spec.audit == "block" and rows.report.audit_blocks:
        raise shortcuts_refused(rows.report.audit)
    machine = place.machine()
    if spec.init_from is None:  # which has sizes of its own
        _foresee(place.parts, spec, family=family, machine=machine)
    # Now, not when it is needed: a run that cannot be compared with must not cost a finished training.
    baseline = find_detector_baseline(place.parts, place.record, asked=spec.compare_to_run_id)
    return Validated(spec=spec, family=family, machine=machine, rows=rows, baseline=baseline)


def _foresee(parts: WorkerParts, spec: DetectorSpec, *, family: DetectorFamily, machine: Machine) -> None:
    """Raises for a model that cannot be, as far as its size is known before its tokenizer is there."""
    vocab_size = expected_vocab_size(parts, spec)
    if vocab_size is None:
        no_demand: dict[str, object] = {
            "min_params": None
        }  # its embeddings count, and come with the tokenizer
        spec = spec.model_copy(update=no_demand)
    expected = _resolved(family, spec, machine, vocab_size=vocab_size or 0)
    check_memory(family.estimate(expected), expected, machine)


def tokenize(place: Workplace, validated: Validated, *, scratch: Path) -> Prepared:
    """The tokenizer into model/, the recipe, and the windows of what is learnt from and validated on."""
    spec, family, rows = validated.spec, validated.family, validated.rows
    held, account = place.held, place.account

    def texts() -> TrainingTexts:
        return spooled(texts_of(rows, "train"), scratch / "texts.jsonl", report=held.report)

    tokenizer = write_tokenizer(
        place.parts, spec, family=family, folder=place.folder / files.MODEL, texts=texts, report=held.report
    )
    recipe = _recipe(place, validated, tokenizer)
    check_memory(family.estimate(recipe), recipe, validated.machine)
    plan = tokenizer.plan(spec, length=recipe.max_seq_len)
    account.resolved = as_json(recipe)
    account.tokenizer_id, account.tokenizer_sha256 = spec.tokenizer_id, tokenizer.sha256

    def windows(split: SplitName, reading: Reading) -> LabelledWindows:
        return windows_of(
            texts_of(rows, split),
            total=rows.count(split),
            tokenizer=tokenizer.path,
            plan=plan,
            reading=reading,
            folder=scratch / split,
            report=held.report,
        )

    # Training sees look-alike letters as they are: whoever judges texts undoes them first.
    as_it_is = Reading(collapse_whitespace=spec.columns.collapse_whitespace, normalise_unicode=False)
    judged = Reading(
        collapse_whitespace=spec.columns.collapse_whitespace, normalise_unicode=spec.normalise_unicode
    )
    with faults_at(DATA_FIELD):
        train, validation = windows("train", as_it_is), windows("validation", judged)
        weight = spec.positive_weight if spec.positive_weight is not None else train.human_over_ai
    # From here on the account is worth keeping, whatever becomes of this worker.
    account.seal_as_recorded(place.record, place.parts.artifacts)
    return Prepared(
        spec=spec,
        family=family,
        recipe=recipe,
        rows=rows,
        tokenizer=tokenizer,
        plan=plan,
        reading=judged,
        train=train,
        validation=validation,
        positive_weight=weight,
        baseline=validated.baseline,
    )


def _recipe(place: Workplace, validated: Validated, tokenizer: DetectorTokenizer) -> Recipe:
    family, machine = validated.family, validated.machine
    return place.decide_recipe(
        validated.spec,
        machine=machine,
        tokenizer_sha256=tokenizer.sha256,
        resolve=lambda spec: _resolved(family, spec, machine, vocab_size=tokenizer.vocab_size),
    )


def _resolved(family: DetectorFamily, spec: TrainSpec, machine: Machine, *, vocab_size: int) -> Recipe:
    """With the sizes that the spec leaves out as its encoder has them."""
    complete = family.classifier().complete(spec) if isinstance(spec, DetectorSpec) else spec
    return family.resolve(complete, machine, vocab_size=vocab_size)


def same_rows(parts: WorkerParts, trained: TrainedDetector, *, report: Report) -> LabelledRows:
    """The rows that a detector was trained with, split as they were; raises DATA_CHANGED when they are others by now."""
    rows = prepared_rows(parts, trained.spec, report=report)
    if rows.data_sha256 != trained.config.data_sha256:
        rows.close()
        message = "The data have changed since the training: its splits are not there any more. Evaluate data_paths instead."
        raise AppError(ErrorCode.DATA_CHANGED, message)
    return rows
