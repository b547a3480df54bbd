"""Labelled texts as tokens on disk, mapped into memory: what a detector is trained and judged on, window by window.

Written in one pass; memory does not grow with the texts, neither here nor when they are read.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.detector import Label, Reading, WindowPlan
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import disk_errors, write_atomically
from model_trainer.engine.data.logits import LONGEST_NAME
from model_trainer.serving.reading import read_text
from model_trainer.serving.windows import stretches, window_of

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Token ids of texts, without special tokens."""
TOKENS_FILE = "tokens.bin"
ROWS_FILE = "rows.bin"
HEADER_FILE = "windows.json"
_AT_ONCE = 256
"""Texts tokenised together."""
_START, _TOKENS, _LABEL, _GROUP, _WORDS, _DOMAIN, _GENERATOR = range(7)
_COLUMNS = 7


class LabelledText(Protocol):
    """One text as the data room hands it out."""

    @property
    def text(self) -> str: ...

    @property
    def label(self) -> Label: ...

    @property
    def group(self) -> int:
        """Equal for texts of one source document."""
        ...

    @property
    def domain(self) -> str | None: ...

    @property
    def generator(self) -> str | None: ...

    @property
    def num_words(self) -> int: ...


class WindowsHeader(Contract):
    """What is known of the texts beside their tokens."""

    num_texts: int
    num_ai: int
    num_tokens: int
    plan: WindowPlan
    reading: Reading
    domains: tuple[str, ...]
    """By the number that stands in a text's row; the first is for unknown ones."""
    generators: tuple[str, ...]
    text_sha256: str
    """Of texts and labels, in order, before anything was done to them."""
    tokens_sha256: str


@dataclass(frozen=True)
class LabelledWindows:
    """Texts of one split."""

    header: WindowsHeader
    tokens: Tensor
    """Of all texts, one after the other; int32, mapped from disk."""
    rows: Tensor
    """One row a text, int64 [N, 7], mapped from disk: start, number of tokens, label, group, words, domain, generator."""

    def __len__(self) -> int:
        return self.header.num_texts

    @property
    def plan(self) -> WindowPlan:
        """How texts become windows."""
        return self.header.plan

    @property
    def human_over_ai(self) -> float:
        """The weight of AI texts that gives both classes the same say. Raises DATA_TOO_SMALL for a class without texts."""
        num_human = self.header.num_texts - self.header.num_ai
        if num_human == 0 or self.header.num_ai == 0:
            which = "human" if num_human == 0 else "AI"
            raise AppError(ErrorCode.DATA_TOO_SMALL, f"There is no {which} text to learn from. Add some.")
        return num_human / self.header.num_ai

    def num_tokens(self, text: int) -> int:
        """Tokens of one text, special ones not counted."""
        return int(self.rows[text, _TOKENS].item())

    def stretches(self, text: int) -> list[range]:
        """The windows of one text, as ranges of its tokens."""
        return stretches(self.num_tokens(text), self.plan)

    def window(self, text: int, stretch: range) -> list[int]:
        """One window as the model reads it."""
        start = int(self.rows[text, _START].item())
        return window_of(_integers(self.tokens[start + stretch.start : start + stretch.stop]), self.plan)

    def texts(self) -> Iterator[list[int]]:
        """The tokens of each text that has any, without prefix and suffix."""
        for start, num_tokens in zip(self._column(_START), self._column(_TOKENS), strict=True):
            if num_tokens:
                yield _integers(self.tokens[start : start + num_tokens])

    def labels(self) -> list[int]:
        """0 human, 1 AI; of every text."""
        return self._column(_LABEL)

    def groups(self) -> list[int]:
        """Of every text."""
        return self._column(_GROUP)

    def num_words(self) -> list[int]:
        """Of every text."""
        return self._column(_WORDS)

    def domains(self) -> list[str]:
        """Of every text; empty where unknown."""
        return [self.header.domains[code] for code in self._column(_DOMAIN)]

    def generators(self) -> list[str]:
        """Of every text; empty where unknown."""
        return [self.header.generators[code] for code in self._column(_GENERATOR)]

    def _column(self, column: int) -> list[int]:
        return _integers(self.rows[:, column])


def write_windows(
    rows: Iterable[LabelledText], *, encode: Encode, plan: WindowPlan, reading: Reading, folder: Path
) -> LabelledWindows:
    """Tokenises `rows` into `folder` (made here) and maps them. Raises DATA_EMPTY without rows, DISK_FULL, and whatever
    `rows` and `encode` raise."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer()
    with (
        disk_errors(folder),
        (folder / TOKENS_FILE).open("wb") as tokens,
        (folder / ROWS_FILE).open("wb") as table,
    ):
        for chunk in _chunks(rows):
            encoded = encode([read_text(row.text, reading) for row in chunk])
            for row, ids in zip(chunk, encoded, strict=True):
                token_bytes, row_bytes = writer.packed(row, ids)
                tokens.write(token_bytes)
                table.write(row_bytes)
    if writer.num_texts == 0:
        raise AppError(ErrorCode.DATA_EMPTY, "There is no text here. Add labelled texts.")
    header = writer.header(plan=plan, reading=reading)
    write_atomically(folder / HEADER_FILE, f"{header.model_dump_json()}\n".encode())
    return map_windows(folder)


def map_windows(folder: Path) -> LabelledWindows:
    """What write_windows() left in `folder`."""
    header = WindowsHeader.model_validate_json((folder / HEADER_FILE).read_bytes())
    table = _mapped(folder / ROWS_FILE, size=header.num_texts * _COLUMNS, dtype=torch.int64)
    return LabelledWindows(
        header=header,
        tokens=_mapped(folder / TOKENS_FILE, size=header.num_tokens, dtype=torch.int32),
        rows=table.view(header.num_texts, _COLUMNS),
    )


class _Writer:
    """Rows as bytes, and what is counted on the way."""

    def __init__(self) -> None:
        self.num_texts = 0
        self._num_ai = 0
        self._num_tokens = 0
        self._domains: dict[str, int] = {"": 0}
        self._generators: dict[str, int] = {"": 0}
        self._texts_digest = hashlib.sha256()
        self._tokens_digest = hashlib.sha256()

    def packed(self, row: LabelledText, ids: list[int]) -> tuple[bytes, bytes]:
        """The bytes of one text's tokens, and of its row."""
        values = [0] * _COLUMNS
        values[_START], values[_TOKENS] = self._num_tokens, len(ids)
        values[_LABEL], values[_GROUP], values[_WORDS] = row.label, row.group, row.num_words
        values[_DOMAIN] = _code(row.domain, self._domains)
        values[_GENERATOR] = _code(row.generator, self._generators)
        token_bytes = array("i", ids).tobytes()
        text_bytes = row.text.encode("utf-8", "surrogatepass")
        self.num_texts += 1
        self._num_ai += row.label
        self._num_tokens += len(ids)
        self._tokens_digest.update(token_bytes)
        self._texts_digest.update(b"%d %d " % (row.label, len(text_bytes)))
        self._texts_digest.update(text_bytes)
        return token_bytes, array("q", values).tobytes()

    def header(self, *, plan: WindowPlan, reading: Reading) -> WindowsHeader:
        """After the last row."""
        return WindowsHeader(
            num_texts=self.num_texts,
            num_ai=self._num_ai,
            num_tokens=self._num_tokens,
            plan=plan,
            reading=reading,
            domains=tuple(self._domains),
            generators=tuple(self._generators),
            text_sha256=self._texts_digest.hexdigest(),
            tokens_sha256=self._tokens_digest.hexdigest(),
        )


def _integers(values: Tensor) -> list[int]:
    numbers: list[int] = values.tolist()
    return numbers


def _code(name: str | None, codes: dict[str, int]) -> int:
    return codes.setdefault((name or "")[:LONGEST_NAME], len(codes))


def _chunks(rows: Iterable[LabelledText]) -> Iterator[list[LabelledText]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _AT_ONCE)):
        yield chunk


def _mapped(path: Path, *, size: int, dtype: torch.dtype) -> Tensor:
    if size == 0:
        return torch.empty(0, dtype=dtype)  # an empty file cannot be mapped
    return torch.from_file(str(path), shared=False, size=size, dtype=dtype)
