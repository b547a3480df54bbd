"""Corpora: what is accepted, what is refused and how it is said, and splits that can be relied on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from model_trainer.core.contracts.corpus import CorpusDigest, EncodingErrors, SplitBy, SplitName, SplitPlan
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.corpus import (
    MAX_PASSAGE_CHARACTERS,
    PASSAGE_CHARACTERS,
    Passage,
    check_splits,
    passages,
    peek_corpus,
    scan_corpus,
    texts,
)
from model_trainer.engine.data.documents import MAX_ROW_BYTES, require_parquet

PLAN = SplitPlan(
    split_by="line", validation_fraction=0.1, test_fraction=0.05, seed=1, encoding_errors="strict"
)
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def corpus(folder: Path, files: Mapping[str, bytes | str]) -> CorpusSource:
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return located(folder)


def located(folder: Path) -> CorpusSource:
    names = tuple(sorted(path.name for path in folder.iterdir()))
    num_bytes = sum((folder / name).stat().st_size for name in names)
    return CorpusSource(corpus_path="demo", base=folder, names=names, num_bytes=num_bytes)


def scan(source: CorpusSource, encoding_errors: EncodingErrors = "strict") -> CorpusDigest:
    return scan_corpus(source, encoding_errors=encoding_errors, report=lambda done, total: None)


def split_of(source: CorpusSource, plan: SplitPlan, split: SplitName) -> list[Passage]:
    return list(passages(source, scan(source, plan.encoding_errors), plan=plan, split=split))


def lines(number: int, width: int = 60) -> str:
    return "".join(f"{line:06d} {'word ' * (width // 5)}\n" for line in range(number))


def refused(source: CorpusSource, encoding_errors: EncodingErrors = "strict") -> AppError:
    with pytest.raises(AppError) as error:
        scan(source, encoding_errors)
    return error.value


def write_parquet(path: Path, columns: Mapping[str, list[object]]) -> None:
    parquet.write_table(pyarrow.table(dict(columns)), path)


# ------------------------------------------------------------------------------------------------- scanning


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


# --------------------------------------------------------------------------------------------------- parquet


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


# -------------------------------------------------------------------------------------------------- peeking


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


# -------------------------------------------------------------------------------------------------- passages


def test_every_character_is_in_exactly_one_split_and_none_is_changed(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"a.txt": lines(3000), "b.txt": "\ufeffone\r\ntwo\rthree\n\n" + lines(500)})
    parts = {split: split_of(source, PLAN, split) for split in SPLITS}
    everything = sorted(passage.text for part in parts.values() for passage in part)
    total = sum(len(text) for text in everything)
    assert total == scan(source).num_characters
    assert any(text.startswith("one\r\ntwo\rthree\n\n") for text in everything)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("number", [70, 1000, 20_000])
def test_shares_are_met_closely_by_small_and_large_corpora(tmp_path: Path, seed: int, number: int) -> None:
    source = corpus(tmp_path, {"a.txt": lines(number)})
    plan = PLAN.model_copy(update={"seed": seed})
    total = scan(source).num_characters
    shares = {split: sum(len(p.text) for p in split_of(source, plan, split)) / total for split in SPLITS}
    assert shares["validation"] == pytest.approx(0.10, abs=0.035)
    assert shares["test"] == pytest.approx(0.05, abs=0.035)


def test_splits_are_the_same_each_time_and_others_with_another_seed(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"a.txt": lines(3000)})
    assert split_of(source, PLAN, "validation") == split_of(source, PLAN, "validation")
    other = PLAN.model_copy(update={"seed": 2})
    assert split_of(source, other, "validation") != split_of(source, PLAN, "validation")


def test_a_passage_continues_exactly_when_nothing_lies_between(tmp_path: Path) -> None:
    text = lines(3000)
    source = corpus(tmp_path, {"a.txt": text, "b.txt": text})
    where = 0
    for passage in split_of(source, PLAN, "train"):
        follows = (text * 2).startswith(passage.text, where) and where not in (0, len(text))
        assert passage.continues == follows
        begin = (text * 2).index(passage.text, where)
        where = begin + len(passage.text)


def test_passages_end_at_line_ends_and_are_about_as_long_as_wished(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"a.txt": lines(20_000)})
    train = split_of(source, PLAN, "train")
    assert all(passage.text.endswith("\n") for passage in train)
    assert all(PASSAGE_CHARACTERS <= len(passage.text) < PASSAGE_CHARACTERS + 100 for passage in train[:-1])


def test_a_line_without_end_is_cut_at_white_space_where_there_is_some(tmp_path: Path) -> None:
    words, solid = "some words " * 150_000, "x" * (2 * MAX_PASSAGE_CHARACTERS + 5)
    plan = PLAN.model_copy(update={"validation_fraction": 0.0, "test_fraction": 0.0})
    source = corpus(tmp_path, {"a.txt": words, "b.txt": solid})
    train = [passage.text for passage in split_of(source, plan, "train")]
    assert "".join(train) == words + solid
    assert max(map(len, train)) <= MAX_PASSAGE_CHARACTERS
    assert train[0].endswith(" ")
    assert [len(text) for text in train[-3:]] == [MAX_PASSAGE_CHARACTERS, MAX_PASSAGE_CHARACTERS, 5]


def test_rows_stay_whole_but_for_long_ones(tmp_path: Path) -> None:
    long = lines(400)
    rows = [long, *(f"row {number} of many\nwith two lines" for number in range(100))]
    source = corpus(tmp_path, {"a.jsonl": "".join(json.dumps({"text": row}) + "\n" for row in rows)})
    parts = [passage.text for split in SPLITS for passage in split_of(source, PLAN, split)]
    assert set(rows[1:]) <= set(parts)
    assert long not in parts
    assert sum(map(len, parts)) == sum(map(len, rows))


@given(
    content=st.text(alphabet=st.sampled_from("ab \n\ré\u2028🙂"), min_size=1, max_size=400),
    fraction=st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_whatever_the_text_its_passages_put_together_are_the_text(
    tmp_path_factory: pytest.TempPathFactory, content: str, fraction: float
) -> None:
    source = corpus(tmp_path_factory.mktemp("any"), {"a.txt": content, "b.txt": "more\n" * 100})
    plan = PLAN.model_copy(update={"validation_fraction": fraction, "test_fraction": 0.0})
    parts = [p.text for split in ("train", "validation") for p in split_of(source, plan, split)]
    assert sorted("".join(parts)) == sorted(content + "more\n" * 100)


def test_a_split_of_no_share_is_empty_without_complaint(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"test_fraction": 0.0})
    assert split_of(corpus(tmp_path, {"a.txt": lines(3000)}), plan, "test") == []


@pytest.mark.parametrize("split_by", ["line", "file"])
def test_too_little_text_for_the_splits_is_refused_with_the_ways_out(
    tmp_path: Path, split_by: SplitBy
) -> None:
    source = corpus(tmp_path, {"a.txt": "one line\n"})
    plan = PLAN.model_copy(update={"split_by": split_by, "test_fraction": 0.0})
    with pytest.raises(AppError) as early:
        check_splits(source, scan(source), plan=plan)
    assert early.value.code == ErrorCode.DATA_TOO_SMALL
    assert "change split_by" in early.value.message
    with pytest.raises(AppError) as late:
        [split_of(source, plan, split) for split in SPLITS]
    assert late.value.code == ErrorCode.DATA_TOO_SMALL


@pytest.mark.parametrize("split_by", ["line", "file"])
def test_enough_text_for_the_splits_passes(tmp_path: Path, split_by: SplitBy) -> None:
    source = corpus(tmp_path, {f"{number}.txt": lines(40) for number in range(3)})
    check_splits(source, scan(source), plan=PLAN.model_copy(update={"split_by": split_by}))


# ------------------------------------------------------------------------------------------- changes on the way


@pytest.mark.parametrize("split_by", ["line", "file"])
def test_text_that_changed_since_the_scan_is_an_error(tmp_path: Path, split_by: SplitBy) -> None:
    source = corpus(tmp_path, {f"{number}.txt": lines(100) for number in range(5)})
    digest = scan(source)
    for path in tmp_path.iterdir():
        path.write_text(lines(100).replace("word", "sword"[1:].upper()))
    plan = PLAN.model_copy(update={"split_by": split_by})
    with pytest.raises(AppError) as error:
        list(passages(source, digest, plan=plan, split="train"))
    assert error.value.code == ErrorCode.DATA_CHANGED


@pytest.mark.parametrize("change", ["longer", "gone", "added", "a folder now"])
def test_files_that_come_go_or_grow_are_noticed_before_anything_is_read(tmp_path: Path, change: str) -> None:
    source = corpus(tmp_path, {"a.txt": lines(100), "b.txt": lines(100)})
    digest = scan(source)
    match change:
        case "longer":
            (tmp_path / "b.txt").write_text(lines(101))
        case "gone":
            (tmp_path / "b.txt").unlink()
        case "added":
            source = corpus(tmp_path, {"c.txt": "new"})
        case _:
            (tmp_path / "b.txt").unlink()
            (tmp_path / "b.txt").mkdir()
    with pytest.raises(AppError) as error:
        next(passages(source, digest, plan=PLAN, split="train"))
    assert error.value.code == ErrorCode.DATA_CHANGED


def test_a_file_that_turns_into_a_link_or_garbage_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    source = corpus(folder, {"a.txt": lines(100)})
    digest = scan(source)
    (folder / "a.txt").write_bytes(b"\xff" * source.num_bytes)
    with pytest.raises(AppError) as garbage:
        list(passages(source, digest, plan=PLAN, split="train"))
    assert garbage.value.code == ErrorCode.DATA_CHANGED
    (tmp_path / "elsewhere").write_text(lines(100))
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AppError) as link:
        list(passages(source, digest, plan=PLAN, split="train"))
    assert link.value.code == ErrorCode.DATA_CHANGED


# -------------------------------------------------------------------------------------------------- by files


@pytest.mark.parametrize("seed", range(5))
def test_whole_files_are_dealt_by_their_bytes(tmp_path: Path, seed: int) -> None:
    source = corpus(tmp_path, {f"{number:02d}.txt": lines(20 + 3 * number) for number in range(40)})
    plan = PLAN.model_copy(update={"split_by": "file", "seed": seed})
    contents = {(tmp_path / name).read_text() for name in source.names}
    total = source.num_bytes
    parts: list[str] = []
    shares: dict[SplitName, float] = {"train": 0.85, "validation": 0.1, "test": 0.05}
    for split, share in shares.items():
        documents: list[str] = []
        for passage in split_of(source, plan, split):
            documents = (
                [*documents[:-1], documents[-1] + passage.text]
                if passage.continues
                else [*documents, passage.text]
            )
        assert set(documents) <= contents
        assert sum(map(len, documents)) / total == pytest.approx(share, abs=0.02)
        parts += documents
    assert sorted(parts) == sorted(contents)


def test_a_huge_file_is_not_put_into_a_small_holdout(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"huge.txt": lines(3000), "tiny.txt": "a few words\n"})
    plan = PLAN.model_copy(update={"split_by": "file", "test_fraction": 0.0})
    for seed in range(5):
        holdout = split_of(source, plan.model_copy(update={"seed": seed}), "validation")
        assert [passage.text for passage in holdout] == ["a few words\n"]


def test_even_large_holdouts_leave_a_file_to_train_on(tmp_path: Path) -> None:
    source = corpus(tmp_path, {f"{number}.txt": lines(50) for number in range(3)})
    plan = PLAN.model_copy(update={"split_by": "file", "validation_fraction": 0.45, "test_fraction": 0.45})
    assert all(split_of(source, plan, split) for split in SPLITS)


def test_files_of_other_splits_are_not_even_read(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"huge.txt": lines(3000), "tiny.txt": "a few words\n"})
    digest = scan(source)
    (tmp_path / "huge.txt").write_bytes(b"\xff" * digest.files[0].num_bytes)
    plan = PLAN.model_copy(update={"split_by": "file", "test_fraction": 0.0})
    assert "".join(texts(source, digest, plan=plan, split="validation")()) == "a few words\n"
