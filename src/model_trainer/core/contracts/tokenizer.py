"""What a tokenizer is asked for and what is known of it afterwards."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from model_trainer.core.chat_templates import LONGEST_CHAT_TEMPLATE, template_fault
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.corpus import CorpusPath, EncodingErrors, SplitBy, SplitPlan
from model_trainer.core.errors import wrong_field

Normalisation = Literal["none", "nfc", "nfkc", "lowercase"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
UserId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
SpecialToken = Annotated[
    str, StringConstraints(max_length=64, pattern=r"^[<\[{|][\x21-\x7e]*[A-Za-z][\x21-\x7e]*[>\]}|]$")
]
"""Letters between brackets or bars, such as <|endoftext|>: no kind learns such a piece from text, because all cut
between letters and punctuation. So no text is ever mistaken for a special token."""


def _parsed(template: str) -> str:
    fault = template_fault(template)
    if fault is not None:
        raise ValueError(f"not a chat template: {fault}")
    return template


ChatTemplateText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_CHAT_TEMPLATE),
    AfterValidator(_parsed),
]


class TokenizerSpec(Contract):
    """What every kind of tokenizer is asked for; a kind narrows `method` and adds its own."""

    vocab_size_is_exact: ClassVar[bool] = True
    """Whether a text that cannot give `vocab_size` entries is refused; otherwise vocab_size is an upper limit."""

    method: str
    """Which kind of tokenizer to train."""
    corpus_path: CorpusPath
    """A file or folder of .txt, .md, .jsonl or .parquet under the data root."""
    vocab_size: Annotated[int, Field(ge=2, le=1_000_000)] = 8000
    """Entries in the vocabulary, special tokens included."""
    min_frequency: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    """A pair or piece seen less often than this does not enter the vocabulary."""
    normalisation: Normalisation = "none"
    """Unicode normalisation before anything else; `none` loses nothing."""
    special_tokens: Annotated[tuple[SpecialToken, ...], Field(max_length=256)] = ("<|endoftext|>",)
    """Tokens that are never split; the first ends a document."""
    holdout_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the corpus that is kept out of training and measured afterwards."""
    split_by: SplitBy = "line"
    """Where the holdout is cut: at line boundaries, or by whole files."""
    encoding_errors: EncodingErrors = "strict"
    """`strict` refuses bytes that are not UTF-8; `replace` puts U+FFFD in and counts them."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Fixes the holdout and every sample."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """CPU threads; all of the machine's when left out."""
    chat_template: ChatTemplateText | None = None
    """A jinja2 template that makes a prompt of `messages`, as transformers' apply_chat_template does; it is kept in
    tokenizer_config.json. Left out: chats are written as plain lines of User and Assistant."""
    metadata: Metadata = {}
    """Up to 16 labels of your own, filterable in lists."""
    user_id: UserId | None = None
    """Who asked; carried on every event."""

    @model_validator(mode="after")
    def _special_tokens_fit(self) -> "TokenizerSpec":
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise wrong_field("special_tokens", "special_tokens must not repeat")
        if len(self.special_tokens) >= self.vocab_size:
            raise wrong_field("vocab_size", "vocab_size must be larger than the number of special_tokens")
        return self

    def split_plan(self) -> SplitPlan:
        """How the corpus is cut into training text and holdout."""
        return SplitPlan(
            split_by=self.split_by,
            validation_fraction=self.holdout_fraction,
            test_fraction=0.0,
            seed=self.seed,
            encoding_errors=self.encoding_errors,
        )


class TokenizerInfo(Contract):
    """What a loaded tokenizer says of itself."""

    method: str
    vocab_size: int
    special_tokens: tuple[str, ...]
    end_of_text_id: int | None
    unknown_id: int | None
    normalisation: Normalisation
    lossless: bool
    """Whether decode(encode(text)) gives back any valid text exactly."""
    sha256: str
    """Of the tokenizer's own file: what caches and manifests know it by."""


class TokenizerStats(Contract):
    """Measured on the holdout (on the training text when there is none, and then said so)."""

    measured_on: Literal["holdout", "train"]
    num_characters: int
    num_words: int
    num_bytes: int
    num_tokens: int
    coverage: float
    """Share of tokens that are not the unknown token."""
    char_coverage: float
    """Share of characters that survive encode and decode."""
    oov_rate: float
    """Share of words that need the unknown token."""
    tokens_per_char: float
    tokens_per_word: float
    bytes_per_token: float
    vocab_used: int
    """Entries of the vocabulary that occur."""
    vocab_used_fraction: float
