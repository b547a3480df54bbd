"""Corpora on disk: scanned whole, looked into, and refused by file and place."""

import hashlib
from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.corpus import peek_corpus, scan_corpus, texts
from model_trainer.engine.data.documents import MAX_ROW_BYTES, require_parquet
from tests.unit.engine.data.corpora import PLAN, corpus, located, refused, scan, split_of, write_parquet

# ---------------------------------------------------------------- scanning


def test_a_scan_counts_and_hashes_every_file(tmp_path: Path) -> None:
    source = corpus(
        tmp_path, {"a.txt": "ä\nb", "b.md": "# title", "c.jsonl": '{"text": "x"}\n{"text": "yz"}\n'}
    )
    digest = scan(source)
    assert (digest.num_files, digest.num_documents, digest.num_characters) == (3, 4, 3 + 7 + 3)
    assert digest.num_bytes == source.num_bytes
    assert [file.path for file in digest.files] == ["a.txt", "b.md", "c.jsonl"]
    assert digest.files[0].sha256 == hashlib.sha256("ä\nb".encode()).hexdigest()


def test_the_digest_is_of_names_sizes_and_bytes(tmp_path: Path) -> None:
    first = scan(corpus(tmp_path, {"a.txt": "text"}))
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert scan(located(tmp_path)).sha256 != first.sha256
    (tmp_path / "b.txt").rename(tmp_path / "a.txt")
    assert scan(located(tmp_path)) == first


def test_progress_is_reported_up_to_the_last_byte(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = corpus(tmp_path, {"a.txt": "x" * (3 << 20), "b.jsonl": '{"text": "x"}\n'})
    scan_corpus(source, encoding_errors="strict", report=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 4
    assert seen[-1] == (source.num_bytes, source.num_bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_report_that_raises_stops_the_scan(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        scan_corpus(corpus(tmp_path, {"a.txt": "text"}), encoding_errors="strict", report=stop)


@pytest.mark.parametrize("before", [0, 1, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_bytes_that_are_not_utf8_are_named_with_file_and_offset(tmp_path: Path, before: int) -> None:
    fault = refused(corpus(tmp_path, {"bad.txt": b"x" * before + b"\xe4 and more"}))
    assert fault.code == ErrorCode.DATA_ENCODING_INVALID
    assert fault.facts == {"file": "bad.txt", "offset": before}
    assert "encoding_errors: replace" in fault.message


def test_a_character_cut_off_at_the_end_of_the_file_is_found(tmp_path: Path) -> None:
    assert refused(corpus(tmp_path, {"a.txt": b"abc\xe2\x82"})).facts["offset"] == 3


@pytest.mark.parametrize("before", [0, (1 << 20) - 1, 1 << 20])
def test_on_request_bad_bytes_are_replaced_and_counted(tmp_path: Path, before: int) -> None:
    content = b"x" * before + b"a\xe4b\xff\xfe \xef\xbf\xbd \xe2\x82"
    source = corpus(tmp_path, {"a.txt": content})
    digest = scan(source, "replace")
    assert digest.num_replaced == 4
    assert digest.num_characters == len(content.decode(errors="replace"))
    plan = PLAN.model_copy(
        update={"encoding_errors": "replace", "validation_fraction": 0.0, "test_fraction": 0.0}
    )
    text = "".join(texts(source, digest, plan=plan, split="train")())
    assert text == content.decode(errors="replace")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_binary_files_are_refused_with_the_place_of_the_nul_byte(tmp_path: Path, name: str) -> None:
    fault = refused(corpus(tmp_path, {name: b"\x89PNG\x00\xff"}))
    assert fault.code == ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert fault.facts == {"file": name, "offset": 4}


def test_bad_bytes_in_a_later_row_are_named_with_their_offset_in_the_file(tmp_path: Path) -> None:
    fault = refused(corpus(tmp_path, {"a.jsonl": b'{"text": "fine"}\n{"text": "\xe4"}\n'}))
    assert fault.facts == {"file": "a.jsonl", "offset": 17 + 10}


@pytest.mark.parametrize(
    "row",
    [
        "not json",
        "[]",
        '"text"',
        "{}",
        '{"text": 1}',
        '{"text": null}',
        '{"text": "\\ud800"}',
        '{"text": "x"',
    ],
)
def test_a_row_without_text_is_named_by_file_and_line(tmp_path: Path, row: str) -> None:
    fault = refused(corpus(tmp_path, {"a.jsonl": f'{{"text": "fine"}}\n\n{row}\n'}))
    assert fault.code == ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert fault.facts == {"file": "a.jsonl", "line": 3}


def test_a_row_too_long_for_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "')
        file.seek(MAX_ROW_BYTES)
        file.write(b'"}\n')
    assert "longer than 64 MiB" in refused(located(tmp_path)).message


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_a_corpus_without_text_is_empty(tmp_path: Path, content: str) -> None:
    fault = refused(corpus(tmp_path, {"a.txt": content, "b.jsonl": '{"text": ""}\n{"text": " "}\n'}))
    assert fault.code == ErrorCode.DATA_EMPTY


def test_a_file_of_another_kind_is_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    fault = refused(corpus(tmp_path, {"a.pdf": "text"}))
    assert fault.code == ErrorCode.DATA_FORMAT_UNSUPPORTED
    assert ".jsonl" in fault.message


def test_a_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("text")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "secret")
    assert refused(located(folder)).code == ErrorCode.DATA_PATH_FORBIDDEN


# ---------------------------------------------------------------- parquet


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "a.parquet", {"text": [f"row {row}\n" for row in range(200)], "other": [1] * 200}
    )
    source = located(tmp_path)
    digest = scan(source)
    assert digest.num_documents == 200
    assert digest.files[0].sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()
    train = split_of(source, PLAN, "train")
    assert train[0].text == "row 0\n"
    assert not any(passage.continues for passage in train)


def test_a_parquet_file_without_text_says_so(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"body": ["x"]})
    assert 'no column "text"' in refused(located(tmp_path)).message


@pytest.mark.parametrize("value", [None, 1])
def test_a_parquet_row_that_is_not_a_string_is_named(tmp_path: Path, value: object) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [value]})
    assert "row 0" in refused(located(tmp_path)).message


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    fault = refused(corpus(tmp_path, {"a.parquet": "just text"}))
    assert fault.code == ErrorCode.DATA_FORMAT_UNSUPPORTED


def test_parquet_strings_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["needle" * 3]})
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"needle", b"\xffeedle"))
    assert refused(located(tmp_path)).code == ErrorCode.DATA_ENCODING_INVALID


def test_without_its_library_parquet_is_refused_with_the_extra_to_install() -> None:
    with pytest.raises(AppError, match=r"model-trainer\[parquet\]"):
        require_parquet("no_such_module_anywhere")


# ---------------------------------------------------------------- peeking


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.txt", b"\x89PNG\x00", ErrorCode.DATA_FORMAT_UNSUPPORTED),
        ("a.txt", b"caf\xe9 au lait", ErrorCode.DATA_ENCODING_INVALID),
        ("a.txt", b"cut off \xe2\x82", ErrorCode.DATA_ENCODING_INVALID),
        ("a.txt", b" \n", ErrorCode.DATA_EMPTY),
        ("a.txt", b"", ErrorCode.DATA_EMPTY),
        ("a.jsonl", b"{}\n", ErrorCode.DATA_FORMAT_UNSUPPORTED),
        ("a.jsonl", b'{"text": ""}\n', ErrorCode.DATA_EMPTY),
        ("a.parquet", b"PARX", ErrorCode.DATA_FORMAT_UNSUPPORTED),
    ],
)
def test_a_first_look_finds_what_it_can_see(
    tmp_path: Path, name: str, content: bytes, code: ErrorCode
) -> None:
    with pytest.raises(AppError) as error:
        peek_corpus(corpus(tmp_path, {name: content}), encoding_errors="strict")
    assert error.value.code == code


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"text" + b"x" * 200 + b"\xff"),
        ("a.txt", "€".encode() * 100),
        ("a.jsonl", b'{"text": "fine"}\n' * 4 + b'{"text": "cut off by the limit ..."}\n'),
        ("a.jsonl", b'{"text": "' + b"long " * 50 + b'"}\n'),
        ("a.parquet", b"PAR1" + b" whatever" * 20),
    ],
)
def test_a_first_look_goes_no_further_than_its_limit(tmp_path: Path, name: str, content: bytes) -> None:
    peek_corpus(
        corpus(tmp_path, {name: content, "z.txt": b"\xff"}),
        encoding_errors="strict",
        max_bytes=80,
    )


def test_a_first_look_at_many_files_stops_somewhere(tmp_path: Path) -> None:
    peek_corpus(corpus(tmp_path, {f"{number:03d}.txt": "" for number in range(80)}), encoding_errors="strict")


def test_a_first_look_allows_what_replacing_would_mend(tmp_path: Path) -> None:
    peek_corpus(corpus(tmp_path, {"a.txt": b"caf\xe9"}), encoding_errors="replace")
