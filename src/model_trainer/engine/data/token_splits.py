"""Token streams on disk: one raw little-endian file a split, mapped into memory, and what is known of its text.

Knows neither models nor where text comes from.
"""

import hashlib
import math
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from model_trainer.core.contracts.base import Contract
from model_trainer.core.entry_hold import EntryHold

TokenType = Literal["uint16", "uint32"]
_DTYPES: dict[TokenType, torch.dtype] = {"uint16": torch.uint16, "uint32": torch.uint32}
_ARRAY_CODES: dict[TokenType, Literal["H", "I"]] = {"uint16": "H", "uint32": "I"}
ITEM_BYTES: dict[TokenType, int] = {"uint16": 2, "uint32": 4}


class SplitFacts(Contract):
    """What a packed split holds. Words are what white space separates."""

    num_tokens: int
    """Of the stream, end-of-text tokens included."""
    num_end_of_text: int
    """End-of-text tokens that packing put in: one before each document."""
    num_bytes: int
    """Of the text in UTF-8."""
    num_characters: int
    num_words: int
    num_documents: int
    num_passages: int
    document_tokens_mean: float
    """Tokens of a document's text, without its end-of-text token."""
    document_tokens_p50: float
    document_tokens_p95: float
    document_tokens_max: int
    text_sha256: str
    """Of the documents' text alone: equal for the same text under any tokenizer."""
    tokens_sha256: str
    """Of the token file."""


@dataclass(frozen=True)
class TokenSplit:
    """One packed split, mapped when it is made: the name of its file may go while it is in use."""

    path: Path
    token_type: TokenType
    end_of_text_id: int | None
    facts: SplitFacts
    hold: EntryHold | None = field(default=None, compare=False, repr=False)
    """On the cache entry that the file is of."""

    def __post_init__(self) -> None:
        self.tokens()

    def tokens(self) -> Tensor:
        """The stream, mapped read-only from disk (unsigned; widen what you take with `.to(torch.int64)`)."""
        if self.hold is not None:
            self.hold.touch()  # what is read through a map leaves no mark on the file
        return self._mapped

    @cached_property
    def _mapped(self) -> Tensor:
        dtype = _DTYPES[self.token_type]
        if self.facts.num_tokens == 0:
            return torch.empty(0, dtype=dtype)  # an empty file cannot be mapped
        return torch.from_file(str(self.path), shared=False, size=self.facts.num_tokens, dtype=dtype)


@dataclass(frozen=True, slots=True)
class TokenSplits:
    """The three packed splits of one corpus; `test` is empty when the plan keeps none."""

    train: TokenSplit
    validation: TokenSplit
    test: TokenSplit


def token_type_for(vocab_size: int) -> TokenType:
    """The smallest type that holds every id."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


class SplitWriter:
    """Writes one split, passage by passage; memory does not grow with it."""

    def __init__(
        self,
        file: BinaryIO,
        *,
        token_type: TokenType,
        end_of_text_id: int | None,
        byte_order: str = sys.byteorder,
    ) -> None:
        """`byte_order`: of this machine; what is written is little-endian everywhere."""
        self._file = file
        self._code = _ARRAY_CODES[token_type]
        self._swaps_bytes = byte_order == "big"
        self._end_of_text_id = end_of_text_id
        self._tokens_digest = hashlib.sha256()
        self._text_digest = hashlib.sha256()
        self._num_tokens = 0
        self._num_end_of_text = 0
        self._num_bytes = 0
        self._num_characters = 0
        self._num_words = 0
        self._num_passages = 0
        self._document_tokens = 0
        # Different lengths are at most the square root of twice the tokens: small for any corpus.
        self._lengths: Counter[int] = Counter()

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of text written so far."""
        return self._num_bytes

    def add(self, text: str, ids: list[int], *, continues: bool) -> None:
        """Appends one passage; one that does not continue its predecessor begins a document."""
        text_bytes = text.encode()
        if self._num_passages == 0 or not continues:
            self._begin_document()
        self._document_tokens += len(ids)
        if self._end_of_text_id is not None and not continues:
            ids = [self._end_of_text_id, *ids]
            self._num_end_of_text += 1
        self._num_tokens += len(ids)
        self._num_passages += 1
        self._num_bytes += len(text_bytes)
        self._num_characters += len(text)
        self._num_words += len(text.split())
        self._text_digest.update(text_bytes)
        self._write(ids)

    def facts(self) -> SplitFacts:
        """What was written."""
        lengths = self._lengths.copy()
        if self._num_passages:
            lengths[self._document_tokens] += 1
        num_documents = lengths.total()
        total = sum(length * count for length, count in lengths.items())
        return SplitFacts(
            num_tokens=self._num_tokens,
            num_end_of_text=self._num_end_of_text,
            num_bytes=self._num_bytes,
            num_characters=self._num_characters,
            num_words=self._num_words,
            num_documents=num_documents,
            num_passages=self._num_passages,
            document_tokens_mean=total / num_documents if num_documents else 0.0,
            document_tokens_p50=_quantile(lengths, 0.5),
            document_tokens_p95=_quantile(lengths, 0.95),
            document_tokens_max=max(lengths, default=0),
            text_sha256=self._text_digest.hexdigest(),
            tokens_sha256=self._tokens_digest.hexdigest(),
        )

    def _begin_document(self) -> None:
        if self._num_passages:
            self._lengths[self._document_tokens] += 1
        self._document_tokens = 0
        self._text_digest.update(b"\0")

    def _write(self, ids: list[int]) -> None:
        values = array(self._code, ids)
        if self._swaps_bytes:
            values.byteswap()
        data = values.tobytes()
        self._tokens_digest.update(data)
        self._file.write(data)


def _quantile(lengths: Counter[int], share: float) -> float:
    """The smallest length that at least `share` of the documents do not exceed; 0 without documents."""
    rank = math.ceil(share * lengths.total())
    for length in sorted(lengths):
        rank -= lengths[length]
        if rank <= 0:
            return float(length)
    return 0.0
