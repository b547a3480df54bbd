"""What a trained model is worth on one text: exact metrics, samples, how the text is cut, and against whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_trainer.core.contracts.base import Contract, as_json, dump_json
from model_trainer.core.contracts.evaluation import Evaluation, TokenisationStats
from model_trainer.core.contracts.training import Recipe
from model_trainer.core.files import write_atomically
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.token_splits import SplitFacts, TokenSplit
from model_trainer.engine.evaluation.compare import compare
from model_trainer.engine.evaluation.likelihood import language_metrics, score
from model_trainer.engine.evaluation.repetition import sample_stats
from model_trainer.engine.evaluation.samples import Sample, SamplingPlan, default_prompts, sample
from model_trainer.engine.protocols import Device, LanguageModel

Report = Callable[[float], None]
METRICS_FILE = "metrics.json"
SAMPLES_FILE = "samples.jsonl"


class EvaluationSubject(Contract):
    """Which model is measured on which text."""

    run_id: str
    evaluation_id: str
    split: str
    """train, validation, test or external."""
    corpus_sha256: str


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What eval/ holds."""

    evaluation: Evaluation
    samples: tuple[Sample, ...]


def evaluate(
    model: LanguageModel,
    split: TokenSplit,
    *,
    subject: EvaluationSubject,
    recipe: Recipe,
    device: Device,
    tokenizer: Tokenizer,
    prompts: Sequence[str] = (),
    sampling: SamplingPlan | None = None,
    baseline: Evaluation | None = None,
    report: Report | None = None,
) -> EvaluationResult:
    """Measures `model` on `split`; raises what score() raises, and what `report` raises.

    Args:
        prompts: continued as samples; the first words of the text when empty.
        sampling: how; by default seeded with the recipe's seed.
        baseline: another run's evaluation to compare with.
        report: told the share of the text that is scored, and once more with each sampled token.
    """
    likelihood = score(model, split, recipe=recipe, device=device, report=report)
    samples = sample(
        model,
        prompts or default_prompts(split, tokenizer),
        plan=sampling or SamplingPlan(seed=recipe.seed),
        recipe=recipe,
        device=device,
        tokenizer=tokenizer,
        on_token=None if report is None else partial(report, 1.0),
    )
    evaluation = Evaluation(
        run_id=subject.run_id,
        evaluation_id=subject.evaluation_id,
        split=subject.split,
        corpus_sha256=subject.corpus_sha256,
        text_sha256=split.facts.text_sha256,
        tokenizer_sha256=tokenizer.inspect().sha256,
        metrics=language_metrics(likelihood, split.facts),
        samples=sample_stats([row.text for row in samples]),
        tokenisation=tokenisation_stats(split.facts),
        comparison=None,
    )
    if baseline is not None:
        comparison: dict[str, object] = {"comparison": compare(evaluation, baseline)}
        evaluation = evaluation.model_copy(update=comparison)
    return EvaluationResult(evaluation=evaluation, samples=samples)


def tokenisation_stats(facts: SplitFacts) -> TokenisationStats:
    """How the tokenizer cuts the text; end-of-text tokens are not text."""
    num_tokens = facts.num_tokens - facts.num_end_of_text
    return TokenisationStats(
        tokens_per_char=num_tokens / max(1, facts.num_characters),
        tokens_per_word=num_tokens / max(1, facts.num_words),
        bytes_per_token=facts.num_bytes / max(1, num_tokens),
        document_tokens_mean=facts.document_tokens_mean,
        document_tokens_p50=facts.document_tokens_p50,
        document_tokens_p95=facts.document_tokens_p95,
        document_tokens_max=facts.document_tokens_max,
    )


def write_result(result: EvaluationResult, folder: Path) -> tuple[Path, ...]:
    """Writes metrics.json and samples.jsonl into `folder`, made when it is missing; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, samples = folder / METRICS_FILE, folder / SAMPLES_FILE
    rows = "".join(f"{dump_json(as_json(row))}\n" for row in result.samples)
    write_atomically(samples, rows.encode())
    write_atomically(metrics, f"{result.evaluation.model_dump_json(indent=2)}\n".encode())
    return metrics, samples
