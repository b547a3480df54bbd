"""Text out of one corpus file, in pieces: .txt and .md, .jsonl, .parquet. Torch-free; knows no splits."""

import codecs
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, assert_never

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model_trainer.core.contracts.corpus import EncodingErrors
from model_trainer.core.errors import AppError, ErrorCode, faults_of

BLOCK_BYTES = 1 << 20
MAX_ROW_BYTES = 64 << 20
"""A longer .jsonl line is refused: a row is the one thing that must fit in memory."""
BYTE_ORDER_MARK = "\ufeff"
PARQUET_MAGIC = b"PAR1"
_ROWS_AT_ONCE = 64

Format = Literal["text", "jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a document; the first piece of each says so."""

    text: str
    starts_document: bool


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    text: str


_row: TypeAdapter[_Row] = TypeAdapter(_Row)


def is_blank(text: str) -> bool:
    """Whether there is nothing in it but white space."""
    return text == "" or text.isspace()


def format_of(name: str) -> Format:
    """How a file is read, by its suffix; raises DATA_FORMAT_UNSUPPORTED."""
    match PurePosixPath(name).suffix.lower():
        case ".txt" | ".md":
            return "text"
        case ".jsonl":
            return "jsonl"
        case ".parquet":
            return "parquet"
        case suffix:
            raise _unsupported(
                name, f"files ending in {suffix!r} are not read: use .txt, .md, .jsonl or .parquet"
            )


class FileReading:
    """One pass over one open file. After the last piece, `sha256`, `num_bytes` and `num_replaced` are complete.

    `heard` is told of bytes as they are read; it may raise to stop.
    """

    def __init__(
        self, file: BinaryIO, *, name: str, encoding_errors: EncodingErrors, heard: Callable[[int], None]
    ) -> None:
        self.num_bytes = 0
        self.num_replaced = 0
        self._file = file
        self._name = name
        self._encoding_errors = encoding_errors
        self._heard = heard
        self._hash = hashlib.sha256()
        self._unreported = 0

    @property
    def sha256(self) -> str:
        """Of the bytes read so far."""
        return self._hash.hexdigest()

    def pieces(self) -> Iterator[Piece]:
        """The file's text, unchanged but for a byte order mark at its start, which is encoding and not text."""
        readers = {"text": self._text, "jsonl": self._jsonl, "parquet": self._parquet}
        yield from readers[format_of(self._name)]()
        self._heard(self._unreported)
        self._unreported = 0

    def shows_text(self, max_bytes: int) -> bool:
        """Whether the file's first bytes hold text; what is wrong in them is raised. Proves nothing of the rest."""
        data = self._file.read(max_bytes)
        whole = not self._file.read(1)
        match format_of(self._name):
            case "text":
                self._take(data)
                return not is_blank(
                    self._decode(data, offset=0, final=whole)[0].removeprefix(BYTE_ORDER_MARK)
                )
            case "jsonl":
                lines = list(BytesIO(data))
                rows = list(self._rows(iter(lines if whole else lines[:-1])))
                return any(not is_blank(row.text) for row in rows)
            case "parquet":
                if not data.startswith(PARQUET_MAGIC):
                    raise _unsupported(self._name, "this is not a Parquet file")
                return True
            case unknown:
                assert_never(unknown)

    def _take(self, data: bytes) -> None:
        offset = data.find(0)
        if offset >= 0:
            raise AppError(
                ErrorCode.DATA_FORMAT_UNSUPPORTED,
                f"{self._name} holds a NUL byte at offset {self.num_bytes + offset}: it is binary, or UTF-16. "
                "Save it as UTF-8 text, or take it out of the corpus.",
                facts={"file": self._name, "offset": self.num_bytes + offset},
            )
        self._count(data)

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self.num_bytes += len(data)
        self._unreported += len(data)
        if self._unreported >= BLOCK_BYTES:
            self._heard(self._unreported)
            self._unreported = 0

    def _text(self) -> Iterator[Piece]:
        rest, starts = b"", True
        while data := self._file.read(BLOCK_BYTES):
            offset = self.num_bytes - len(rest)
            self._take(data)
            text, consumed = self._decode(rest + data, offset=offset, final=False)
            rest = (rest + data)[consumed:]
            yield Piece(text.removeprefix(BYTE_ORDER_MARK) if starts else text, starts_document=starts)
            starts = False
        if rest:
            yield Piece(
                self._decode(rest, offset=self.num_bytes - len(rest), final=True)[0], starts_document=False
            )

    def _jsonl(self) -> Iterator[Piece]:
        yield from self._rows(iter(lambda: self._file.readline(MAX_ROW_BYTES + 1), b""))

    def _rows(self, lines: Iterator[bytes]) -> Iterator[Piece]:
        for number, line in enumerate(lines, start=1):
            if len(line) > MAX_ROW_BYTES:
                raise self._bad_row(
                    number, f"is longer than {MAX_ROW_BYTES >> 20} MiB: cut it into shorter rows"
                )
            offset = self.num_bytes
            self._take(line)
            text = self._decode(line, offset=offset, final=True)[0]
            if number == 1:
                text = text.removeprefix(BYTE_ORDER_MARK)
            if not is_blank(text):
                yield Piece(self._row_text(text, number), starts_document=True)

    def _row_text(self, line: str, number: int) -> str:
        try:
            return _row.validate_json(line).text
        except ValidationError as error:
            fault = faults_of(error)[0]
            raise self._bad_row(
                number, f'is not a JSON object with a string field "text" ({fault.pointer} {fault.message})'
            ) from error

    def _bad_row(self, number: int, fault: str) -> AppError:
        return AppError(
            ErrorCode.DATA_FORMAT_UNSUPPORTED,
            f"{self._name}, line {number} {fault}.",
            facts={"file": self._name, "line": number},
        )

    def _parquet(self) -> Iterator[Piece]:
        while data := self._file.read(BLOCK_BYTES):
            self._count(data)
        self._file.seek(0)
        for row, text in enumerate(_parquet_texts(self._file, self._name)):
            if not isinstance(text, str):
                raise _unsupported(
                    self._name, f'row {row} of column "text" is {type(text).__name__}, not a string'
                )
            yield Piece(text, starts_document=True)

    def _decode(self, data: bytes, *, offset: int, final: bool) -> tuple[str, int]:
        """Text and the number of bytes it stands for; without `final` a cut-off last character stays behind."""
        parts: list[str] = []
        view, done = memoryview(data), 0
        while True:
            try:
                text, used = codecs.utf_8_decode(view[done:], "strict", final)
            except UnicodeDecodeError as error:
                if self._encoding_errors == "strict":
                    raise self._not_utf8(offset + done + error.start) from error
                parts.append(codecs.utf_8_decode(view[done : done + error.start], "strict", True)[0])
                parts.append("\ufffd")
                self.num_replaced += 1
                done += error.end
            else:
                parts.append(text)
                return "".join(parts), done + used

    def _not_utf8(self, offset: int) -> AppError:
        return AppError(
            ErrorCode.DATA_ENCODING_INVALID,
            f"{self._name} is not UTF-8 at byte {offset}. Convert the file, or ask for encoding_errors: replace.",
            facts={"file": self._name, "offset": offset},
        )


def require_parquet(module: str = "pyarrow") -> None:
    """Raises DATA_FORMAT_UNSUPPORTED, with the way out, where Parquet cannot be read."""
    if importlib.util.find_spec(module) is None:
        raise AppError(
            ErrorCode.DATA_FORMAT_UNSUPPORTED,
            "Parquet files need the extra `parquet` on the worker: pip install 'model-trainer[parquet]'.",
        )


def _parquet_texts(file: BinaryIO, name: str) -> Iterator[object]:
    require_parquet()
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            if "text" not in table.schema_arrow.names:
                raise _unsupported(name, 'it has no column "text"')
            # One thread: pyarrow's own pool would not survive the worker's fork.
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=["text"], use_threads=False):
                yield from batch.column("text").to_pylist()
    except UnicodeDecodeError as error:
        raise AppError(
            ErrorCode.DATA_ENCODING_INVALID,
            f'{name} holds strings in column "text" that are not UTF-8. Write the file again.',
            facts={"file": name},
        ) from error
    except ArrowException as error:
        raise _unsupported(name, f"it cannot be read as Parquet ({type(error).__name__})") from error


def _unsupported(name: str, why: str) -> AppError:
    return AppError(
        ErrorCode.DATA_FORMAT_UNSUPPORTED,
        f"{name}: {why}.",
        facts={"file": name},
    )
