"""What a trained tokenizer can do, whatever library is behind it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from model_trainer.core.contracts.tokenizer import TokenizerInfo


@runtime_checkable
class Tokenizer(Protocol):
    """A loaded tokenizer."""

    def inspect(self) -> TokenizerInfo:
        """What it is."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens in the text are text."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts, in parallel where the library can."""
        ...

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of encode(), and for each the characters of `text` it stands for: start, and end behind the last one. Tokens
        that share a character, being some of its bytes each, have the same span."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens become their text."""
        ...
