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

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens become their text."""
        ...
