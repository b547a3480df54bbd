"""What a character tokenizer is asked for."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from model_trainer.core.contracts.tokenizer import TokenizerSpec
from model_trainer.core.errors import wrong_field

UNKNOWN = "<unk>"


class CharSpec(TokenizerSpec):
    """One token a character."""

    vocab_size_is_exact: ClassVar[bool] = False
    method: Literal["char"] = "char"
    vocab_size: Annotated[int, Field(ge=3, le=1_000_000)] = 8000
    """At most this many entries, the most frequent characters first; text with fewer characters gives fewer."""

    @model_validator(mode="after")
    def _has_room_for_characters(self) -> "CharSpec":
        if UNKNOWN in self.special_tokens:
            raise wrong_field("special_tokens", f"special_tokens must not hold {UNKNOWN}: it is always there")
        if self.vocab_size < len(self.special_tokens) + 2:
            raise wrong_field("vocab_size", f"vocab_size must leave room for {UNKNOWN} and one character")
        return self
