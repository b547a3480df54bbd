"""metrics.jsonl and timings.jsonl: one row a logged step.

What is a function of spec, data and seed goes to the first, what a clock had a say in to the second.
"""

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ConfigDict, ValidationError

from model_trainer.core.contracts.base import Contract, JsonObject, dump_json
from model_trainer.core.files import disk_errors, fsync_folder, write_atomically

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"


class _Row(Contract):
    model_config = ConfigDict(extra="allow")
    step: int


class RunSeries:
    """Appends rows; a run that starts again from a checkpoint drops the rows that it will write again.

    Files stay open, and rewinding puts new ones in their place: what an owner that lost the run while it was frozen still
    writes goes to the old ones. Leaving the with-block closes them.
    """

    def __init__(self, folder: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        """Nothing is written yet; `fsync` forces an open file to disk."""
        self._fsync = fsync
        self._folder = folder
        self._metrics = _Rows(folder / METRICS_FILE)
        self._timings = _Rows(folder / TIMINGS_FILE)
        self._last_step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.close()
        self._timings.close()

    def rewind(self, step: int) -> None:
        """Keeps the rows up to `step` (0 keeps none)."""
        self._last_step = max(self._metrics.rewind(step), self._timings.rewind(step))

    def append(self, *, step: int, metrics: dict[str, float], timings: dict[str, float]) -> None:
        """One row in each file; it takes the place of one that is there for the same step. Raises DISK_FULL."""
        if step <= self._last_step:
            self.rewind(step - 1)
        self._last_step = step
        self._metrics.append(step, metrics)
        self._timings.append(step, timings)

    def sync(self) -> None:
        """Forces the rows to disk, so that they survive a power cut. For any thread."""
        for path in (self._metrics.path, self._timings.path):
            if path.exists():
                with path.open("rb+") as file:
                    self._fsync(file.fileno())
        fsync_folder(self._folder)


class _Rows:
    """One of the two files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None

    def append(self, step: int, values: dict[str, float]) -> None:
        """In one write, so that readers never see half of a short line. Not forced to disk."""
        row: JsonObject = {"step": step, **values}
        with disk_errors(self.path):
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            rest = f"{dump_json(row)}\n".encode()
            while rest:  # a disk that fills up takes a part, and refuses the next
                rest = rest[self._file.write(rest) :]

    def rewind(self, step: int) -> int:
        """Keeps the rows up to `step`, in a new file; the step of the last of them, 0 without."""
        self.close()
        if not self.path.exists():
            return 0
        rows, last_step = _rows_up_to(self.path, step)
        write_atomically(self.path, rows)
        return last_step

    def close(self) -> None:
        """The next row opens the file again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _rows_up_to(path: Path, step: int) -> tuple[bytes, int]:
    """Whole rows with a step of at most `step`, and the step of the last of them; what a power cut tore or damaged goes,
    with all that follows it."""
    kept: list[bytes] = []
    last_step = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            row = _Row.model_validate_json(line)
        except ValidationError:
            break
        if not line.endswith(b"\n") or row.step > step:
            break
        kept.append(line)
        last_step = row.step
    return b"".join(kept), last_step
