"""Polarity: what label values mean, proven or refused."""

from collections.abc import Mapping, Sequence

import pytest

from model_trainer.core.contracts.data_report import ColumnChoice, LabelMeaning, SourceFile
from model_trainer.core.contracts.detector import Label
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled.names import meaning_in_column, meaning_of_name, plain
from model_trainer.engine.data.labelled.polarity import ValueSeen, label_value, meanings, require_one_meaning


def seen(**generators: Sequence[str | None]) -> dict[str, ValueSeen]:
    """Values (written v0, v1, ...) with the generators of their rows."""
    values: dict[str, ValueSeen] = {}
    for row, (name, of_rows) in enumerate(generators.items(), start=1):
        value = values.setdefault(name.removeprefix("v"), ValueSeen(first_row=row))
        for generator in of_rows:
            value.add(generator)
    return values


def proven(
    values: Mapping[str, ValueSeen], column: str = "label", label_map: Mapping[str, Label] | None = None
) -> dict[str, Label]:
    found, warnings = meanings(values, column=column, label_map=label_map or {}, file="a.csv")
    assert not warnings
    return {meaning.value: meaning.label for meaning in found}


def refusal(
    values: Mapping[str, ValueSeen], column: str = "label", label_map: Mapping[str, Label] | None = None
) -> AppError:
    with pytest.raises(AppError) as caught:
        proven(values, column, label_map)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "human",
        "Human",
        "REAL",
        "original",
        "human-written",
        "written by a person",
        "not AI",
        "non-ai",
        "human_answers",
    ],
)
def test_names_that_say_human(name: str) -> None:
    assert meaning_of_name(name) == 0


@pytest.mark.parametrize(
    "name",
    [
        "ai",
        "AI-generated",
        "machine",
        "fake",
        "gpt-4",
        "GPT2-xl",
        "ChatGPT",
        "llama-2-70b",
        "gpt-j-6B",
        "not human",
        "synthetic",
    ],
)
def test_names_that_say_ai(name: str) -> None:
    assert meaning_of_name(name) == 1


@pytest.mark.parametrize(
    "name",
    [
        "0",
        "1",
        "",
        "yes",
        "reddit",
        "human or ai",
        "human_ai",
        "not real",
        "humanities",
        "aisle",
        "machinery",
        "unreal",
    ],
)
def test_names_that_say_neither(name: str) -> None:
    assert meaning_of_name(name) is None


@pytest.mark.parametrize(
    ("column", "value", "label"),
    [
        ("is_ai", "1", 1),
        ("isAI", "false", 0),
        ("generated", "True", 1),
        ("AI Generated", "no", 0),
        ("is_human", "1", 0),
        ("human_written", "false", 1),
        ("label", "1", None),
        ("is_ai", "2", None),
        ("is_happy", "1", None),
    ],
)
def test_a_column_that_is_a_question_says_what_yes_means(column: str, value: str, label: int | None) -> None:
    assert meaning_in_column(column, value) == label


def test_plain_names() -> None:
    assert [plain(name) for name in (" Is AI ", "isAI", "is-ai", "text")] == [
        "is_ai",
        "is_ai",
        "is_ai",
        "text",
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (" 1.0 ", "1"),
        ("+01", "1"),
        (-1, "-1"),
        (0.5, "0.5"),
        ("TRUE", "true"),
        (" Human ", "Human"),
        (None, None),
        ("", None),
        ("NaN", None),
        (float("nan"), None),
        ("null", None),
        ([1], None),
        (b"1", None),
    ],
)
def test_one_value_is_one_value_however_it_is_written(cell: object, value: str | None) -> None:
    assert label_value(cell) == value


def test_clear_names_prove_themselves() -> None:
    assert proven(seen(human=[None], gpt4=[None])) == {"human": 0, "gpt4": 1}


def test_booleans_and_numbers_are_proven_by_the_columns_name() -> None:
    assert proven(seen(v0=[None], v1=[None]), column="is_ai") == {"0": 0, "1": 1}
    assert proven(seen(true=[None], false=[None]), column="is_human") == {"true": 0, "false": 1}


def test_a_plain_label_of_numbers_proves_nothing_and_the_way_out_is_said() -> None:
    error = refusal(seen(v0=[None], v1=[None]))

    assert error.faults[0].pointer == "/columns/label_col"
    assert "'0' (first in row 1)" in error.message
    assert "label_map" in error.message
    assert "--label-map 0=human" in error.message


def test_label_map_decides_whatever_names_say() -> None:
    label_map: dict[str, Label] = {"0": 1, "1.0": 0, "real": 1}

    assert proven(seen(v0=[None], v1=[None], real=[None]), label_map=label_map) == {"0": 1, "1": 0, "real": 1}


def test_a_value_that_label_map_leaves_out_is_refused_with_its_row() -> None:
    error = refusal(seen(v0=[None], v1=[None], v2=[None]), label_map={"0": 0, "1": 1})

    assert error.faults[0].pointer == "/columns/label_map"
    assert "'2' (first in row 3)" in error.message


def test_long_values_are_cut_in_messages() -> None:
    assert "x" * 41 not in refusal({"x" * 99: ValueSeen(first_row=1)}).message


def test_generators_prove_numbers_when_they_say_human_for_one_value_alone() -> None:
    assert proven(seen(v0=["human", None], v1=["gpt-4", "falcon"])) == {"0": 0, "1": 1}
    assert proven(seen(v0=["gpt-4"], v1=["Human"])) == {"0": 1, "1": 0}
    assert proven(seen(v0=["human"], v1=["falcon"])) == {"0": 0, "1": 1}


def test_generators_alone_prove_a_file_of_one_class() -> None:
    assert proven(seen(v1=["gpt-4", "chatgpt"])) == {"1": 1}
    assert proven(seen(v1=["human"])) == {"1": 0}


@pytest.mark.parametrize(
    "values",
    [
        seen(v0=["human"], v1=["human", "gpt-4"]),
        seen(v0=["human"], v1=["human", "falcon"]),
        seen(v0=["human"], v1=[None]),
        seen(v0=[None], v1=["falcon"]),
        seen(v0=["human"], v1=["human"], v2=["falcon"]),
        seen(v0=["human", "falcon"], v1=["falcon"]),
        seen(v0=["human", "gpt-4"], v1=["falcon"]),
        seen(v1=["gpt-4", "falcon"]),
    ],
    ids=range(8),
)
def test_generators_that_do_not_tell_the_values_apart_prove_nothing(values: dict[str, ValueSeen]) -> None:
    assert "nothing proves" in refusal(values).message


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (seen(v0=["gpt-4"], v1=["human"]), "is_ai"),
        (seen(human=["gpt-4"]), "label"),
        (seen(ai=["human", "gpt-4"]), "label"),
    ],
)
def test_names_that_generators_deny_are_refused(values: dict[str, ValueSeen], column: str) -> None:
    error = refusal(values, column)

    assert error.faults[0].pointer == "/columns/label_map"
    assert "the generator of 1 of its rows is" in error.message


def test_label_map_is_believed_against_generators_with_a_warning() -> None:
    found, warnings = meanings(seen(v0=["gpt-4"]), column="label", label_map={"0": 0}, file="a.csv")

    assert [meaning.label for meaning in found] == [0]
    assert warnings == ("a.csv: label_map says '0' is human, but the generator of 1 of its rows is AI.",)


def test_evidence_is_told() -> None:
    def evidence(values: dict[str, ValueSeen], column: str = "label") -> list[str]:
        return [meaning.evidence for meaning in meanings(values, column=column, label_map={}, file="a")[0]]

    assert evidence(seen(human=[])) == ["the value's name"]
    assert evidence(seen(v1=[]), "is_ai") == ["the column's name, 'is_ai'"]
    assert evidence(seen(v0=["human"], v1=["falcon", "gpt"])) == [
        "the generator of all its 1 rows that have one is human",
        "the generator of none of its 2 rows that have one is human",
    ]
    assert evidence(seen(v1=["gpt"])) == ["the generator of all its 1 rows that have one is a language model"]


def file(path: str, label: Label, column: str | None = "label") -> SourceFile:
    return SourceFile(
        path=path,
        num_bytes=1,
        sha256="",
        num_rows=1,
        columns=(
            ColumnChoice(role="text", column="text", evidence=""),
            ColumnChoice(role="label", column=column, evidence=""),
        ),
        labels=(LabelMeaning(value="1", label=label, evidence=""),),
    )


def test_files_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(AppError) as caught:
        require_one_meaning([file("a.csv", 1), file("b.csv", 0)])

    assert "'1' means AI in a.csv and human in b.csv" in caught.value.message


def test_columns_of_other_names_contradict_nothing() -> None:
    require_one_meaning(
        [file("a.csv", 1), file("b.csv", 1), file("c.csv", 0, "is_human"), file("d.csv", 0, None)]
    )
