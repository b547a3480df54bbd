from collections.abc import Sequence
from pathlib import Path

import pytest

from model_trainer.core.contracts.detector import Reading
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.labelled_windows import LabelledWindows, map_windows, write_windows
from tests.unit.engine.labelled_toys import AS_IT_IS, PLAN, Row, letters, windows

ROWS = [
    Row("abcdefghi", 1, group=7, domain="news", generator="gpt-4", num_words=3),
    Row("ab", 0, group=-(2**63), domain="news", num_words=1),
    Row("", 0, group=7, num_words=0),
]


def test_every_window_of_a_text_can_be_read_back(tmp_path: Path) -> None:
    found = windows(ROWS, tmp_path)
    assert len(found) == 3
    assert [found.num_tokens(text) for text in range(3)] == [9, 2, 0]
    assert [found.window(0, stretch) for stretch in found.stretches(0)] == [
        [1, 10, 11, 12, 13, 2],
        [1, 14, 15, 16, 17, 2],
        [1, 15, 16, 17, 18, 2],
    ]
    assert [found.window(1, stretch) for stretch in found.stretches(1)] == [[1, 10, 11, 2]]
    assert [found.window(2, stretch) for stretch in found.stretches(2)] == [[1, 2]]


def test_what_is_known_of_a_text_stands_beside_its_tokens(tmp_path: Path) -> None:
    found = windows(ROWS, tmp_path)
    assert found.labels() == [1, 0, 0]
    assert found.groups() == [7, -(2**63), 7]
    assert found.num_words() == [3, 1, 0]
    assert found.domains() == ["news", "news", ""]
    assert found.generators() == ["gpt-4", "", ""]


def test_long_names_are_cut(tmp_path: Path) -> None:
    assert windows([Row("a", domain="x" * 99)], tmp_path).domains() == ["x" * 64]


def test_what_was_written_is_mapped_again(tmp_path: Path) -> None:
    written = windows(ROWS, tmp_path / "deep" / "er")
    mapped = map_windows(tmp_path / "deep" / "er")
    assert mapped.header == written.header
    assert mapped.tokens.equal(written.tokens)
    assert mapped.rows.equal(written.rows)


def test_texts_are_read_before_they_are_tokenised_and_hashed_before_they_are_read(tmp_path: Path) -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> list[list[int]]:
        seen.extend(texts)
        return [[3] for _ in texts]

    def write(reading: Reading, name: str) -> LabelledWindows:
        rows = [Row("a \u200b b")]
        return write_windows(rows, encode=encode, plan=PLAN, reading=reading, folder=tmp_path / name)

    as_it_is = write(AS_IT_IS, "1")
    read = write(Reading(collapse_whitespace=True, normalise_unicode=True), "2")
    assert seen == ["a \u200b b", "a b"]
    assert as_it_is.header.text_sha256 == read.header.text_sha256


def test_many_texts_are_tokenised_a_few_hundred_at_a_time(tmp_path: Path) -> None:
    sizes: list[int] = []

    def encode(texts: Sequence[str]) -> list[list[int]]:
        sizes.append(len(texts))
        return letters(texts)

    found = write_windows(
        (Row("ab") for _ in range(600)), encode=encode, plan=PLAN, reading=AS_IT_IS, folder=tmp_path
    )
    assert sizes == [256, 256, 88]
    assert found.header.num_tokens == 1200
    assert found.window(599, range(2)) == [1, 10, 11, 2]


@pytest.mark.parametrize(
    "other",
    [
        [Row("ab", 0), Row("c", 1)],
        [Row("a", 0), Row("bc", 1)],
        [Row("a", 0), Row("b", 1), Row("c", 1)],
        [Row("a", 1), Row("b", 0)],
    ],
)
def test_the_digest_tells_other_texts_and_labels_apart(tmp_path: Path, other: list[Row]) -> None:
    ours = windows([Row("a", 0), Row("b", 1)], tmp_path / "ours").header
    theirs = windows(other, tmp_path / "theirs").header
    assert ours.text_sha256 != theirs.text_sha256
    assert windows([Row("a", 0), Row("b", 1)], tmp_path / "again").header == ours


def test_the_digest_of_tokens_tells_tokenizers_apart(tmp_path: Path) -> None:
    def other(texts: Sequence[str]) -> list[list[int]]:
        return [[5] for _ in texts]

    ours = windows([Row("a")], tmp_path / "a").header
    theirs = write_windows(
        [Row("a")], encode=other, plan=PLAN, reading=AS_IT_IS, folder=tmp_path / "b"
    ).header
    assert ours.tokens_sha256 != theirs.tokens_sha256


def test_texts_without_any_token_are_texts_all_the_same(tmp_path: Path) -> None:
    found = windows([Row(""), Row("")], tmp_path)
    assert [found.window(text, range(0)) for text in range(2)] == [[1, 2], [1, 2]]
    assert list(found.texts()) == [], "there is nothing to be seen in them"


def test_half_a_surrogate_pair_is_hashed_like_anything_else(tmp_path: Path) -> None:
    found = write_windows(
        [Row("\ud800")], encode=lambda texts: [[1]], plan=PLAN, reading=AS_IT_IS, folder=tmp_path
    )
    assert len(found) == 1


def test_without_texts_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        windows([], tmp_path)
    assert caught.value.code is ErrorCode.DATA_EMPTY


def test_the_balance_of_the_classes_is_the_weight_of_ai_texts(tmp_path: Path) -> None:
    assert windows(ROWS, tmp_path).human_over_ai == 2.0


@pytest.mark.parametrize(("label", "missing"), [(0, "AI"), (1, "human")])
def test_one_class_alone_has_no_balance(tmp_path: Path, label: int, missing: str) -> None:
    found = windows([Row("a", 1 if label else 0)], tmp_path)
    with pytest.raises(AppError, match=f"no {missing} text") as caught:
        found.human_over_ai  # noqa: B018 - it is the reading that raises
    assert caught.value.code is ErrorCode.DATA_TOO_SMALL
