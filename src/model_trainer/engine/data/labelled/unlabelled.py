"""The texts of a table that has no labels, or whose labels nobody asks for."""

from collections.abc import Iterator
from typing import BinaryIO

from model_trainer.engine.data.labelled.columns import find_text_column
from model_trainer.engine.data.labelled.faults import bad_row
from model_trainer.engine.data.labelled.tables import TableReading


def texts_of_table(file: BinaryIO, *, name: str, text_col: str) -> Iterator[tuple[int, str]]:
    """Row number and text of each row of a .parquet, .csv or .jsonl file; raises as find_text_column() and TableReading do,
    and DATA_FORMAT_UNSUPPORTED for a cell that is no text, naming its row."""
    reading = TableReading(file, name=name, heard=lambda _num_bytes: None)
    column = find_text_column(reading.sample(), text_col, file=name)
    for row in reading.rows((column,)):
        text = row.cells.get(column)
        if not isinstance(text, str):
            raise bad_row(name, row.number, "it holds no text", column=column)
        yield row.number, text
