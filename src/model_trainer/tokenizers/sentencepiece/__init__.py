"""Unigram and BPE pieces by Google's `sentencepiece`."""

from model_trainer.tokenizers.kind import LibraryKind, TokenizerBackend, TokenizerKind
from model_trainer.tokenizers.sentencepiece.config import SentencePieceSpec


def _backend() -> TokenizerBackend:
    from model_trainer.tokenizers.sentencepiece.backend import SentencePieceBackend

    return SentencePieceBackend()


TOKENIZER: TokenizerKind = LibraryKind(
    name="sentencepiece",
    title="SentencePiece unigram or BPE with byte fallback: any text, nothing lost",
    spec=SentencePieceSpec,
    requires=("sentencepiece", "tokenizers"),
    extra="sentencepiece",
    options={"model_type": "unigram", "vocab_size": 8000, "holdout_fraction": 0.1, "seed": 42},
    opener=_backend,
)
