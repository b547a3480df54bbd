"""Labelled texts for a job: found under the data root, prepared, and turned into windows in a scratch folder."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import Label, Reading, WindowPlan
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.entry_hold import EntryHold
from model_trainer.core.files import TEMPORARY_PREFIX, write_atomically
from model_trainer.core.ports.storage import LABELLED_SUFFIXES, CorpusRoot, CorpusSource
from model_trainer.engine.data.labelled.prepare import LabelledRows
from model_trainer.engine.data.labelled_windows import LabelledText, LabelledWindows, write_windows
from model_trainer.serving.tokens import TokenizerFile
from model_trainer.worker.detector.tokenizer import TrainingTexts

DATA_FIELD = "/data_paths"
Report = Callable[[float, str], None]
"""Told how far a piece of work has come, and what it is; may raise to stop it."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A LabelledText."""

    text: str
    label: Label
    group: int
    domain: str
    generator: str
    num_words: int


def locate(corpora: CorpusRoot, data_paths: Iterable[str], *, report: Report) -> list[CorpusSource]:
    """The files of each path, fetched where they are not here; faults name the path by its place in the request."""

    def fetched(done: int, total: int) -> None:
        report(done / max(1, total), f"Fetched {done:,} of {total:,} bytes")

    return [
        corpora.locate(path, suffixes=LABELLED_SUFFIXES, pointer=f"{DATA_FIELD}/{place}", report=fetched)
        for place, path in enumerate(data_paths)
    ]


def counted(report: Report) -> Callable[[int, int], None]:
    """The same report, for who counts bytes."""
    return lambda done, total: report(done / max(1, total), f"Read {done:,} of {total:,} bytes")


@contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """A folder for what can be made again; gone after the with-block, or by the clean-up when this process has died."""
    folder = cache / f"{TEMPORARY_PREFIX}{new_ulid()}"
    folder.mkdir(parents=True)
    hold = EntryHold.of(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del hold


def spooled(rows: Iterable[LabelledText], path: Path, *, report: Report) -> TrainingTexts:
    """The texts of `rows` in a file: who trains a tokenizer pulls them from another thread, more than once."""
    num_bytes = 0
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            if number % _REPORT_EVERY == 0:
                report(0.0, "Setting texts aside for the tokenizer")
            file.write(json.dumps(row.text) + "\n")
            num_bytes += len(row.text.encode("utf-8", "replace"))
    return TrainingTexts(texts=lambda: _texts_of(path), num_bytes=num_bytes)


def windows_of(
    rows: Iterable[LabelledText],
    *,
    total: int,
    tokenizer: Path,
    plan: WindowPlan,
    reading: Reading,
    folder: Path,
    report: Report,
) -> LabelledWindows:
    """`rows` as windows on disk; `total` of them are expected."""
    tokens = TokenizerFile(tokenizer)
    return write_windows(
        _reported(rows, total=total, report=report),
        encode=lambda texts: [each.ids for each in tokens.of(texts)],
        plan=plan,
        reading=reading,
        folder=folder,
    )


def texts_of(rows: LabelledRows, split: SplitName) -> Iterator[LabelledText]:
    """The rows of a split, a fresh pass; what is not known of one is empty."""
    for row in rows.rows(split):
        yield _Text(
            text=row.text,
            label=row.label,
            group=row.group,
            domain=row.domain or "",
            generator=row.generator or "",
            num_words=row.num_words,
        )


def write_report(found: DataReport, path: Path) -> None:
    """Writes data_report.json whole or not at all."""
    write_atomically(path, f"{found.model_dump_json(indent=2)}\n".encode())


def _texts_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            text: object = json.loads(line)
            yield str(text)


def _reported(rows: Iterable[LabelledText], *, total: int, report: Report) -> Iterator[LabelledText]:
    for number, row in enumerate(rows):
        if number % _REPORT_EVERY == 0:
            report(number / max(1, total), f"Turned {number:,} of {total:,} texts into tokens")
        yield row


_REPORT_EVERY = 256
