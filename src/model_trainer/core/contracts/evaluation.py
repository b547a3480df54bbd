"""What an evaluation is asked for and what it finds."""

from typing import Literal

from pydantic import model_validator

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.corpus import CorpusPath, EncodingErrors, SplitName
from model_trainer.core.contracts.ids import UlidText
from model_trainer.core.errors import wrong_field


class EvaluateSpec(Contract):
    """Which text to evaluate a trained model on: one of its own splits, or text it never saw."""

    split: SplitName | None = None
    """A split of the corpus the model was trained on."""
    corpus_path: CorpusPath | None = None
    """A file or folder under the data root."""
    encoding_errors: EncodingErrors = "strict"
    """`strict` refuses bytes that are not UTF-8; `replace` puts U+FFFD in and counts them."""
    compare_to_run_id: UlidText | None = None
    """A completed training to compare with; left out: the previous one of the same family and corpus."""

    @model_validator(mode="after")
    def _one_source(self) -> "EvaluateSpec":
        if (self.split is None) == (self.corpus_path is None):
            raise wrong_field("split", "give exactly one of split and corpus_path")
        return self


class LanguageMetrics(Contract):
    """Exact over the whole split: every token scored once."""

    loss: float
    """Mean negative log-likelihood, nats per token."""
    perplexity: float
    bits_per_byte: float
    """Comparable across tokenizers: total bits over UTF-8 bytes of the text."""
    nats_per_char: float
    accuracy: float
    """Share of tokens that were the most likely one."""
    num_tokens: int
    num_bytes: int
    num_characters: int
    protocol: str
    """How each token was scored: context, stride, carried state."""


class SampleStats(Contract):
    """How varied the samples are (distinct-n: Li et al. 2016, arXiv 1510.03055)."""

    distinct_1: float
    distinct_2: float
    distinct_3: float
    repetition_4: float
    """Share of 4-grams that occurred earlier in the same sample."""


class TokenisationStats(Contract):
    """How the tokenizer cuts this split."""

    tokens_per_char: float
    tokens_per_word: float
    bytes_per_token: float
    document_tokens_mean: float
    document_tokens_p50: float
    document_tokens_p95: float
    document_tokens_max: int


class Comparison(Contract):
    """Against another run on the same split; a regression is worse by more than the tolerance."""

    run_id: str
    metric: Literal["bits_per_byte"] = "bits_per_byte"
    theirs: float
    ours: float
    difference: float
    tolerance: float
    regression: bool
    same_data: bool
    """Whether both were measured on the very same text."""


class Evaluation(Contract):
    """eval/metrics.json."""

    run_id: str
    evaluation_id: str
    split: str
    """train, validation, test or external."""
    corpus_sha256: str
    text_sha256: str
    """Of the evaluated text itself: equal for the same text under any tokenizer, and only then."""
    tokenizer_sha256: str
    metrics: LanguageMetrics
    samples: SampleStats | None
    tokenisation: TokenisationStats
    comparison: Comparison | None
