"""A trained language model, measured again: on one of its splits, or on text from outside."""

from pathlib import Path

from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.evaluation import EvaluateSpec, Evaluation
from model_trainer.core.contracts.events import JobEvaluated
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.engine.data.token_blocks import pack, pack_whole
from model_trainer.engine.data.token_splits import TokenSplit
from model_trainer.engine.devices import set_threads
from model_trainer.engine.evaluation.compare import read_evaluation
from model_trainer.engine.evaluation.evaluate import METRICS_FILE, EvaluationSubject, evaluate, write_result
from model_trainer.worker.baselines import find_baseline
from model_trainer.worker.corpora import CORPUS_FIELD, scan
from model_trainer.worker.follow_up import device_for, parent_of
from model_trainer.worker.job import JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import faults_at
from model_trainer.worker.parts import WorkerParts
from model_trainer.worker.trained import TrainedModel, load_trained

log = get_logger(__name__)


def evaluate_language_model(
    parts: WorkerParts, held: HeldRun, record: RunRecord, *, folder: Path
) -> JobResult:
    """Carries out an evaluation record; results go to `folder`."""
    spec = EvaluateSpec.model_validate_json(dump_json(record.spec))
    held.enter_phase(Phase.STARTING, "Loading the model")
    trained = load_trained(parts, parent_of(record))
    set_threads(trained.recipe.cpu_threads)
    held.enter_phase(Phase.VALIDATING, "Reading the text")
    baseline = find_baseline(parts, trained.record, asked=spec.compare_to_run_id)
    with faults_at(CORPUS_FIELD if spec.split is None else "/split"):
        split, corpus_sha256 = _text(parts, held, spec, trained)
    held.enter_phase(Phase.EVALUATING, "Scoring every token")
    device = device_for(trained.recipe)
    device.move_module(trained.model)
    result = evaluate(
        trained.model,
        split,
        subject=EvaluationSubject(
            run_id=trained.record.run_id,
            evaluation_id=record.run_id,
            split=spec.split or "external",
            corpus_sha256=corpus_sha256,
        ),
        recipe=trained.recipe,
        device=device,
        tokenizer=trained.tokenizer,
        prompts=trained.spec.sample_prompts,
        baseline=baseline.on_text(split.facts.text_sha256) if baseline is not None else None,
        report=lambda share: held.report(share, "Scoring every token"),
    )
    write_result(result, folder)
    return _job_result(held, result.evaluation)


def _text(
    parts: WorkerParts, held: HeldRun, spec: EvaluateSpec, trained: TrainedModel
) -> tuple[TokenSplit, str]:
    path = spec.corpus_path or trained.spec.corpus_path
    errors = spec.encoding_errors if spec.corpus_path is not None else trained.spec.encoding_errors
    source, digest = scan(parts.corpora, path, held=held, encoding_errors=errors)
    cache, threads = parts.artifacts.cache_folder(), trained.recipe.cpu_threads
    if spec.split is None:
        whole = pack_whole(
            source,
            digest,
            tokenizer=trained.tokenizer,
            cache=cache,
            encoding_errors=errors,
            threads=threads,
            report=held.report,
        )
        return whole, digest.sha256
    _refuse_other_text(trained, digest.sha256)
    splits = pack(
        source,
        digest,
        plan=trained.spec.split_plan(),
        tokenizer=trained.tokenizer,
        cache=cache,
        block_size=trained.recipe.max_seq_len,
        threads=threads,
        report=held.report,
    )
    chosen = {"train": splits.train, "validation": splits.validation, "test": splits.test}[spec.split]
    if chosen.facts.num_tokens == 0:
        message = (
            f"The model was trained without a {spec.split} split. Evaluate another split, or a corpus_path."
        )
        raise AppError(ErrorCode.DATA_EMPTY, message)
    return chosen, digest.sha256


def _refuse_other_text(trained: TrainedModel, corpus_sha256: str) -> None:
    """A split of a corpus that has changed is not the split the model was trained without."""
    known = read_evaluation(trained.folder / "eval" / METRICS_FILE)
    if known is not None and known.corpus_sha256 != corpus_sha256:
        message = (
            "The corpus has changed since the training. Evaluate it as a corpus_path instead of a split."
        )
        raise AppError(ErrorCode.DATA_CHANGED, message)


def _job_result(held: HeldRun, evaluation: Evaluation) -> JobResult:
    metrics = evaluation.metrics
    shown = {"loss": metrics.loss, "perplexity": metrics.perplexity, "bits_per_byte": metrics.bits_per_byte}
    held.emit(
        JobEvaluated(
            job_id=held.run_id,
            user_id=held.user_id,
            evaluation_id=evaluation.evaluation_id,
            split=evaluation.split,
            metrics=shown,
            regression=evaluation.comparison.regression if evaluation.comparison is not None else None,
        )
    )
    log.info("model_evaluated", loss=metrics.loss, bits_per_byte=metrics.bits_per_byte)
    return JobResult(
        message=f"Loss {metrics.loss:.4f}, {metrics.bits_per_byte:.4f} bits per byte on {evaluation.split}.",
        metrics=shown,
        result=as_json(evaluation),
    )
