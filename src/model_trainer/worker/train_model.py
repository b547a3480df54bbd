"""The job that turns a corpus and a tokenizer into a trained, evaluated, accounted model."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.compute.machine import Machine
from model_trainer.core.config import Settings
from model_trainer.core.contracts.base import JsonObject, as_json, dump_json
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.evaluation import Evaluation
from model_trainer.core.contracts.events import JobEvaluated, MetricsCompleted
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.token_blocks import pack
from model_trainer.engine.data.token_splits import TokenSplits
from model_trainer.engine.devices import probe_machine, select_device, set_threads
from model_trainer.engine.evaluation.evaluate import EvaluationSubject, evaluate, write_result
from model_trainer.engine.protocols import FitResult, LanguageModel, StopReason
from model_trainer.engine.tasks.language_modelling import LanguageModellingTask
from model_trainer.engine.training.seed import seed_everything
from model_trainer.engine.training.trainer import fit
from model_trainer.models.family import Family
from model_trainer.models.requirements import check_fits, check_memory
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.baselines import Baseline, find_baseline
from model_trainer.worker.corpora import CORPUS_FIELD, scan_split
from model_trainer.worker.lease import Cancelled, HeldRun
from model_trainer.worker.observer import RunObserver
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.series import RunSeries
from model_trainer.worker.supervise import Job, JobResult
from model_trainer.worker.trained import RECIPE_FILE, TOKENIZER_FILES, load_tokenizer, read_recipe

log = get_logger(__name__)


def train_model_job(parts: WorkerParts) -> Job:
    """Trains the model a record describes."""
    return _TrainModel(parts).job()


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
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
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
        prepared = self._prepare(held, record, spec=spec, account=account)
        model, fitted = self._train(held, prepared, account)
        held.check()
        self._save(model, prepared, account)
        held.check()
        evaluation = self._evaluate(held, record, model, prepared=prepared, account=account)
        held.enter_phase(Phase.FINALIZING, "Accounting for every file")
        result = _result(fitted, evaluation)
        account.metrics = result
        account.seal_done(record, self._parts.artifacts)
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
            recipe = _recipe(
                account.folder, family, spec, machine=machine, vocab_size=tokenizer.inspect().vocab_size
            )
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
        self, held: HeldRun, prepared: _Prepared, account: ArtifactAccount
    ) -> tuple[LanguageModel, FitResult]:
        held.enter_phase(Phase.TRAINING, f"Training {prepared.recipe.model_family}")
        recipe = prepared.recipe
        set_threads(recipe.cpu_threads)
        seed_everything(recipe.seed)
        model = prepared.family.backend().build(recipe)
        device = select_device(recipe.device)
        splits = prepared.splits
        observer = RunObserver(
            held=held,
            series=RunSeries(account.folder),
            folder=account.folder,
            recipe=recipe,
            train_tokens=splits.train.facts.num_tokens,
            validation_tokens=splits.validation.facts.num_tokens,
        )
        with (
            account.timed("train"),
            LanguageModellingTask(
                train=splits.train,
                validation=splits.validation,
                recipe=recipe,
                device=device,
                on_evaluation=lambda _share: held.check(),
            ) as task,
        ):
            fitted = fit(
                model=model,
                task=task,
                recipe=recipe,
                device=device,
                checkpoints=account.folder / "checkpoints",
                observer=observer,
            )
        _stop_if_asked(fitted)
        held.emit(
            MetricsCompleted(
                job_id=held.run_id,
                user_id=held.user_id,
                step=fitted.steps,
                metrics=fitted.last_metrics,
                early_stopped=fitted.early_stopped,
                best_step=fitted.best_step,
            )
        )
        return model, fitted

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

    def _ended(self, record: RunRecord) -> None:
        if self._account is not None:
            self._account.seal_as_recorded(record, self._parts.artifacts)


def _recipe(folder: Path, family: Family, spec: TrainSpec, *, machine: Machine, vocab_size: int) -> Recipe:
    """What `auto` became, decided once: a second attempt, perhaps on another machine, keeps the first one's choices, or
    its checkpoints would be of another training. Only a device that is missing here is chosen anew."""
    path = folder / RECIPE_FILE
    if path.exists():
        known = read_recipe(folder)
        if known.device == "cpu" or machine.has_cuda:
            return known
    recipe = family.resolve(spec, machine, vocab_size=vocab_size)
    write_atomically(path, (recipe.model_dump_json(indent=2) + "\n").encode())
    return recipe


def with_thread_limit(machine: Machine, settings: Settings) -> Machine:
    """`machine` with no more CPUs than OMP_NUM_THREADS and MKL_NUM_THREADS leave to a job."""
    limits = [limit for limit in (settings.omp_num_threads, settings.mkl_num_threads) if limit is not None]
    return machine.limited_to(min(limits, default=machine.cpu_count))


def _stop_if_asked(fitted: FitResult) -> None:
    if fitted.stopped is StopReason.CANCEL:
        raise Cancelled
    if fitted.stopped is StopReason.LEASE_LOST:
        raise AppError(ErrorCode.LEASE_LOST, "Another worker owns this run now; this one stops.")


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
