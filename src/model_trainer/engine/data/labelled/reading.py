"""Reads labelled files into a scratch: columns found, cells checked, labels proven, duplicates left out."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from model_trainer.core.contracts.corpus import SplitName
from model_trainer.core.contracts.data_report import (
    DataReport,
    Duplicates,
    LabelMeaning,
    ShortcutFinding,
    SourceFile,
)
from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import open_regular
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.documents import is_blank
from model_trainer.engine.data.labelled.columns import MOST_LABELS, FoundColumns, find_columns
from model_trainer.engine.data.labelled.faults import bad_row, shown
from model_trainer.engine.data.labelled.polarity import ValueSeen, label_value, meanings, require_one_meaning
from model_trainer.engine.data.labelled.report import Findings, build_report
from model_trainer.engine.data.labelled.scratch import RawRow, Scratch
from model_trainer.engine.data.labelled.splits import SPLIT_VALUES
from model_trainer.engine.data.labelled.tables import MAX_CELL_CHARACTERS, TableReading, TableRow

HeardBytes = Callable[[int, int], None]
"""Told of (bytes done, bytes in all), each file counted twice because it is read twice; may raise to stop."""


class Reading:
    """All files, read into a scratch; what is found out on the way."""

    def __init__(
        self, scratch: Scratch, sources: Sequence[CorpusSource], columns: Columns, report: HeardBytes
    ) -> None:
        self._scratch = scratch
        self._sources = sources
        self._columns = columns
        self._report = report
        self._done = 0
        self._total = 2 * sum(source.num_bytes for source in sources)
        self._files: list[SourceFile] = []
        self._warnings: list[str] = []
        self._num_empty = 0
        self._duplicates = Duplicates(same_label=0, conflicting=0, joined_groups=0)

    def read(self) -> None:
        """Reads every file, proves labels, leaves out duplicates. Once."""
        for source in self._sources:
            for name in source.names:
                self._file(source, name)
        require_one_meaning(self._files)
        self._duplicates = self._scratch.leave_out_duplicates()
        if not self._scratch.number("SELECT COUNT(*) FROM rows"):
            message = "No text is left: all are empty, or have the same text labelled human and AI."
            raise AppError(ErrorCode.DATA_EMPTY, message, faults=[FieldFault("/data_paths", message)])

    def report(self, audit: tuple[ShortcutFinding, ...], splits: Sequence[SplitName]) -> DataReport:
        """The report, after rows have their splits."""
        self._scratch.settle()
        found = Findings(
            files=tuple(self._files),
            num_empty=self._num_empty,
            duplicates=self._duplicates,
            group_evidence=_group_evidence(self._files),
            audit=audit,
            warnings=tuple(self._warnings),
        )
        return build_report(self._scratch.db, found, splits=splits)

    def _heard(self, num_bytes: int) -> None:
        self._done += num_bytes
        self._report(self._done, max(self._total, self._done))

    def _file(self, source: CorpusSource, name: str) -> None:
        path = _shown_path(source, name)
        with open_regular(source.base / name, below=source.base) as file:
            table = TableReading(file, name=path, heard=self._heard)
            found = find_columns(table.sample(), self._columns, file=path)
            rows = _FileRows(path, found, index=len(self._files))
            before = self._scratch.last_id()
            num_rows = 0
            for row in table.rows(found.names):
                num_rows += 1
                raw = rows.raw(row, collapse=self._columns.collapse_whitespace)
                if raw is None:
                    self._num_empty += 1
                else:
                    self._scratch.add(raw)
        labels = self._prove(rows, found, path)
        default = [(None, label) for label in (self._columns.unlabeled_default_label,) if label is not None]
        self._scratch.set_labels(
            after=before, labels=[(meaning.value, meaning.label) for meaning in labels] or default
        )
        self._files.append(
            SourceFile(
                path=path,
                num_bytes=table.num_bytes,
                sha256=table.sha256,
                num_rows=num_rows,
                columns=found.choices,
                labels=labels,
            )
        )

    def _prove(self, rows: "_FileRows", found: FoundColumns, path: str) -> tuple[LabelMeaning, ...]:
        if found.label.column is None:
            return ()
        proven, warnings = meanings(
            rows.values, column=found.label.column, label_map=self._columns.label_map, file=path
        )
        self._warnings += warnings
        return proven


class _FileRows:
    """Turns the rows of one file into raw ones; remembers the label values it has seen."""

    def __init__(self, path: str, found: FoundColumns, *, index: int) -> None:
        self.values: dict[str, ValueSeen] = {}
        self._path = path
        self._found = found
        self._index = index

    def raw(self, row: TableRow, *, collapse: bool) -> RawRow | None:
        """None where the text is empty. Raises for cells that are not what their column should hold."""
        text = self._text(row)
        generator = self._name(row, self._found.generator.column)
        value = self._label_value(row, generator)
        if is_blank(text):
            return None
        return RawRow(
            file=self._index,
            number=row.number,
            text=" ".join(text.split()) if collapse else text,
            value=value,
            group=self._name(row, self._found.group.column),
            domain=self._name(row, self._found.domain.column),
            generator=generator,
            split=self._split(row),
        )

    def _text(self, row: TableRow) -> str:
        column = str(self._found.text.column)
        cell = row.cells.get(column)
        if not isinstance(cell, str):
            what = "nothing" if cell is None else type(cell).__name__
            raise self._fault(
                row, column, f"a text is needed, and this is {what}; mend the row or take it out"
            )
        if len(cell) > MAX_CELL_CHARACTERS:
            raise self._fault(
                row,
                column,
                f"the text is longer than {MAX_CELL_CHARACTERS >> 20} Mi characters; cut it into rows",
            )
        return cell

    def _label_value(self, row: TableRow, generator: str | None) -> str | None:
        column = self._found.label.column
        if column is None:
            return None
        cell = row.cells.get(column)
        value = label_value(cell)
        if value is None:
            raise self._fault(
                row, column, "the label is missing (or no label at all); mend the row or take it out"
            )
        if value not in self.values and len(self.values) >= MOST_LABELS:
            raise self._fault(
                row, column, f"more than {MOST_LABELS} different values; name the right column as label_col"
            )
        self.values.setdefault(value, ValueSeen(first_row=row.number)).add(generator)
        return value

    def _name(self, row: TableRow, column: str | None) -> str | None:
        cell = None if column is None else row.cells.get(column)
        if column is not None and cell is not None and not isinstance(cell, (str, int, float)):
            raise self._fault(row, column, f"a name or number is needed, and this is {type(cell).__name__}")
        return label_value(cell)

    def _split(self, row: TableRow) -> SplitName | None:
        column = self._found.split.column
        if column is None:
            return None
        value = label_value(row.cells.get(column)) or ""
        split = SPLIT_VALUES.get(value.casefold())
        if split is None:
            raise self._fault(
                row, column, f"{shown(value)} is no split; use train, validation (val, valid, dev) or test"
            )
        return split

    def _fault(self, row: TableRow, column: str, why: str) -> AppError:
        return bad_row(self._path, row.number, why, column=column)


def _shown_path(source: CorpusSource, name: str) -> str:
    """A file as the request names it: itself, or below its folder."""
    path = PurePosixPath(source.corpus_path)
    return source.corpus_path if path.name == name else str(path / name)


def _group_evidence(files: Sequence[SourceFile]) -> str:
    """Where groups come from, file by file."""
    columns = {
        file.path: choice.column for file in files for choice in file.columns if choice.role == "group"
    }
    named = sorted({repr(column) for column in columns.values() if column is not None})
    without = [path for path, column in columns.items() if column is None]
    said = [f"rows of one value of {' or '.join(named)} stay together"] if named else []
    if without:
        said.append(
            "each text is its own group"
            if not named
            else f"in {len(without):,} files without such a column each text is its own group"
        )
    return "; ".join(said) + "."
