"""What a SentencePiece tokenizer is asked for."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import wrong_field

UNKNOWN = "<unk>"
NUM_BYTES = 256
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


class SentencePieceSpec(TokenizerSpec):
    """SentencePiece, at settings that lose nothing: identity normalisation, byte fallback, spaces kept."""

    method: Literal["sentencepiece"] = "sentencepiece"
    model_type: Literal["unigram", "bpe"] = "unigram"
    """unigram: pieces by likelihood (slower to train); bpe: pieces by merging pairs."""
    min_frequency: Literal[1] = 1
    """The library has no such threshold."""
    character_coverage: Annotated[float, Field(gt=0, le=1)] = 0.9995
    """Share of the text's characters that get a piece of their own; the rest is spelled in bytes."""
    sample_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 32)] = 1 << 25
    """Of a larger text, a seeded sample of lines of about this size is trained on: the library keeps it in memory."""

    @model_validator(mode="after")
    def _has_room_for_bytes(self) -> "SentencePieceSpec":
        taken = [token for token in self.special_tokens if token == UNKNOWN or _BYTE_TOKEN.fullmatch(token)]
        if taken:
            raise wrong_field(
                "special_tokens", f"special_tokens must not hold {taken[0]}: SentencePiece has one of its own"
            )
        smallest = NUM_BYTES + len(self.special_tokens) + 2
        if self.vocab_size < smallest:
            raise wrong_field(
                "vocab_size",
                f"vocab_size must be at least {smallest}: 256 bytes, <unk>, special_tokens, one piece",
            )
        return self
