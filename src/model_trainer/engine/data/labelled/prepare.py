"""Labelled files made ready: read, proven, without duplicates, split, audited; then row by row, as often as is asked."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.data_report import DataReport
from model_trainer.core.contracts.detector import Columns, Label
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.labelled.audit import audit_shortcuts, shortcuts_refused
from model_trainer.engine.data.labelled.reading import HeardBytes, Reading
from model_trainer.engine.data.labelled.scratch import Scratch, scratch_errors
from model_trainer.engine.data.labelled.splits import SPLITS, deal_by_groups, keep_named_splits


@dataclass(frozen=True, slots=True)
class LabelledPlan:
    """What is done to labelled data before a training."""

    seed: int
    holdout_fraction: float
    test_fraction: float
    audit: Literal["warn", "block", "off"]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One text."""

    row_id: int
    text: str
    """As the model sees it: white space collapsed where that was asked for."""
    label: Label
    group: int
    """Equal for rows of one source document."""
    domain: str | None
    generator: str | None
    num_words: int


class LabelledRows:
    """Rows ready to be used, with the report on them. On disk until close()."""

    def __init__(self, scratch: Scratch, report: DataReport) -> None:
        self._scratch = scratch
        self.report = report
        """data_report.json."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the rows from disk; a second time does nothing."""
        self._scratch.close()

    @property
    def data_sha256(self) -> str:
        """Of files, columns, labels and splits."""
        return self.report.data_sha256

    def text_sha256(self, split: SplitName) -> str:
        """Of the texts and labels of a split, in order."""
        return self.report.text_sha256[split]

    def count(self, split: SplitName) -> int:
        """Rows of a split; 0 for one that there is not."""
        figures = self.report.splits.get(split)
        return 0 if figures is None else figures.num_rows

    def rows(self, split: SplitName) -> Iterator[LabelledRow]:
        """The rows of a split, in the order of the files, the same each time. Passes may run at the same time."""
        found: Iterator[tuple[int, str, Label, int, str | None, str | None, int]] = self._scratch.db.execute(
            "SELECT id, text, label, root, domain, generator, words FROM rows JOIN texts USING (id) "
            "WHERE split = ? ORDER BY id",
            (split,),
        )
        for row in found:
            yield LabelledRow(*row)


def prepare(
    sources: Sequence[CorpusSource], columns: Columns, *, plan: LabelledPlan, cache: Path, report: HeardBytes
) -> LabelledRows:
    """Rows for a training, split. Close them after use; when this raises, nothing is left on disk.

    The same files in the same order give the same rows, splits and digests. Raises DATA_FORMAT_UNSUPPORTED,
    DATA_ENCODING_INVALID, DATA_EMPTY, DATA_TOO_SMALL, DATA_CHANGED, CONFIG_INVALID, DISK_FULL; each names file and row,
    or the field of the request.
    """
    with scratch_errors():
        scratch = Scratch(cache, with_traits=plan.audit != "off")
        with ExitStack() as unless_ready:
            unless_ready.callback(scratch.close)
            reading = Reading(scratch, sources, columns, report)
            reading.read()
            splits = _split(scratch, columns, plan)
            audit = () if plan.audit == "off" else audit_shortcuts(scratch.db)
            if plan.audit == "block" and any(finding.is_shortcut for finding in audit):
                raise shortcuts_refused(audit)
            rows = LabelledRows(scratch, reading.report(audit, splits))
            unless_ready.pop_all()
    return rows


def prepare_whole(
    sources: Sequence[CorpusSource], columns: Columns, *, cache: Path, report: HeardBytes
) -> LabelledRows:
    """Labelled texts to measure a model on: all of them are the test split, and nothing is audited. Raises as prepare()
    does, but one class alone will do."""
    with scratch_errors():
        scratch = Scratch(cache, with_traits=False)
        with ExitStack() as unless_ready:
            unless_ready.callback(scratch.close)
            reading = Reading(scratch, sources, columns, report)
            reading.read()
            scratch.db.execute("UPDATE rows SET split = 'test'")
            rows = LabelledRows(scratch, reading.report((), ("test",)))
            unless_ready.pop_all()
    return rows


def _split(scratch: Scratch, columns: Columns, plan: LabelledPlan) -> tuple[SplitName, ...]:
    if columns.split_col is not None:
        return keep_named_splits(scratch.db, column=columns.split_col)
    deal_by_groups(
        scratch.db,
        seed=plan.seed,
        holdout_fraction=plan.holdout_fraction,
        test_fraction=plan.test_fraction,
    )
    return SPLITS if plan.test_fraction > 0 else SPLITS[:2]
