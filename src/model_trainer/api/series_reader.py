"""Joins metrics.jsonl with timings.jsonl by step, row by row, while both may still grow."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model_trainer.api.schemas.series import SeriesRow

_numbers: TypeAdapter[dict[str, float | None]] = TypeAdapter(dict[str, float | None])
STEP = "step"
CHUNK_CHARACTERS = 64 * 1024


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    step: int
    values: dict[str, float]


def series_rows(metrics: Path | None, timings: Path | None) -> Iterator[SeriesRow]:
    """Every row of the series. Both files are in order of steps; a step without timings has none."""
    beside = _rows(timings)
    waiting = next(beside, None)
    for row in _rows(metrics):
        while waiting is not None and waiting.step < row.step:
            waiting = next(beside, None)
        found: dict[str, float] = {}
        if waiting is not None and waiting.step == row.step:
            found = waiting.values
            waiting = next(beside, None)
        yield SeriesRow(step=row.step, metrics=row.values, timings=found)


def series_document(run_id: str, rows: Iterator[SeriesRow]) -> Iterator[bytes]:
    """The answer's JSON in pieces: memory does not grow with the series."""
    piece = [f'{{"run_id":{json.dumps(run_id)},"data":[']
    size, comma = 0, ""
    for row in rows:
        text = comma + row.model_dump_json()
        piece.append(text)
        size, comma = size + len(text), ","
        if size >= CHUNK_CHARACTERS:
            yield "".join(piece).encode()
            piece, size = [], 0
    piece.append("]}")
    yield "".join(piece).encode()


def _rows(path: Path | None) -> Iterator[_Row]:
    if path is None:
        return
    with path.open("rb") as file:
        for line in file:
            row = _parsed(line)
            if row is not None:
                yield row


def _parsed(line: bytes) -> _Row | None:
    """A whole row; None for the torn last line of a file that is being written."""
    try:
        values = _numbers.validate_json(line)
    except ValidationError:
        return None
    step = values.pop(STEP, None)
    if step is None:
        return None
    return _Row(step=int(step), values={name: value for name, value in values.items() if value is not None})
