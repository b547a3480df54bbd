"""Byte-level byte-pair encoding by Hugging Face's `tokenizers`."""

from model_trainer.tokenizers.bpe.config import BpeSpec
from model_trainer.tokenizers.kind import LibraryKind, TokenizerBackend, TokenizerKind


def _backend() -> TokenizerBackend:
    from model_trainer.tokenizers.bpe.backend import BpeBackend

    return BpeBackend()


TOKENIZER: TokenizerKind = LibraryKind(
    name="bpe",
    title="Byte-level byte-pair encoding (as in GPT-2): any text, nothing lost",
    spec=BpeSpec,
    requires=("tokenizers",),
    extra="worker",
    options={"vocab_size": 8000, "min_frequency": 2, "holdout_fraction": 0.1, "seed": 42},
    opener=_backend,
)
