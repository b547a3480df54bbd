"""Are the labelled files there, and do their first rows have texts and labels? A bounded look; the worker reads it all."""

import importlib.util
from collections.abc import Sequence
from itertools import islice
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import BinaryIO

from model_trainer.api.validators.corpus import COMPRESSED, check_readable
from model_trainer.core.contracts.detector import Columns
from model_trainer.core.contracts.prediction import PredictSpec
from model_trainer.core.contracts.run import Worker
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import open_regular
from model_trainer.core.ports.storage import LABELLED_SUFFIXES, CorpusRoot
from model_trainer.engine.data.labelled.columns import FoundColumns, find_columns
from model_trainer.engine.data.labelled.parquet import parquet_columns, parquet_rows
from model_trainer.engine.data.labelled.polarity import ValueSeen, label_value, meanings
from model_trainer.engine.data.labelled.tables import SAMPLED_ROWS, Sample, TableReading, TableRow

MOST_FILES = 32
"""So many files of a request are looked into."""
HEAD_BYTES = 1 << 20
"""So much of each is read; all of a shorter one."""


def check_labelled(
    corpora: CorpusRoot, data_paths: Sequence[str], *, columns: Columns, workers: tuple[Worker, ...]
) -> None:
    """Raises what is wrong with labelled data as far as the first rows tell, naming the path or the column."""
    left = MOST_FILES
    for index, path in enumerate(data_paths):
        pointer = f"/data_paths/{index}"
        try:
            source = corpora.look_up(path, suffixes=LABELLED_SUFFIXES, pointer=pointer)
            check_readable(source, workers=workers)
            for name in source.names[:left] if source.is_near else ():
                with open_regular(source.base / name, below=source.base) as file:
                    _look_into(file, name, columns)
            left -= min(left, len(source.names))
        except AppError as error:
            # Who reads one file does not know which of the paths led there.
            faults = [
                FieldFault(pointer if fault.pointer == "/data_paths" else fault.pointer, fault.message)
                for fault in error.faults
            ]
            raise AppError(error.code, error.message, facts=error.facts, faults=faults).at(pointer) from error


def check_texts(spec: PredictSpec) -> None:
    """Raises CONFIG_INVALID for texts with nothing in them to be judged."""
    faults = [
        FieldFault(f"/texts/{index}", "holds nothing but white space; leave it out")
        for index, text in enumerate(spec.texts)
        if text.isspace()
    ]
    if faults:
        at = ", ".join(fault.pointer for fault in faults[:5])
        raise AppError(ErrorCode.CONFIG_INVALID, f"There is nothing to judge in {at}.", faults=faults)


def _look_into(file: BinaryIO, name: str, columns: Columns) -> None:
    sample, is_whole = _first_rows(file, name)
    if sample is None:
        return
    found = find_columns(sample, columns, file=name)
    # Generators of rows further on may prove what those of the first rows leave open.
    if is_whole or found.generator.column is None:
        _check_labels(sample, found, columns, file=name)


def _first_rows(file: BinaryIO, name: str) -> tuple[Sample | None, bool]:
    """The first rows, None where they cannot be had cheaply; and whether there are no others."""
    if PurePosixPath(name).suffix.lower() == COMPRESSED:
        return _first_of_parquet(file, name), False
    head = file.read(HEAD_BYTES + 1)
    is_whole = len(head) <= HEAD_BYTES
    if not is_whole:
        head = head[: head.rfind(b"\n") + 1]
    with TemporaryFile() as start:
        start.write(head)
        start.seek(0)
        try:
            sample = TableReading(start, name=name, heard=_unheard).sample()
        except AppError:
            if is_whole:
                raise
            return None, False  # the cut may go through a cell or the first row: the worker sees the rest
        return sample, is_whole and len(sample.rows) < SAMPLED_ROWS


def _first_of_parquet(file: BinaryIO, name: str) -> Sample | None:
    if importlib.util.find_spec("pyarrow") is None:
        return None
    columns = parquet_columns(file, name)
    rows = parquet_rows(file, name, columns)
    sampled = tuple(TableRow(number, cells) for number, cells in enumerate(islice(rows, SAMPLED_ROWS), 1))
    return Sample(columns=columns, rows=sampled) if sampled else None


def _check_labels(sample: Sample, found: FoundColumns, columns: Columns, *, file: str) -> None:
    """Raises CONFIG_INVALID for a label value of which nothing proves what it means."""
    column = found.label.column
    if column is None:
        return
    values: dict[str, ValueSeen] = {}
    for row in sample.rows:
        value = label_value(row.cells.get(column))
        if value is not None:
            generator = row.cells.get(found.generator.column or "")
            seen = values.setdefault(value, ValueSeen(first_row=row.number))
            seen.add(generator if isinstance(generator, str) else None)
    meanings(values, column=column, label_map=columns.label_map, file=file)


def _unheard(_num_bytes: int) -> None:
    """Nobody waits for the progress of so little."""
