"""Tables, read row by row: what is accepted, and how it is said which row is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled.tables import (
    MAX_CELL_CHARACTERS,
    MAX_LINE_BYTES,
    SAMPLED_CHARACTERS,
    SAMPLED_ROWS,
    TableReading,
)
from tests.unit.engine.data.labelled.given import jsonl


@contextmanager
def table(
    folder: Path, name: str, content: bytes | str, heard: list[int] | None = None
) -> Iterator[TableReading]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    told = heard if heard is not None else []
    with path.open("rb") as file:
        yield TableReading(file, name=name, heard=told.append)


def cells(folder: Path, name: str, content: bytes | str) -> list[tuple[int, dict[str, object]]]:
    with table(folder, name, content) as reading:
        return [(row.number, dict(row.cells)) for row in reading.rows(())]


def refusal(folder: Path, name: str, content: bytes | str) -> AppError:
    with pytest.raises(AppError) as caught:
        cells(folder, name, content)
    return caught.value


def test_csv_rows_keep_commas_quotes_and_line_ends_inside_quotes(tmp_path: Path) -> None:
    content = 'text,label\r\n"one, ""two""\r\nthree",1\r\n\r\nfour,0\r\n'

    assert cells(tmp_path, "a.csv", content) == [
        (1, {"text": 'one, "two"\r\nthree', "label": "1"}),
        (2, {"text": "four", "label": "0"}),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert cells(tmp_path, "a.CSV", b"\xef\xbb\xbftext\nfour\n") == [(1, {"text": "four"})]
    assert cells(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "four"}\n') == [(1, {"text": "four"})]


@pytest.mark.parametrize(
    ("content", "row", "column"),
    [
        ('text,label\nfine,1\n"never, closed,0\nmore\n', 2, "text"),
        ('text,label\nfine,1\n"closed" too early,0\n', 2, "text"),
        ('text,label\n"a, b","open\n', 1, "label"),
        ('text,label\n"a",1,"more\n', 1, "label"),
    ],
)
def test_broken_quoting_is_refused_with_row_and_column(
    tmp_path: Path, content: str, row: int, column: str
) -> None:
    error = refusal(tmp_path, "a.csv", content)

    assert error.code is ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert error.facts == {"file": "a.csv", "row": row, "column": column}
    assert f"a.csv, row {row}, column '{column}'" in error.message


def test_a_broken_header_is_row_0_and_has_no_column(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a.csv", '"text,label\n').facts == {"file": "a.csv", "row": 0, "column": None}


def test_a_row_with_a_cell_too_many_or_too_few_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, "a.csv", 'text,label\n"a\nb",1\nc\n')

    assert error.facts["row"] == 2
    assert "1 cells and the header 2 (line 4)" in error.message


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "'text'" in refusal(tmp_path, "a.csv", "text,label,text\na,1,b\n").message


def test_an_oversized_csv_cell_is_refused_with_its_column(tmp_path: Path) -> None:
    long = "x" * (MAX_CELL_CHARACTERS + 1)

    error = refusal(tmp_path, "a.csv", f"label,text\n0,fine\n1,{long}\n")

    assert error.facts == {"file": "a.csv", "row": 2, "column": "text"}


def test_no_more_than_the_limit_is_read_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"label,text\n1,")
    os.truncate(path, MAX_LINE_BYTES * 3)  # bytes that are on no disk

    with path.open("rb") as file, pytest.raises(AppError) as caught:
        list(TableReading(file, name=path.name, heard=lambda _: None).rows(()))
    error = caught.value

    assert error.facts == {"file": "a.csv", "row": 1, "column": "text"}
    assert "longer than 64 MiB" in error.message


def test_an_overlong_json_line_is_refused_with_the_key_before_its_string(tmp_path: Path) -> None:
    long = "x" * MAX_LINE_BYTES

    error = refusal(tmp_path, "a.jsonl", '{"text": "fine"}\n{"id": 3, "text": "' + long + '"}\n')
    nameless = refusal(tmp_path, "b.jsonl", "[" + long)

    assert error.facts == {"file": "a.jsonl", "row": 2, "column": "text"}
    assert nameless.facts == {"file": "b.jsonl", "row": 1, "column": None}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_overlong_line_may_be_cut_inside_a_character(tmp_path: Path, name: str) -> None:
    assert (
        "longer than"
        in refusal(tmp_path, name, "text\n" * (name == "a.csv") + "xé" * (MAX_LINE_BYTES // 3 + 9)).message
    )


def test_json_lines_count_from_1_and_empty_ones_are_no_rows(tmp_path: Path) -> None:
    assert cells(tmp_path, "a.jsonl", '{"text": "a", "n": null}\n\n{"text": "b"}') == [
        (1, {"text": "a", "n": None}),
        (3, {"text": "b"}),
    ]


@pytest.mark.parametrize("line", ["[1]", '{"text": ', '"text"'])
def test_what_is_no_json_object_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    error = refusal(tmp_path, "a.jsonl", '{"text": "a"}\n' + line)

    assert error.code is ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert error.facts["row"] == 2


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_what_is_not_utf8_is_refused_with_its_row(tmp_path: Path, name: str) -> None:
    first = b"text\n" if name == "a.csv" else b'{"text": "a"}\n'

    error = refusal(tmp_path, name, first + b'{"caf\xe9": 1}\n')

    assert error.code is ErrorCode.DATA_ENCODING_INVALID
    assert error.facts["row"] == (1 if name == "a.csv" else 2)
    assert "byte 5" in error.message


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    assert "'.json'" in refusal(tmp_path, "a.json", "[]").message


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text,label\n"), ("a.csv", ""), ("a.jsonl", "\n \n")]
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with table(tmp_path, name, content) as reading, pytest.raises(AppError) as caught:
        reading.sample()

    assert caught.value.code is ErrorCode.DATA_EMPTY


def test_a_sample_is_the_first_rows_and_all_columns_that_they_have(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "a"}, {"text": "b", "late": 1}]

    with table(tmp_path, "a.jsonl", jsonl(rows + [{"text": "c"}] * SAMPLED_ROWS)) as reading:
        sample = reading.sample()

    assert sample.columns == ("text", "late")
    assert len(sample.rows) == SAMPLED_ROWS


def test_a_sample_of_long_texts_has_fewer_rows(tmp_path: Path) -> None:
    with table(tmp_path, "a.jsonl", jsonl([{"text": "a" * (SAMPLED_CHARACTERS // 2)}] * 4)) as reading:
        assert len(reading.sample().rows) == 2


def test_progress_ends_at_twice_the_files_size(tmp_path: Path) -> None:
    heard: list[int] = []

    with table(tmp_path, "a.jsonl", jsonl([{"text": "a" * 9000}] * 1000), heard) as reading:
        list(reading.rows(()))
        size = reading.num_bytes

    assert sum(heard) == 2 * size
    assert min(heard) >= 0
    assert len([told for told in heard[9:] if told]) >= 3


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    with table(tmp_path, "a.jsonl", jsonl([{"text": "a"}])) as reading:
        with (tmp_path / "a.jsonl").open("a") as more:
            more.write('{"text": "b"}\n')
        with pytest.raises(AppError) as caught:
            list(reading.rows(()))

    assert caught.value.code is ErrorCode.DATA_CHANGED
