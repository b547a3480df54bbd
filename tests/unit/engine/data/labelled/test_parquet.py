"""Parquet: rows with the columns that are asked for, pages measured before they are unpacked."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled.parquet import MAX_PAGE_BYTES, parquet_columns, parquet_rows
from model_trainer.engine.data.labelled.parquet_pages import PageSize, page_sizes
from tests.unit.engine.data.labelled.given import write_parquet


def rows(path: Path, *columns: str) -> list[dict[str, object]]:
    with path.open("rb") as file:
        return [dict(row) for row in parquet_rows(file, path.name, columns)]


def refusal(path: Path, *columns: str) -> AppError:
    with pytest.raises(AppError) as caught:
        rows(path, *columns)
    return caught.value


def test_rows_have_the_columns_that_are_asked_for_and_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(
        path, {"text": [f"t{i}" for i in range(100)], "label": [i % 2 for i in range(100)]}, row_group_size=7
    )

    assert rows(path, "label", "text", "more") == [{"label": i % 2, "text": f"t{i}"} for i in range(100)]


def test_columns_of_lists_and_structs_are_passed_over(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a"], "vector": [[1.0]], "more": [{"x": 1}]})

    with (tmp_path / "a.parquet").open("rb") as file:
        assert parquet_columns(file, "a.parquet") == ("text",)


def test_a_file_without_row_groups_has_no_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "full.parquet", {"text": ["a"]})
    parquet.write_metadata(
        parquet.ParquetFile(tmp_path / "full.parquet").schema_arrow, tmp_path / "a.parquet"
    )

    with (tmp_path / "a.parquet").open("rb") as file:
        assert parquet_columns(file, "a.parquet") == ()
    assert rows(tmp_path / "a.parquet", "text") == []


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")

    assert "more than one column 'text'" in refusal(tmp_path / "a.parquet", "text").message


@pytest.mark.parametrize("cut", [3, 60, -1])
def test_a_corrupt_file_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": ["some text"] * 50})
    path.write_bytes(path.read_bytes()[:cut])

    error = refusal(path, "text")

    assert error.code is ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert "a.parquet" in error.message


def test_corrupt_pages_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": [f"some text {i}" for i in range(500)]})
    data = bytearray(path.read_bytes())
    data[40:400] = b"\xff" * 360
    path.write_bytes(data)

    error = refusal(path, "text")

    assert error.code is ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert "a.parquet" in error.message


def test_strings_that_are_not_utf8_are_refused_with_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"fine {index}" for index in range(40)] + ["cafe", "more"]})
    parquet.write_table(table, path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"cafe", b"caf\xe9"))

    error = refusal(tmp_path / "a.parquet", "text")

    assert error.code is ErrorCode.DATA_ENCODING_INVALID
    assert error.facts == {"file": "a.parquet", "row": 41, "column": "text"}


def test_a_huge_cell_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"fine {index}" for index in range(3500)] + ["x" * (MAX_PAGE_BYTES + 1)]})
    parquet.write_table(table, path, row_group_size=2000, use_dictionary=False, data_page_size=2000)

    error = refusal(path, "text")

    assert path.stat().st_size < MAX_PAGE_BYTES / 4
    assert error.code is ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert error.facts["column"] == "text"
    assert 3000 < int(str(error.facts["row"])) <= 3501
    assert len(rows(path)) == 3501


def test_large_columns_of_small_pages_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": ["x" * (1 << 20)] * (MAX_PAGE_BYTES // (1 << 20) + 2)})
    parquet.write_table(table, path, use_dictionary=False, data_page_size=1 << 20, write_batch_size=1)

    with path.open("rb") as file:
        assert next(iter(parquet_rows(file, "a.parquet", ("text",))))["text"] == "x" * (1 << 20)


def test_a_large_cell_that_a_dictionary_names_in_every_row_is_not_unpacked_for_many_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    cell = "x" * (MAX_PAGE_BYTES // 8)
    table = pyarrow.table({"text": [cell] * 40})
    parquet.write_table(table, path, use_dictionary=True, dictionary_pagesize_limit=MAX_PAGE_BYTES)
    del table
    before = pyarrow.total_allocated_bytes()
    seen: list[int] = []

    with path.open("rb") as file:
        for row in parquet_rows(file, "a.parquet", ("text",)):
            assert row["text"] == cell
            seen.append(pyarrow.total_allocated_bytes() - before)

    assert len(seen) == 40
    assert max(seen) < 3 * MAX_PAGE_BYTES


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_are_measured_as_they_were_written(tmp_path: Path, version: str, dictionary: bool) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"{i:09}" for i in range(5000)]})
    parquet.write_table(
        table,
        path,
        data_page_version=version,
        use_dictionary=dictionary,
        data_page_size=4000,
        dictionary_pagesize_limit=1 << 20,
        compression="none",
    )
    chunk = parquet.ParquetFile(path).metadata.row_group(0).column(0)

    with path.open("rb") as file:
        begin = chunk.dictionary_page_offset or chunk.data_page_offset
        pages = list(page_sizes(file, begin=begin, num_bytes=chunk.total_compressed_size))

    assert None not in pages
    known = [page for page in pages if page is not None]
    assert sum(page.num_values for page in known) == 5000
    content = 5000 * (9 + 4)
    assert content <= sum(page.num_bytes for page in known) <= 1.2 * content
    assert len(known) > 2
    assert (known[0].num_values == 0) == dictionary


NO_HEADERS = {
    "nothing": b"",
    "no sizes": b"\x00",
    "a negative size": b"\x25\x01\x15\x02\x00",
    "cut off": b"\x15\x00\x15",
    "a list": b"\x19\x15\x00",
    "structs without end": b"\x1c" * 40,
    "a number without end": b"\x15" + b"\xff" * 70_000,
}


@pytest.mark.parametrize("name", NO_HEADERS)
def test_what_is_no_page_header_cannot_be_measured(tmp_path: Path, name: str) -> None:
    path = tmp_path / "page"
    path.write_bytes(NO_HEADERS[name])

    with path.open("rb") as file:
        assert list(page_sizes(file, begin=0, num_bytes=100)) == [None]


def test_every_kind_of_field_is_stepped_over(tmp_path: Path) -> None:
    # type 0; sizes 5 and 3; then true, false, a byte, a double, a string and a struct, and a field by its full number
    header = bytes([0x15, 0, 0x15, 10, 0x15, 6, 0x11, 0x12, 0x13, 99, 0x17]) + bytes(8)
    header += bytes([0x18, 2]) + b"ab" + bytes([0x1C, 0x15, 8, 0]) + bytes([0x05, 40, 14, 0])
    (tmp_path / "page").write_bytes(header + b"abc")

    with (tmp_path / "page").open("rb") as file:
        assert list(page_sizes(file, begin=0, num_bytes=len(header) + 3)) == [
            PageSize(num_bytes=5, num_values=0)
        ]
