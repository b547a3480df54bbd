"""`model-trainer predict`: files of texts judged by a runtime bundle, batch by batch; a row out for each text."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from model_trainer.cli.session import Session
from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.detector import AUTO, DecisionName
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors
from model_trainer.serving.detector import Detector

TEXT_FILE = ".txt"
FIELDS = (
    "file",
    "row",
    "probability",
    "verdict",
    "band",
    "threshold",
    "threshold_name",
    "length_bucket",
    "logit",
    "num_words",
    "num_tokens",
    "warnings",
)
"""Of a .csv; a .jsonl has the windows as well."""


@dataclass(frozen=True, slots=True)
class FoundText:
    """One text and where it stands."""

    file: str
    row: int
    text: str


Write = Callable[[FoundText, Prediction], None]


def run_prediction(
    session: Session,
    *,
    bundle: str,
    data_paths: Sequence[str],
    text_col: str | None,
    output: str,
    decision: DecisionName | None,
    batch_size: int,
) -> None:
    """Judges every text of the files; the output is whole or, after an error, not there."""
    if not data_paths:
        raise _refused("--data-path", "name the files to judge: .csv, .jsonl, .parquet or .txt")
    session.ways.doors.log_quietly(session.settings())
    detector = Detector.load(Path(bundle), threads=None)
    counts = {"ai": 0, "human": 0, "uncertain": 0}
    with _writer(output) as write:
        texts = texts_in(data_paths, text_col=text_col)
        while batch := list(islice(texts, batch_size)):
            judged = detector.judge([found.text for found in batch], decision=decision)
            for found, prediction in zip(batch, judged, strict=True):
                counts[prediction.band] += 1
                write(found, prediction)
    told = ", ".join(f"{count} {band}" for band, count in counts.items())
    session.output.note(f"{sum(counts.values())} texts judged: {told}. Not evidence against a person.")


def texts_in(data_paths: Sequence[str], *, text_col: str | None) -> Iterator[FoundText]:
    """The texts of files and of folders of files, in order of their names; a .txt file is one text."""
    for path in map(Path, data_paths):
        if path.is_dir():
            inner = [each for each in sorted(path.rglob("*")) if each.is_file()]
            for each in inner:
                yield from _texts_of(each, text_col=text_col)
        elif path.is_file():
            yield from _texts_of(path, text_col=text_col)
        else:
            raise _refused("--data-path", f"{path} is not there", code=ErrorCode.DATA_NOT_FOUND)


def _texts_of(path: Path, *, text_col: str | None) -> Iterator[FoundText]:
    from model_trainer.engine.data.labelled.unlabelled import texts_of_table

    if path.suffix.lower() == TEXT_FILE:
        try:
            yield FoundText(file=str(path), row=1, text=path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            message = f"{path} is not UTF-8 text."
            raise AppError(ErrorCode.DATA_ENCODING_INVALID, message) from error
        return
    with path.open("rb") as file:
        for row, text in texts_of_table(file, name=str(path), text_col=text_col or AUTO):
            yield FoundText(file=str(path), row=row, text=text)


@contextmanager
def _writer(output: str) -> Iterator[Write]:
    if output == "-":
        stream: TextIO = sys.stdout
        yield _json_lines(stream)
        return
    target = Path(output)
    if target.suffix.lower() not in (".csv", ".jsonl"):
        raise _refused("--output", "end it in .csv or .jsonl, or say - for JSON lines here")
    making = target.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with making.open("w", encoding="utf-8", newline="") as file:
                yield _table(file) if target.suffix.lower() == ".csv" else _json_lines(file)
            making.replace(target)
        finally:
            making.unlink(missing_ok=True)


def _json_lines(file: TextIO) -> Write:
    def write(found: FoundText, judged: Prediction) -> None:
        file.write(dump_json({"file": found.file, "row": found.row, **as_json(judged)}) + "\n")

    return write


def _table(file: TextIO) -> Write:
    table = csv.writer(file)
    table.writerow(FIELDS)

    def write(found: FoundText, judged: Prediction) -> None:
        table.writerow(
            (
                found.file,
                found.row,
                judged.probability,
                judged.verdict,
                judged.band,
                judged.threshold,
                judged.threshold_name,
                judged.length_bucket,
                judged.logit,
                judged.num_words,
                judged.num_tokens,
                "; ".join(judged.warnings),
            )
        )

    return write


def _refused(option: str, message: str, *, code: ErrorCode = ErrorCode.CONFIG_INVALID) -> AppError:
    return AppError(code, f"{option}: {message}.", faults=[FieldFault(option, message)])
