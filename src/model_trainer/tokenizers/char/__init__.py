"""One token a character."""

from model_trainer.tokenizers.char.config import CharSpec
from model_trainer.tokenizers.kind import LibraryKind, TokenizerBackend, TokenizerKind


def _backend() -> TokenizerBackend:
    from model_trainer.tokenizers.char.backend import CharBackend

    return CharBackend()


TOKENIZER: TokenizerKind = LibraryKind(
    name="char",
    title="One token a character: small vocabularies for small models",
    spec=CharSpec,
    requires=("tokenizers",),
    extra="worker",
    options={"min_frequency": 1, "holdout_fraction": 0.1, "seed": 42},
    opener=_backend,
)
