"""What this installation can train."""

from model_trainer.core.contracts.base import Contract, JsonObject


class FamilyView(Contract):
    """One family of models."""

    name: str
    title: str
    supported_tokenizers: tuple[str, ...]
    example: JsonObject
    json_schema: JsonObject
    """Of the body of POST /runs/train."""


class TokenizerKindView(Contract):
    """One kind of tokenizer."""

    name: str
    title: str
    available: bool
    """Whether this server's installation has its library."""
    missing_modules: tuple[str, ...]
    extra: str
    """What to install: pip install "model-trainer[<extra>]"."""
    example: JsonObject
    json_schema: JsonObject
    """Of the body of POST /tokenizers/train."""


class FamiliesView(Contract):
    """Every family and every tokenizer."""

    families: tuple[FamilyView, ...]
    tokenizers: tuple[TokenizerKindView, ...]
