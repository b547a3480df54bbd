"""What a byte-level BPE is asked for."""

from typing import Literal

from pydantic import model_validator

from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import wrong_field

NUM_BYTES = 256


class BpeSpec(TokenizerSpec):
    """Byte-level byte-pair encoding."""

    method: Literal["bpe"] = "bpe"

    @model_validator(mode="after")
    def _has_room_for_bytes(self) -> "BpeSpec":
        smallest = NUM_BYTES + len(self.special_tokens)
        if self.vocab_size < smallest:
            raise wrong_field(
                "vocab_size", f"vocab_size must be at least {smallest}: 256 bytes and the special_tokens"
            )
        return self
