"""The training of a language model: a corpus and a tokenizer in, weights and their evaluation out."""

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.compute.machine import Machine
from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.events import JobEvaluated
from model_trainer.core.contracts.run import Phase
from model_trainer.core.contracts.training import LanguageModelSpec, Recipe
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.token_blocks import pack
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.engine.devices import select_device
from model_trainer.engine.evaluation.evaluate import EvaluationSubject, evaluate, write_result
from model_trainer.engine.protocols import Device, LanguageModel, LanguageModelBackend, TrainingTask
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.models.family import LanguageFamily
from model_trainer.models.requirements import check_fits, check_memory
from model_trainer.worker.baselines import Baseline, find_baseline
from model_trainer.worker.corpora import CORPUS_FIELD, scan_split
from model_trainer.worker.fitting import Fitted, OnEvaluation, summary_of, train
from model_trainer.worker.job import JobResult
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.trained import TOKENIZER_FILES, load_tokenizer
from model_trainer.worker.workplace import Workplace


def train_language_model(place: Workplace, *, family: LanguageFamily, spec: LanguageModelSpec) -> JobResult:
    """From reading the corpus to the evaluation of the trained model; the artifact is not sealed yet."""
    prepared = _prepare(place, family=family, spec=spec)
    fitted = train(
        place, spec=spec, subject=_Network(family.backend(), prepared.splits), recipe=prepared.recipe
    )
    place.held.check()
    _save(place, fitted, family=family, prepared=prepared)
    place.parts.reached(Failpoint.FINISH_WEIGHTS_SAVED)
    place.held.check()
    evaluation = _evaluate(place, fitted, prepared=prepared)
    place.parts.reached(Failpoint.FINISH_EVALUATED)
    return _job_result(evaluation, fitted)


@dataclass(frozen=True, slots=True)
class _Prepared:
    spec: LanguageModelSpec
    recipe: Recipe
    tokenizer: Tokenizer
    digest: CorpusDigest
    splits: TokenSplits
    baseline: Baseline | None


class _Network:
    """A Subject: next-token prediction."""

    def __init__(self, backend: LanguageModelBackend, splits: TokenSplits) -> None:
        self._backend = backend
        self._splits = splits

    @property
    def train_tokens(self) -> int:
        return self._splits.train.facts.num_tokens

    @property
    def validation_tokens(self) -> int:
        return self._splits.validation.facts.num_tokens

    def build(self, recipe: Recipe) -> LanguageModel:
        return self._backend.build(recipe)

    def load(self, recipe: Recipe, folder: Path) -> LanguageModel:
        return self._backend.load(recipe, folder)

    def task(
        self, recipe: Recipe, *, device: Device, on_evaluation: OnEvaluation
    ) -> AbstractContextManager[TrainingTask]:
        return LanguageModellingTask(
            train=self._splits.train,
            validation=self._splits.validation,
            recipe=recipe,
            device=device,
            on_evaluation=on_evaluation,
        )


def _prepare(place: Workplace, *, family: LanguageFamily, spec: LanguageModelSpec) -> _Prepared:
    held, parts, account = place.held, place.parts, place.account
    held.enter_phase(Phase.VALIDATING, "Reading the whole corpus once")
    machine = place.machine()
    with account.timed("validate"):
        kind, tokenizer = load_tokenizer(parts, spec.tokenizer_id)
        check_fits(family, kind)
        recipe = _recipe(place, family, spec, machine=machine, tokenizer=tokenizer)
        check_memory(family.estimate(recipe), recipe, machine)
        # Now, not when it is needed: a run that cannot be compared with must not cost a finished training.
        baseline = find_baseline(parts, place.record, asked=spec.compare_to_run_id)
        source, digest = scan_split(parts.corpora, spec.corpus_path, held=held, plan=spec.split_plan())
    account.corpus, account.resolved = digest, as_json(recipe)
    account.tokenizer_id, account.tokenizer_sha256 = spec.tokenizer_id, tokenizer.inspect().sha256
    held.enter_phase(Phase.TOKENIZING, "Turning text into token blocks")
    with account.timed("tokenize"), faults_at(CORPUS_FIELD):
        splits = pack(
            source,
            digest,
            plan=spec.split_plan(),
            tokenizer=tokenizer,
            cache=place.cache,
            block_size=recipe.max_seq_len,
            threads=recipe.cpu_threads,
            report=held.report,
        )
    # From here on the account is worth keeping, whatever becomes of this worker.
    account.seal_as_recorded(place.record, parts.artifacts)
    return _Prepared(
        spec=spec, recipe=recipe, tokenizer=tokenizer, digest=digest, splits=splits, baseline=baseline
    )


def _recipe(
    place: Workplace,
    family: LanguageFamily,
    spec: LanguageModelSpec,
    *,
    machine: Machine,
    tokenizer: Tokenizer,
) -> Recipe:
    info = tokenizer.inspect()
    return place.decide_recipe(
        spec,
        machine=machine,
        tokenizer_sha256=info.sha256,
        resolve=lambda complete: family.resolve(complete, machine, vocab_size=info.vocab_size),
    )


def _save(
    place: Workplace, fitted: Fitted[LanguageModel], *, family: LanguageFamily, prepared: _Prepared
) -> None:
    """Weights, configuration, tokenizer and recipe: what loads the model again, here or in transformers."""
    info = prepared.tokenizer.inspect()
    family.backend().save(fitted.model, fitted.recipe, place.folder, end_of_text_id=info.end_of_text_id)
    with place.parts.artifacts.use("tokenizers", prepared.spec.tokenizer_id) as origin:
        for name in TOKENIZER_FILES:
            if (origin / name).exists():
                shutil.copyfile(origin / name, place.folder / name)


def _evaluate(place: Workplace, fitted: Fitted[LanguageModel], *, prepared: _Prepared) -> Evaluation:
    held, run_id = place.held, place.record.run_id
    held.enter_phase(Phase.EVALUATING, "Scoring the whole validation split")
    validation, baseline = prepared.splits.validation, prepared.baseline
    with place.account.timed("evaluate"):
        measured = evaluate(
            fitted.model,
            validation,
            subject=EvaluationSubject(
                run_id=run_id,
                evaluation_id=run_id,
                split="validation",
                corpus_sha256=prepared.digest.sha256,
            ),
            recipe=fitted.recipe,
            device=select_device(fitted.recipe.device),
            tokenizer=prepared.tokenizer,
            prompts=prepared.spec.sample_prompts,
            baseline=baseline.on_text(validation.facts.text_sha256) if baseline is not None else None,
            report=lambda share: held.report(share, "Scoring the whole validation split"),
        )
        write_result(measured, place.folder / "eval")
    evaluation = measured.evaluation
    comparison = evaluation.comparison
    held.emit(
        JobEvaluated(
            job_id=held.run_id,
            user_id=held.user_id,
            evaluation_id=run_id,
            split="validation",
            metrics={"loss": evaluation.metrics.loss, "bits_per_byte": evaluation.metrics.bits_per_byte},
            regression=comparison.regression if comparison is not None else None,
        )
    )
    return evaluation


def _job_result(evaluation: Evaluation, fitted: Fitted[LanguageModel]) -> JobResult:
    metrics = evaluation.metrics
    return JobResult(
        message=(
            f"Validation loss {metrics.loss:.4f}, perplexity {metrics.perplexity:.2f}, "
            f"{metrics.bits_per_byte:.4f} bits per byte."
        ),
        metrics={
            "validation_loss": metrics.loss,
            "validation_perplexity": metrics.perplexity,
            "validation_bits_per_byte": metrics.bits_per_byte,
            "validation_accuracy": metrics.accuracy,
        },
        result={**summary_of(fitted.result), "evaluation": as_json(evaluation)},
    )
