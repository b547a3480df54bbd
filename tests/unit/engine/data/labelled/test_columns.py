"""Columns: found by name and content, never guessed between two."""

from collections.abc import Sequence

import pytest

from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled.columns import FoundColumns, find_columns
from model_trainer.engine.data.labelled.tables import Sample, TableRow

LONG = (
    "many words that go on and on until there are more than twenty of them in every cell of the column here"
)


def sample(rows: Sequence[dict[str, object]]) -> Sample:
    columns = {column: True for row in rows for column in row}
    return Sample(columns=tuple(columns), rows=tuple(TableRow(i, row) for i, row in enumerate(rows, start=1)))


def found(rows: Sequence[dict[str, object]], columns: Columns | None = None) -> FoundColumns:
    return find_columns(sample(rows), columns or Columns(), file="a.csv")


def refusal(rows: Sequence[dict[str, object]], columns: Columns | None = None) -> AppError:
    with pytest.raises(AppError) as caught:
        found(rows, columns)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.message.startswith("a.csv: ")
    return caught.value


@pytest.mark.parametrize("text", ["text", "Content", "essay", "generation"])
@pytest.mark.parametrize("label", ["label", "isAI", "is-human", "Machine Generated"])
def test_columns_are_found_by_name_however_it_is_spelt(text: str, label: str) -> None:
    columns = found([{"id": 1, label: 1, text: "a"}, {"id": 2, label: 0, text: "b"}])

    assert (columns.text.column, columns.label.column) == (text, label)
    assert columns.names == (text, label)
    assert "name" in columns.text.evidence
    assert "name" in columns.label.evidence


def test_all_roles_are_reported_in_order() -> None:
    row: dict[str, object] = {
        "text": "a",
        "label": 1,
        "source_id": 7,
        "domain": "x",
        "model": "gpt-4",
        "part": "train",
    }

    columns = found([row], Columns(split_col="part"))

    assert [(choice.role, choice.column) for choice in columns.choices] == [
        ("text", "text"),
        ("label", "label"),
        ("group", "source_id"),
        ("domain", "domain"),
        ("generator", "model"),
        ("split", "part"),
    ]


def test_a_column_of_long_strings_is_the_text_whatever_its_name() -> None:
    columns = found([{"stuff": LONG, "title": "short", "label": 1}])

    assert columns.text.column == "stuff"
    assert "only column of strings" in columns.text.evidence


def test_a_column_whose_values_say_human_and_ai_is_the_label_whatever_its_name() -> None:
    columns = found([{"text": "a", "author": "human"}, {"text": "b", "author": "gpt-4"}])

    assert columns.label.column == "author"
    assert columns.label.evidence == "its values say human and AI"


def test_content_decides_where_a_name_could_mean_both() -> None:
    columns = found(
        [{"generated": LONG, "text": None, "label": 1}, {"generated": LONG, "text": None, "label": 0}]
    )

    assert (columns.text.column, columns.label.column) == ("generated", "label")


def test_many_different_values_make_no_label() -> None:
    rows: list[dict[str, object]] = [
        {"text": "a", "label": index % 2, "target": index} for index in range(13)
    ]

    assert found(rows).label.column == "label"
    assert "'label', 'target'" in refusal(rows[:12]).message


def test_a_column_of_clear_labels_is_no_text() -> None:
    rows: list[dict[str, object]] = [{"text": "a", "answer": "human"}, {"text": "b", "answer": "ai"}]

    assert found(rows).text.column == "text"
    assert found(rows).label.column == "answer"


@pytest.mark.parametrize(
    ("row", "pointer", "candidates"),
    [
        ({"text": "a", "content": "b", "label": 1}, "/columns/text_col", "'text', 'content'"),
        ({"one": LONG, "two": LONG, "label": 1}, "/columns/text_col", "'one', 'two'"),
        ({"text": "a", "label": 1, "is_ai": 1}, "/columns/label_col", "'label', 'is_ai'"),
        ({"text": "a", "label": 1, "group": 1, "doc_id": 1}, "/columns/group_col", "'group', 'doc_id'"),
        ({"text": "a", "label": 1, "genre": "x", "domain": "x"}, "/columns/domain_col", "'genre', 'domain'"),
        ({"text": "a", "label": 1, "llm": "x", "model": "x"}, "/columns/generator_col", "'llm', 'model'"),
    ],
)
def test_between_two_columns_that_would_do_none_is_guessed(
    row: dict[str, object], pointer: str, candidates: str
) -> None:
    error = refusal([row])

    assert error.faults[0].pointer == pointer
    assert candidates in error.message


@pytest.mark.parametrize(
    ("row", "columns", "pointer"),
    [
        ({"n": 1, "label": 1}, Columns(), "/columns/text_col"),
        ({"text": "a", "n": [1]}, Columns(), "/columns/label_col"),
        ({"text": "a", "label": 1}, Columns(text_col="essay"), "/columns/text_col"),
        ({"text": "a", "label": 1}, Columns(label_col="y"), "/columns/label_col"),
        ({"text": "a", "label": 1}, Columns(group_col="y"), "/columns/group_col"),
        ({"text": "a", "label": 1}, Columns(domain_col="y"), "/columns/domain_col"),
        ({"text": "a", "label": 1}, Columns(generator_col="y"), "/columns/generator_col"),
        ({"text": "a", "label": 1}, Columns(split_col="y"), "/columns/split_col"),
    ],
)
def test_for_a_missing_column_those_that_are_there_are_listed(
    row: dict[str, object], columns: Columns, pointer: str
) -> None:
    error = refusal([row], columns)

    assert error.faults[0].pointer == pointer
    assert ", ".join(repr(name) for name in row) in error.message


def test_of_very_many_columns_some_are_listed() -> None:
    assert "'c29' and 10 more" in refusal([{f"c{index}": 1.5 for index in range(40)}]).message


def test_named_columns_are_taken_as_named() -> None:
    row: dict[str, object] = {"text": "a", "content": "b", "label": 1, "n": 2, "group": 1}

    columns = found([row], Columns(text_col="content", label_col="n", group_col=None, domain_col="label"))

    assert columns.names == ("content", "n", "label")
    assert columns.group.evidence == "not wanted"
    assert columns.text.evidence == "named in the request"


@pytest.mark.parametrize("label_col", ["auto", "label"])
def test_a_file_without_labels_takes_the_default(label_col: str) -> None:
    columns = found([{"text": "a"}], Columns(label_col=label_col, unlabeled_default_label=0))

    assert columns.label.column is None
    assert "unlabeled_default_label 0" in columns.label.evidence


def test_a_file_with_labels_ignores_the_default() -> None:
    columns = found([{"text": "a", "y": 1}], Columns(label_col="y", unlabeled_default_label=0))

    assert columns.label.column == "y"


def test_source_is_a_generator_where_it_says_human_and_a_domain_elsewhere() -> None:
    generator = found(
        [{"text": "a", "label": 0, "source": "Human"}, {"text": "a", "label": 1, "source": "falcon"}]
    )
    domain = found([{"text": "a", "label": 0, "source": "reddit"}])

    assert (generator.generator.column, generator.domain.column) == ("source", None)
    assert (domain.generator.column, domain.domain.column) == (None, "source")
    assert domain.generator.evidence == "no column has such a name"


def test_a_column_of_lists_names_no_group() -> None:
    assert found([{"text": "a", "label": 0, "group": [1]}]).group.column is None
