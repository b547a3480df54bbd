"""The job that turns a corpus and a tokenizer into a trained, evaluated, accounted model."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from model_trainer.core.compute.machine import Machine
from model_trainer.core.config import Settings
from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.events import JobEvaluated, MetricsCompleted
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.contracts.tokenizer import TokenizerInfo
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FailureClass
from model_trainer.core.failpoints import Failpoint
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.token_blocks import pack
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.engine.devices import probe_machine, select_device
from model_trainer.engine.evaluation.evaluate import EvaluationSubject, evaluate, write_result
from model_trainer.engine.protocols import FitResult, LanguageModel, StopReason
from model_trainer.engine.training.checkpoint import Commit, commit_whole
from model_trainer.models.family import Family
from model_trainer.models.inheritance import check_inherited, inherit_sizes
from model_trainer.models.recipe_file import RECIPE_FILE, read_recipe, write_recipe
from model_trainer.models.requirements import check_fits, check_memory
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.baselines import Baseline, find_baseline
from model_trainer.worker.corpora import CORPUS_FIELD, scan_split
from model_trainer.worker.fitting import Fitted, Fitting
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import Cancelled, HandedOver, HeldRun, Paused
from model_trainer.worker.outcomes import as_app_error, faults_at
from model_trainer.worker.parents import parent_recipe
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.trained import TOKENIZER_FILES, load_tokenizer

log = get_logger(__name__)


def train_model_job(parts: WorkerParts, *, commit: Commit = commit_whole) -> Job:
    """Trains the model a record describes; `commit` is how its checkpoints come to stand under their names."""
    return _TrainModel(parts, commit).job()


@dataclass(frozen=True, slots=True)
class _Prepared:
    spec: TrainSpec
    family: Family
    recipe: Recipe
    tokenizer: Tokenizer
    digest: CorpusDigest
    splits: TokenSplits
    baseline: Baseline | None


class _TrainModel:
    def __init__(self, parts: WorkerParts, commit: Commit) -> None:
        self._parts = parts
        self._commit = commit
        self._account: ArtifactAccount | None = None

    def job(self) -> Job:
        return Job(
            work=self._work, folder=self._folder, ended=self._ended, fallback=ErrorCode.MODEL_TRAIN_FAILED
        )

    def _folder(self, record: RunRecord) -> Path:
        return self._parts.artifacts.create("models", record.run_id)

    def _work(self, held: HeldRun, record: RunRecord) -> JobResult:
        spec = self._parts.registry.parse_train_spec(dump_json(record.spec))
        account = ArtifactAccount(kind="models", record=record, seed=spec.seed, folder=self._folder(record))
        self._account = account
        try:
            return self._trained(held, record, spec=spec, account=account)
        except Exception as error:
            log.info("training_left", detail=type(error).__name__)
            if _is_given_up(error) and not held.is_lost:  # while the folder is still this worker's
                account.seal_meanwhile(record, self._parts.artifacts)
            raise

    def _trained(
        self, held: HeldRun, record: RunRecord, *, spec: TrainSpec, account: ArtifactAccount
    ) -> JobResult:
        reached = self._parts.reached
        prepared = self._prepare(held, record, spec=spec, account=account)
        fitted = self._train(held, record, prepared=prepared, account=account)
        prepared = replace(prepared, recipe=fitted.recipe)
        held.check()
        self._save(fitted.model, prepared, account)
        reached(Failpoint.FINISH_WEIGHTS_SAVED)
        held.check()
        evaluation = self._evaluate(held, record, fitted.model, prepared=prepared, account=account)
        reached(Failpoint.FINISH_EVALUATED)
        held.enter_phase(Phase.FINALIZING, "Accounting for every file")
        result = _result(fitted.result, evaluation)
        account.metrics = result
        account.seal_done(record, self._parts.artifacts)
        reached(Failpoint.FINISH_SEALED)
        return _job_result(evaluation, result)

    def _prepare(
        self, held: HeldRun, record: RunRecord, *, spec: TrainSpec, account: ArtifactAccount
    ) -> _Prepared:
        held.enter_phase(Phase.VALIDATING, "Reading the whole corpus once")
        parts = self._parts
        family = parts.registry.family(spec.model_family)
        machine = with_thread_limit(probe_machine(), parts.settings)
        with account.timed("validate"):
            kind, tokenizer = load_tokenizer(parts, spec.tokenizer_id)
            check_fits(family, kind)
            recipe = self._recipe(account.folder, family, spec, machine=machine, info=tokenizer.inspect())
            check_memory(family.estimate(recipe), recipe, machine)
            # Now, not when it is needed: a run that cannot be compared with must not cost a finished training.
            baseline = find_baseline(parts, record, asked=spec.compare_to_run_id)
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
                cache=parts.artifacts.cache_folder(),
                block_size=recipe.max_seq_len,
                threads=recipe.cpu_threads,
                report=held.report,
            )
        # From here on the account is worth keeping, whatever becomes of this worker.
        account.seal_as_recorded(record, parts.artifacts)
        return _Prepared(
            spec=spec,
            family=family,
            recipe=recipe,
            tokenizer=tokenizer,
            digest=digest,
            splits=splits,
            baseline=baseline,
        )

    def _train(
        self, held: HeldRun, record: RunRecord, *, prepared: _Prepared, account: ArtifactAccount
    ) -> Fitted:
        fitting = Fitting(
            self._parts,
            held=held,
            record=record,
            account=account,
            spec=prepared.spec,
            family=prepared.family,
            splits=prepared.splits,
            commit=self._commit,
        )
        fitted = fitting.fit(prepared.recipe)
        _stop_if_asked(fitted.result)
        held.emit(
            MetricsCompleted(
                job_id=held.run_id,
                user_id=held.user_id,
                step=fitted.result.steps,
                metrics=fitted.result.last_metrics,
                early_stopped=fitted.result.early_stopped,
                best_step=fitted.result.best_step,
            )
        )
        return fitted

    def _save(self, model: LanguageModel, prepared: _Prepared, account: ArtifactAccount) -> None:
        """Weights, configuration, tokenizer and recipe: what loads the model again, here or in transformers."""
        info = prepared.tokenizer.inspect()
        prepared.family.backend().save(
            model, prepared.recipe, account.folder, end_of_text_id=info.end_of_text_id
        )
        origin = self._parts.artifacts.folder("tokenizers", prepared.spec.tokenizer_id)
        for name in TOKENIZER_FILES:
            if (origin / name).exists():
                shutil.copyfile(origin / name, account.folder / name)

    def _evaluate(
        self,
        held: HeldRun,
        record: RunRecord,
        model: LanguageModel,
        *,
        prepared: _Prepared,
        account: ArtifactAccount,
    ) -> Evaluation:
        held.enter_phase(Phase.EVALUATING, "Scoring the whole validation split")
        validation, baseline = prepared.splits.validation, prepared.baseline
        with account.timed("evaluate"):
            measured = evaluate(
                model,
                validation,
                subject=EvaluationSubject(
                    run_id=record.run_id,
                    evaluation_id=record.run_id,
                    split="validation",
                    corpus_sha256=prepared.digest.sha256,
                ),
                recipe=prepared.recipe,
                device=select_device(prepared.recipe.device),
                tokenizer=prepared.tokenizer,
                prompts=prepared.spec.sample_prompts,
                baseline=baseline.on_text(validation.facts.text_sha256) if baseline is not None else None,
                report=lambda share: held.report(share, "Scoring the whole validation split"),
            )
            write_result(measured, account.folder / "eval")
        evaluation = measured.evaluation
        comparison = evaluation.comparison
        held.emit(
            JobEvaluated(
                job_id=held.run_id,
                user_id=held.user_id,
                evaluation_id=record.run_id,
                split="validation",
                metrics={"loss": evaluation.metrics.loss, "bits_per_byte": evaluation.metrics.bits_per_byte},
                regression=comparison.regression if comparison is not None else None,
            )
        )
        return evaluation

    def _recipe(
        self, folder: Path, family: Family, spec: TrainSpec, *, machine: Machine, info: TokenizerInfo
    ) -> Recipe:
        """What `auto` became, decided once: a second attempt, perhaps on another machine, keeps the first one's choices,
        or its checkpoints would be of another training. Only a device that is missing here is chosen anew."""
        if (folder / RECIPE_FILE).exists():
            known = read_recipe(folder)
            if known.device == "cpu" or machine.has_cuda:
                return known
        parent = parent_recipe(self._parts, spec, tokenizer_sha256=info.sha256)
        complete = spec if parent is None else inherit_sizes(spec, parent)
        recipe = family.resolve(complete, machine, vocab_size=info.vocab_size)
        if parent is not None:
            check_inherited(spec, recipe, parent)
        write_recipe(folder, recipe)
        return recipe

    def _ended(self, record: RunRecord) -> None:
        if self._account is not None:
            self._account.seal_as_recorded(record, self._parts.artifacts)
            self._parts.reached(Failpoint.FINISH_RESEALED)


def with_thread_limit(machine: Machine, settings: Settings) -> Machine:
    """`machine` with no more CPUs than OMP_NUM_THREADS and MKL_NUM_THREADS leave to a job."""
    limits = [limit for limit in (settings.omp_num_threads, settings.mkl_num_threads) if limit is not None]
    return machine.limited_to(min(limits, default=machine.cpu_count))


def _stop_if_asked(fitted: FitResult) -> None:
    match fitted.stopped:
        case None:
            return
        case StopReason.CANCEL:
            raise Cancelled
        case StopReason.PAUSE:
            raise Paused
        case StopReason.HAND_OVER:
            raise HandedOver
        case StopReason.LEASE_LOST:
            raise AppError(ErrorCode.LEASE_LOST, "Another worker owns this run now; this one stops.")
        case _:
            assert_never(fitted.stopped)


def _is_given_up(error: Exception) -> bool:
    """Whether the run goes on later, so that its account must be true until then."""
    if isinstance(error, Paused | HandedOver):
        return True
    known = as_app_error(error, fallback=ErrorCode.MODEL_TRAIN_FAILED)
    return known.failure_class is FailureClass.TRANSIENT


def _job_result(evaluation: Evaluation, result: JsonObject) -> JobResult:
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
        result=result,
    )


def _result(fitted: FitResult, evaluation: Evaluation) -> JsonObject:
    return {
        "steps": fitted.steps,
        "total_steps": fitted.total_steps,
        "tokens_seen": fitted.tokens_seen,
        "early_stopped": fitted.early_stopped,
        "best_step": fitted.best_step,
        "best_metrics": {**fitted.best_metrics},
        "last_metrics": {**fitted.last_metrics},
        "evaluation": as_json(evaluation),
    }
