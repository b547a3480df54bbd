"""Which column says what, found by name and content in a file's first rows. Never guessed between two that would do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from model_trainer.core.contracts.data_report import ColumnChoice
from model_trainer.core.contracts.detector import AUTO, Columns
from model_trainer.core.errors import AppError
from model_trainer.engine.data.labelled.faults import bad_field
from model_trainer.engine.data.labelled.names import meaning_of_name, plain
from model_trainer.engine.data.labelled.tables import Sample

Role = Literal["text", "label", "group", "domain", "generator", "split"]
MOST_LABELS = 64
"""A column with more different values is no label column."""
_SAMPLED_LABELS = 12
_LABEL_CHARACTERS = 40
_LONG_WORDS = 20
"""Mean words of a column that is taken for text whatever its name."""
_LISTED = 30

_TEXT = frozenset(
    {"text", "content", "body", "document", "article", "essay", "passage", "response", "answer"}
)
_TEXT_TOO = frozenset(
    {"generation", "completion", "output", "sentence", "abstract", "story", "review", "post"}
)
_LABEL = frozenset(
    {"label", "labels", "target", "class", "is_ai", "ai", "is_generated", "generated", "is_llm"}
)
_LABEL_TOO = frozenset(
    {"is_machine", "machine_generated", "ai_generated", "is_ai_generated", "is_machine_generated"}
)
_LABEL_HUMAN = frozenset(
    {"is_human", "human", "human_written", "is_human_written", "is_fake", "fake", "is_real"}
)
_GROUP = frozenset({"group", "group_id", "source_id", "source_document", "doc_id", "document_id", "pair_id"})
_GROUP_TOO = frozenset({"prompt_id", "question_id", "parent_id"})
_DOMAIN = frozenset({"domain", "genre", "topic", "category", "subject", "dataset"})
_GENERATOR = frozenset({"generator", "generator_name", "model", "model_name", "llm", "source_model"})
_SOURCE = "source"
"""A generator where some value says human, a domain elsewhere."""


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """The columns of one file by role; label is missing where `unlabeled_default_label` stands for it."""

    text: ColumnChoice
    label: ColumnChoice
    group: ColumnChoice
    domain: ColumnChoice
    generator: ColumnChoice
    split: ColumnChoice

    @property
    def choices(self) -> tuple[ColumnChoice, ...]:
        """All of them, in a fixed order."""
        return (self.text, self.label, self.group, self.domain, self.generator, self.split)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple({choice.column: True for choice in self.choices if choice.column is not None})


def find_columns(sample: Sample, columns: Columns, *, file: str) -> FoundColumns:
    """The columns of one file. Raises CONFIG_INVALID, with the candidates, for a column that is missing or ambiguous."""
    look = _Look(sample, file)
    text = look.text(columns.text_col)
    label = look.label(columns, text=text.column)
    return FoundColumns(
        text=text,
        label=label,
        group=look.optional("group", columns.group_col, _GROUP | _GROUP_TOO, look.has_scalars),
        domain=look.optional("domain", columns.domain_col, look.domain_names(), look.has_scalars),
        generator=look.optional("generator", columns.generator_col, look.generator_names(), look.has_scalars),
        split=look.split(columns.split_col),
    )


def find_text_column(sample: Sample, text_col: str, *, file: str) -> str:
    """The column of texts alone, of a file whose labels nobody asks for; raises as find_columns()."""
    return _Look(sample, file).text(text_col).column or text_col


class _Look:
    """The first rows of one file, asked about its columns."""

    def __init__(self, sample: Sample, file: str) -> None:
        self._columns = sample.columns
        self._cells: dict[str, list[object]] = {
            column: [row.cells[column] for row in sample.rows if row.cells.get(column) not in (None, "")]
            for column in sample.columns
        }
        self._file = file

    def text(self, asked: str) -> ColumnChoice:
        if asked != AUTO:
            return self._named("text", asked)
        by_name = self._matching(_TEXT | _TEXT_TOO, self._is_text)
        if by_name:
            return self._only("text", by_name, "by its name, and it holds strings")
        long = [column for column in self._columns if self._mean_words(column) >= _LONG_WORDS]
        if long:
            return self._only("text", long, f"the only column of strings of {_LONG_WORDS} words or more")
        raise self._missing("text", "no column of texts is found")

    def label(self, columns: Columns, *, text: str | None) -> ColumnChoice:
        default = columns.unlabeled_default_label
        if columns.label_col != AUTO and (columns.label_col in self._columns or default is None):
            return self._named("label", columns.label_col)
        if columns.label_col == AUTO:
            names = _LABEL | _LABEL_TOO | _LABEL_HUMAN
            found = [column for column in self._matching(names, self._is_label) if column != text]
            if found:
                return self._only("label", found, "by its name, and it holds few different values")
            clear = [column for column in self._columns if column != text and self._is_clear(column)]
            if clear:
                return self._only("label", clear, "its values say human and AI")
        if default is not None:
            return ColumnChoice(
                role="label",
                column=None,
                evidence=f"no label column: unlabeled_default_label {default} for all",
            )
        raise self._missing("label", "no column of labels is found, and unlabeled_default_label is not given")

    def optional(
        self, role: Role, asked: str | None, names: frozenset[str], fits: Callable[[str], bool]
    ) -> ColumnChoice:
        if asked is None:
            return ColumnChoice(role=role, column=None, evidence="not wanted")
        if asked != AUTO:
            return self._named(role, asked)
        found = self._matching(names, fits)
        if found:
            return self._only(role, found, "by its name")
        return ColumnChoice(role=role, column=None, evidence="no column has such a name")

    def split(self, asked: str | None) -> ColumnChoice:
        if asked is None:
            return ColumnChoice(role="split", column=None, evidence="not wanted: split by groups and seed")
        return self._named("split", asked)

    def domain_names(self) -> frozenset[str]:
        return _DOMAIN if self._source_says_human() else _DOMAIN | {_SOURCE}

    def generator_names(self) -> frozenset[str]:
        return _GENERATOR | {_SOURCE} if self._source_says_human() else _GENERATOR

    def has_scalars(self, column: str) -> bool:
        return all(isinstance(cell, (str, int, float)) for cell in self._cells[column])

    def _source_says_human(self) -> bool:
        cells = [cell for column in self._columns if plain(column) == _SOURCE for cell in self._cells[column]]
        return any(isinstance(cell, str) and meaning_of_name(cell) == 0 for cell in cells)

    def _is_text(self, column: str) -> bool:
        cells = self._cells[column]
        return bool(cells) and all(isinstance(cell, str) for cell in cells) and not self._is_clear(column)

    def _is_label(self, column: str) -> bool:
        cells = self._cells[column]
        short = all(
            isinstance(cell, (int, float)) or (isinstance(cell, str) and len(cell) <= _LABEL_CHARACTERS)
            for cell in cells
        )
        return bool(cells) and short and len({str(cell) for cell in cells}) <= _SAMPLED_LABELS

    def _is_clear(self, column: str) -> bool:
        if not self._is_label(column):
            return False
        return {meaning_of_name(str(cell)) for cell in self._cells[column]} == {0, 1}

    def _mean_words(self, column: str) -> float:
        counts = [len(cell.split()) if isinstance(cell, str) else 0 for cell in self._cells[column]]
        return sum(counts) / max(1, len(counts))

    def _matching(self, names: frozenset[str], fits: Callable[[str], bool]) -> list[str]:
        return [column for column in self._columns if plain(column) in names and fits(column)]

    def _named(self, role: Role, column: str) -> ColumnChoice:
        if column not in self._columns:
            raise self._missing(role, f"it has no column {column!r}")
        return ColumnChoice(role=role, column=column, evidence="named in the request")

    def _only(self, role: Role, found: Sequence[str], why: str) -> ColumnChoice:
        if len(found) > 1:
            raise bad_field(
                f"/columns/{role}_col",
                f"any of the columns {_listed(found)} could be the {role}; name one as {role}_col",
                file=self._file,
            )
        return ColumnChoice(role=role, column=found[0], evidence=why)

    def _missing(self, role: Role, why: str) -> AppError:
        return bad_field(
            f"/columns/{role}_col",
            f"{why}; its columns are {_listed(self._columns)}: name one as {role}_col",
            file=self._file,
        )


def _listed(columns: Sequence[str]) -> str:
    more = len(columns) - _LISTED
    listed = ", ".join(repr(column) for column in columns[:_LISTED])
    return listed if more <= 0 else f"{listed} and {more} more"
