"""Passages of corpora: every character in one split, the same each time, and whole files where asked."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_trainer.core.contracts.corpus import SplitBy, SplitName
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.corpus import (
    MAX_PASSAGE_CHARACTERS,
    PASSAGE_CHARACTERS,
    check_splits,
    passages,
    texts,
)
from tests.unit.engine.data.corpora import PLAN, SPLITS, corpus, lines, scan, split_of

# ---------------------------------------------------------------- passages


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


# ---------------------------------------------------------------- changes on the way


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


# ---------------------------------------------------------------- by files


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
