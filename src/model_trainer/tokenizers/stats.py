"""What a tokenizer does to text, measured as it streams by. Knows no kind and no library."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from model_trainer.core.contracts.tokenizer import TokenizerStats
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.tokenizers import Tokenizer

_BATCH_CHARACTERS = 1 << 20


def measure(
    tokenizer: Tokenizer, texts: Iterable[str], *, measured_on: Literal["holdout", "train"]
) -> TokenizerStats:
    """Encodes and decodes every text once. Raises DATA_EMPTY when there is none.

    A word is what white space bounds. A character survives when decoding gives it back, in whatever place: counted
    as the overlap of both texts' characters, which finds every loss but a pure change of order.
    """
    info = tokenizer.inspect()
    counts = _Counts(unknown_id=info.unknown_id)
    for batch in _batches(texts):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            counts.add(tokenizer, text, ids)
    if counts.characters == 0:
        raise AppError(
            ErrorCode.DATA_EMPTY,
            "There is no text to measure the tokenizer on. Add text, or ask for another holdout_fraction.",
        )
    return TokenizerStats(
        measured_on=measured_on,
        num_characters=counts.characters,
        num_words=counts.words,
        num_bytes=counts.num_bytes,
        num_tokens=counts.tokens,
        coverage=1 - counts.unknown_tokens / counts.tokens,
        char_coverage=counts.surviving / counts.characters,
        oov_rate=counts.unknown_words / max(1, counts.words),
        tokens_per_char=counts.tokens / counts.characters,
        tokens_per_word=counts.tokens / max(1, counts.words),
        bytes_per_token=counts.num_bytes / counts.tokens,
        vocab_used=len(counts.used),
        vocab_used_fraction=len(counts.used) / info.vocab_size,
    )


@dataclass(slots=True)
class _Counts:
    unknown_id: int | None
    characters: int = 0
    words: int = 0
    num_bytes: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    unknown_words: int = 0
    surviving: int = 0
    used: set[int] = field(default_factory=set)

    def add(self, tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
        words = text.split()
        self.characters += len(text)
        self.words += len(words)
        self.num_bytes += len(text.encode())
        self.tokens += len(ids)
        self.used.update(ids)
        self.surviving += _surviving(text, tokenizer.decode([one for one in ids if one != self.unknown_id]))
        if self.unknown_id is not None and self.unknown_id in ids:
            self.unknown_tokens += ids.count(self.unknown_id)
            self.unknown_words += self._with_unknown(tokenizer, words)

    def _with_unknown(self, tokenizer: Tokenizer, words: list[str]) -> int:
        times = Counter(words)
        encoded = zip(times.values(), tokenizer.encode_batch(list(times)), strict=True)
        return sum(count for count, ids in encoded if self.unknown_id in ids)


def _surviving(text: str, decoded: str) -> int:
    return len(text) if text == decoded else (Counter(text) & Counter(decoded)).total()


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in batches that the library can work on in parallel, bounded in size."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch
