"""Rows out of a Parquet file, without ever holding a cell that is too large: page sizes are looked at before pages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, BinaryIO

from model_trainer.core.errors import ErrorCode
from model_trainer.engine.data.documents import require_parquet
from model_trainer.engine.data.labelled.faults import bad_file, bad_row
from model_trainer.engine.data.labelled.parquet_pages import page_sizes

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

MAX_PAGE_BYTES = 128 << 20
"""Unpacked. Writers aim at 1 MiB a page; only huge cells make one this large."""
_ROWS_AT_ONCE = 32
_BUFFER_BYTES = 1 << 20


def parquet_columns(file: BinaryIO, name: str) -> tuple[str, ...]:
    """The columns that hold one value a row."""
    with _opened(file, name) as table:
        names = table.schema_arrow.names
        flat = set(_chunks(table).values())
        return tuple(column for column in names if column in flat)


def parquet_rows(file: BinaryIO, name: str, columns: tuple[str, ...]) -> Iterator[Mapping[str, object]]:
    """The rows with these columns; those that the file has not are left out of them."""
    with _opened(file, name) as table:
        names = table.schema_arrow.names
        twice = sorted({column for column in names if names.count(column) > 1})
        if twice:
            raise bad_file(name, f"it has more than one column {twice[0]!r}; rename one")
        wanted = [column for column in columns if column in names]
        largest = _largest_page(file, table, name=name, columns=wanted)
        # Small pages have small cells. A dictionary names a large one in every row, and unpacked it stands there as often.
        at_once = max(1, min(_ROWS_AT_ONCE, MAX_PAGE_BYTES // largest))
        number = 1
        # One thread: pyarrow's own pool would not survive the worker's fork.
        for batch in table.iter_batches(at_once, columns=wanted, use_threads=False):
            cells = [_values(batch.column(column), name, number, column) for column in wanted]
            for index in range(batch.num_rows):
                yield {column: values[index] for column, values in zip(wanted, cells, strict=True)}
            number += batch.num_rows


@contextmanager
def _opened(file: BinaryIO, name: str) -> "Iterator[ParquetFile]":
    require_parquet()
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        # Without a buffer of its own size, the whole column of a row group would be read at once.
        table = ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (ArrowException, OSError) as error:
        raise bad_file(
            name, f"it is not a Parquet file, or a damaged one ({type(error).__name__})"
        ) from error
    try:
        yield table
    except (ArrowException, OSError) as error:
        raise bad_file(name, f"it cannot be read as Parquet ({type(error).__name__})") from error


def _largest_page(file: BinaryIO, table: "ParquetFile", *, name: str, columns: list[str]) -> int:
    """Bytes that no page of these columns has more of, as far as it matters. Refuses pages that would not fit in memory: row
    by row, as far as the page headers tell."""
    first_row = 1
    largest = 1
    chunks = _chunks(table)
    for group in range(table.metadata.num_row_groups):
        group_data = table.metadata.row_group(group)
        for index, column in chunks.items():
            chunk = group_data.column(index)
            if column not in columns or chunk.total_uncompressed_size <= MAX_PAGE_BYTES // _ROWS_AT_ONCE:
                continue
            begin = chunk.dictionary_page_offset or chunk.data_page_offset
            row = first_row
            for page in page_sizes(file, begin=begin, num_bytes=chunk.total_compressed_size):
                most = chunk.total_uncompressed_size if page is None else page.num_bytes
                if most > MAX_PAGE_BYTES:
                    raise bad_row(
                        name,
                        row,
                        "this row or one soon after it holds far too long a cell, or the page cannot be measured; "
                        "take long cells out, or write the file with smaller pages",
                        column=column,
                    )
                largest = max(largest, most)
                row += 0 if page is None else page.num_values
        first_row += group_data.num_rows
    return largest


def _chunks(table: "ParquetFile") -> dict[int, str]:
    """The path of every column chunk, by its number: a column of single values has its own name there.
    Empty for a file without rows."""
    if not table.metadata.num_row_groups:
        return {}
    first = table.metadata.row_group(0)
    return {index: first.column(index).path_in_schema for index in range(first.num_columns)}


def _values(column: "Array", name: str, first_row: int, title: str) -> list[object]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError as error:
        cells = (column.slice(index, 1) for index in range(len(column)))
        raise bad_row(
            name,
            first_row + sum(1 for _ in takewhile(_is_utf8, cells)),
            "not UTF-8; write the file again",
            column=title,
            code=ErrorCode.DATA_ENCODING_INVALID,
        ) from error


def _is_utf8(column: "Array") -> bool:
    try:
        column.to_pylist()
    except UnicodeDecodeError:
        return False
    return True
