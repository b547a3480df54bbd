"""metrics.jsonl and timings.jsonl: one row a logged step.

What is a function of spec, data and seed goes to the first, what a clock had a say in to the second.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from model_trainer.core.contracts.base import Contract, JsonObject, dump_json
from model_trainer.core.files import append_line, fsync_folder, write_atomically

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"


class _Row(Contract):
    model_config = ConfigDict(extra="allow")
    step: int


class RunSeries:
    """Appends rows; a run that starts again from a checkpoint drops the rows that it will write again."""

    def __init__(self, folder: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        """Nothing is written yet; `fsync` forces an open file to disk."""
        self._fsync = fsync
        self._metrics = folder / METRICS_FILE
        self._timings = folder / TIMINGS_FILE

    def rewind(self, step: int) -> None:
        """Keeps the rows up to `step` (0 keeps none)."""
        for path in (self._metrics, self._timings):
            if path.exists():
                write_atomically(path, _rows_up_to(path, step))

    def append(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        """One row in each file."""
        _append(self._metrics, step, metrics)
        _append(self._timings, step, timings)

    def sync(self) -> None:
        """Forces the rows to disk, so that they survive a power cut."""
        for path in (self._metrics, self._timings):
            if path.exists():
                with path.open("rb+") as file:
                    self._fsync(file.fileno())
        fsync_folder(self._metrics.parent)


def _append(path: Path, step: int, values: dict[str, float]) -> None:
    row: JsonObject = {"step": step, **values}
    append_line(path, dump_json(row))


def _rows_up_to(path: Path, step: int) -> bytes:
    """Whole rows with a step of at most `step`; what a power cut tore or damaged goes, with all that follows it."""
    kept: list[bytes] = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            row = _Row.model_validate_json(line)
        except ValidationError:
            break
        if not line.endswith(b"\n") or row.step > step:
            break
        kept.append(line)
    return b"".join(kept)
