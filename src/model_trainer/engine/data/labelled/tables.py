"""Rows out of one .parquet, .csv or .jsonl file, a few at a time. Knows no labels; every fault names file and row."""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO

from pydantic import ValidationError

from model_trainer.core.contracts.base import type_json_object
from model_trainer.core.errors import AppError, ErrorCode, faults_of
from model_trainer.engine.data.labelled.faults import bad_file, bad_row
from model_trainer.engine.data.labelled.parquet import parquet_columns, parquet_rows

MAX_CELL_CHARACTERS = 16 << 20
"""A longer cell is refused: about 3 million words are no text that anybody judges."""
MAX_LINE_BYTES = 4 * MAX_CELL_CHARACTERS
"""Of a .csv or .jsonl file: no more of a line is ever read. The longest cell, of four-byte characters, fits."""
SAMPLED_ROWS = 200
SAMPLED_CHARACTERS = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLOCK_BYTES = 1 << 18
_ROWS_BETWEEN_REPORTS = 256
_KEY = re.compile(rb'(?<!\\)"((?:[^"\\]|\\.){1,200})"\s*:\s*"')
_HEAD_BYTES = 1 << 20
_CSV_CELL = re.compile(r'(?:"(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+|),')
"""A whole cell and the comma behind it."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row."""

    number: int
    """From 1, the header not counted; in a .jsonl file the line."""
    cells: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of a file, and the columns that it has there."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


class TableReading:
    """One open file: its digest, its first rows, then all of them. `heard(num_bytes)` is told of progress, twice
    the file's size in all, because it is read twice; it may raise to stop."""

    def __init__(self, file: BinaryIO, *, name: str, heard: Callable[[int], None]) -> None:
        """Reads the file once, for its digest."""
        self._file = file
        self._name = name
        self._heard = heard
        self._stamp = self._now()
        self.num_bytes = self._stamp[0]
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            heard(len(block))
        self.sha256 = digest.hexdigest()

    def sample(self) -> Sample:
        """The first rows with all their columns; raises DATA_EMPTY when there is none."""
        rows: list[TableRow] = []
        characters = 0
        for row in self._opened(None):
            rows.append(row)
            characters += sum(len(cell) for cell in row.cells.values() if isinstance(cell, str))
            if len(rows) >= SAMPLED_ROWS or characters >= SAMPLED_CHARACTERS:
                break
        if not rows:
            raise bad_file(self._name, "there is no row in it", code=ErrorCode.DATA_EMPTY)
        columns = {column: True for row in rows for column in row.cells}
        return Sample(columns=tuple(columns), rows=tuple(rows))

    def rows(self, columns: tuple[str, ...]) -> Iterator[TableRow]:
        """Every row with at least these columns; raises DATA_CHANGED when the file has not stayed what it was."""
        told = 0
        for index, row in enumerate(self._opened(columns)):
            if index % _ROWS_BETWEEN_REPORTS == 0:
                at = min(self._file.tell(), self.num_bytes)
                self._heard(max(0, at - told))
                told = max(told, at)
            yield row
        self._heard(self.num_bytes - told)
        if self._now() != self._stamp:
            raise bad_file(
                self._name,
                "it changed while it was read; leave data alone while a job runs, and start the job again",
                code=ErrorCode.DATA_CHANGED,
            )

    def _opened(self, columns: tuple[str, ...] | None) -> Iterator[TableRow]:
        self._file.seek(0)
        match PurePosixPath(self._name).suffix.lower():
            case ".csv":
                return _csv_rows(self._file, self._name)
            case ".jsonl":
                return _jsonl_rows(self._file, self._name)
            case ".parquet":
                wanted = parquet_columns(self._file, self._name) if columns is None else columns
                return (
                    TableRow(number, cells)
                    for number, cells in enumerate(parquet_rows(self._file, self._name, wanted), start=1)
                )
            case suffix:
                raise bad_file(
                    self._name, f"files ending in {suffix!r} are not read: use .parquet, .csv or .jsonl"
                )

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


def _jsonl_rows(file: BinaryIO, name: str) -> Iterator[TableRow]:
    for number, line in enumerate(_lines(file), start=1):
        if len(line) > MAX_LINE_BYTES:
            keys: list[bytes] = _KEY.findall(line[:_HEAD_BYTES])
            column = keys[-1].decode(errors="replace") if keys else None
            raise bad_row(name, number, f"it is longer than {MAX_LINE_BYTES >> 20} MiB", column=column)
        text = _decoded(line, name, number)
        if text.strip():
            try:
                cells = type_json_object.validate_json(text)
            except ValidationError as error:
                raise bad_row(name, number, f"not a JSON object ({faults_of(error)[0].message})") from error
            yield TableRow(number, cells)


def _csv_rows(file: BinaryIO, name: str) -> Iterator[TableRow]:
    # The csv module keeps its limit in the module and has no other: 128 KiB unless told, less than a long article.
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    lines = _CsvLines(file, name)
    reader = csv.reader(lines, strict=True)
    rows = _csv_cells(reader, lines)
    header = next(rows, [])
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise bad_file(name, f"it has more than one column {twice[0]!r}; rename one")
    lines.header = header
    for cells in rows:
        if len(cells) != len(header):
            raise bad_row(
                name,
                lines.number,
                f"it has {len(cells)} cells and the header {len(header)} (line {reader.line_num}); quote cells that hold "
                "commas, quotes or line ends",
            )
        yield TableRow(lines.number, dict(zip(header, cells, strict=True)))


def _csv_cells(reader: Iterator[list[str]], lines: "_CsvLines") -> Iterator[list[str]]:
    """The cells of the header and of every row; an empty line is no row."""
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise lines.fault(str(error)) from error
        if cells is None:
            return
        if cells:
            yield cells
            lines.number += 1
        lines.so_far.clear()


class _CsvLines:
    """The lines of a .csv file as text. Keeps those of the row that is being read, so that a fault can name its column."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._lines = _lines(file)
        self._name = name
        self.number = 0
        """Of the row; the header is 0."""
        self.header: list[str] = []
        self.so_far: list[str] = []

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        text = _decoded(line, self._name, self.number)
        self.so_far.append(text)
        if len(line) > MAX_LINE_BYTES:
            raise self.fault(f"line longer than {MAX_LINE_BYTES >> 20} MiB")
        return text

    def fault(self, why: str) -> AppError:
        """What is wrong, and in which column: the first cell that is not whole."""
        text = "".join(self.so_far)
        cell = at = 0
        while whole := _CSV_CELL.match(text, at):
            cell, at = cell + 1, whole.end()
        column = self.header[min(cell, len(self.header) - 1)] if self.header else None
        return bad_row(
            self._name,
            self.number,
            f"broken quoting or an oversized cell ({why}); a quote inside a quoted cell is written twice, and a cell "
            f"holds at most {MAX_CELL_CHARACTERS >> 20} Mi characters",
            column=column,
        )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends, without a byte order mark; an overlong one is cut just past the limit."""
    first = file.readline(MAX_LINE_BYTES + 1).removeprefix(BYTE_ORDER_MARK)
    rest: Iterator[bytes] = iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")
    return chain([first] if first else [], rest)


def _decoded(line: bytes, name: str, number: int) -> str:
    try:
        # The cut of an overlong line may fall into a character.
        return (
            line[:MAX_LINE_BYTES].decode() if len(line) <= MAX_LINE_BYTES else line.decode(errors="replace")
        )
    except UnicodeDecodeError as error:
        raise bad_row(
            name,
            number,
            f"not UTF-8 at byte {error.start} of its line; save the file as UTF-8",
            code=ErrorCode.DATA_ENCODING_INVALID,
        ) from error
