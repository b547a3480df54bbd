"""Bad input: refused with file, row and column, and nothing stays behind."""

from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import Columns
from model_trainer.core.errors import ErrorCode
from tests.unit.engine.data.labelled.given import jsonl, pairs, refused


@pytest.mark.parametrize(
    ("cell", "said"),
    [(None, "nothing"), (3, "int"), (["a"], "list"), (float("nan"), "float"), (True, "bool")],
)
def test_a_text_that_is_none_is_refused_with_file_row_and_column(
    tmp_path: Path, cell: object, said: str
) -> None:
    rows: list[dict[str, object]] = [*pairs(150), {"text": cell, "label": "ai", "group": "x"}]

    error = refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.DATA_FORMAT_UNSUPPORTED)

    assert error.facts == {"file": "set/a.jsonl", "row": 301, "column": "text"}
    assert said in error.message


def test_an_oversized_text_is_refused_with_file_row_and_column(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*pairs(2), {"text": "x" * ((16 << 20) + 1), "label": "ai"}]

    error = refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.DATA_FORMAT_UNSUPPORTED)

    assert error.facts == {"file": "set/a.jsonl", "row": 5, "column": "text"}


@pytest.mark.parametrize("cell", [None, float("nan"), "", " "])
def test_a_missing_label_is_refused_with_file_row_and_column(tmp_path: Path, cell: object) -> None:
    rows: list[dict[str, object]] = [*pairs(3), {"text": "a", "label": cell}]

    error = refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.DATA_FORMAT_UNSUPPORTED)

    assert error.facts == {"file": "set/a.jsonl", "row": 7, "column": "label"}


def test_an_unknown_label_value_is_refused_with_its_row(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*pairs(3), {"text": "a", "label": "perhaps"}]

    error = refused(tmp_path, {"a.jsonl": jsonl(rows)}, code=ErrorCode.CONFIG_INVALID)

    assert "set/a.jsonl" in error.message
    assert "'perhaps' (first in row 7)" in error.message


def test_a_column_of_very_many_values_is_no_label(tmp_path: Path) -> None:
    rows = [{"text": f"t{index}", "y": index} for index in range(70)]

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows)}, Columns(label_col="y"), code=ErrorCode.DATA_FORMAT_UNSUPPORTED
    )

    assert error.facts["row"] == 65
    assert "more than 64" in error.message


def test_a_group_that_is_no_name_is_refused(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "ai", "group": {"x": 1}}]

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows)}, Columns(group_col="group"), code=ErrorCode.DATA_FORMAT_UNSUPPORTED
    )

    assert error.facts == {"file": "set/a.jsonl", "row": 1, "column": "group"}


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0, "generator": "human"}, {"text": "b", "label": 1, "generator": "gpt-4"}]
    turned = [{**row, "text": f"{row['text']}!", "label": 1 - int(str(row["label"]))} for row in rows]

    error = refused(
        tmp_path, {"a.jsonl": jsonl(rows), "b.jsonl": jsonl(turned)}, code=ErrorCode.CONFIG_INVALID
    )

    assert "set/a.jsonl" in error.message
    assert "set/b.jsonl" in error.message
