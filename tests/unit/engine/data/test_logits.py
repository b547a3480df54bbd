"""Logits on disk: whole, the same bytes each time, and refused when they are not what was written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.data.logits import Logits, read_logits, write_logits

LOGITS = Logits(
    logits=np.array([0.5, -1.25, 3.0]),
    labels=np.array([1, 0, 1], dtype=np.int8),
    groups=np.array([7, 7, 2**40]),
    num_words=np.array([100, 90, 5], dtype=np.int32),
    domains=np.array(["news", "", "poesía"]),
    generators=np.array(["gpt-4", "human", ""]),
    text_sha256="ab" * 32,
    attacked_rows=np.array([0, 2]),
    attacked={"homoglyphs": np.array([0.25, 1.0]), "case": np.array([0.75, 2.0])},
)


def same(one: Logits, other: Logits) -> None:
    for name in ("logits", "labels", "groups", "num_words", "domains", "generators", "attacked_rows"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert one.text_sha256 == other.text_sha256
    assert {name: list(values) for name, values in one.attacked.items()} == {
        name: list(values) for name, values in other.attacked.items()
    }


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    write_logits(LOGITS, tmp_path / "val_logits.npz")

    same(read_logits(tmp_path / "val_logits.npz"), LOGITS)


def test_no_rows_and_no_attacks_are_read_again(tmp_path: Path) -> None:
    none = Logits(
        logits=np.array([], dtype=np.float64),
        labels=np.array([], dtype=np.int8),
        groups=np.array([], dtype=np.int64),
        num_words=np.array([], dtype=np.int32),
        domains=np.array([], dtype=np.str_),
        generators=np.array([], dtype=np.str_),
        text_sha256="",
        attacked_rows=np.array([], dtype=np.int64),
        attacked={},
    )
    write_logits(none, tmp_path / "a.npz")

    same(read_logits(tmp_path / "a.npz"), none)


def test_the_same_logits_are_the_same_bytes(tmp_path: Path) -> None:
    write_logits(LOGITS, tmp_path / "a.npz")
    write_logits(replace(LOGITS), tmp_path / "b.npz")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_digest_is_of_logits_and_labels() -> None:
    turned = replace(LOGITS, labels=np.array([0, 0, 1], dtype=np.int8))
    moved = replace(LOGITS, logits=np.array([0.5, -1.25, 3.5]))

    assert len({logits.digest() for logits in (LOGITS, turned, moved)}) == 3
    assert replace(LOGITS, text_sha256="").digest() == LOGITS.digest()


def test_logits_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        read_logits(tmp_path / "val_logits.npz")

    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert "val_logits.npz" in caught.value.message


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"not a zip file",
        lambda data: data[: len(data) // 2],
        lambda data: data[:60] + bytes(20) + data[80:],
    ],
)
def test_bytes_that_are_no_logits_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.npz"
    write_logits(LOGITS, path)
    path.write_bytes(spoil(path.read_bytes()))

    with pytest.raises(AppError) as caught:
        read_logits(path)

    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.array([object()], dtype=object))

    with pytest.raises(AppError) as caught:
        read_logits(tmp_path / "a.npz")

    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_a_missing_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.array([1.0]))

    with pytest.raises(AppError, match="an array is missing"):
        read_logits(tmp_path / "a.npz")


WRONG: dict[str, Logits] = {
    "differ in length": replace(LOGITS, domains=np.array(["a", "b"])),
    "arrays differ in length": replace(LOGITS, logits=np.ones((3, 1))),
    "attacked copies differ in number": replace(LOGITS, attacked={"case": np.array([1.0])}),
    "its attacked copies differ": replace(LOGITS, attacked_rows=np.array([[0, 1]]), attacked={}),
    "not a finite number": replace(LOGITS, logits=np.array([0.5, np.nan, 1.0])),
    "is not a finite": replace(LOGITS, attacked={"case": np.array([1.0, np.inf])}),
    "neither 0 nor 1": replace(LOGITS, labels=np.array([0, 1, 2], dtype=np.int8)),
    "rows that are not there": replace(LOGITS, attacked_rows=np.array([0, 3])),
    "of rows that are not there": replace(LOGITS, attacked_rows=np.array([-1, 2])),
}


@pytest.mark.parametrize("said", WRONG)
def test_logits_that_do_not_hang_together_are_refused(tmp_path: Path, said: str) -> None:
    write_logits(WRONG[said], tmp_path / "a.npz")

    with pytest.raises(AppError, match=said) as caught:
        read_logits(tmp_path / "a.npz")

    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT


def test_words_for_numbers_are_refused(tmp_path: Path) -> None:
    words: NDArray[np.str_] = np.array(["a"])
    np.savez(
        tmp_path / "a.npz",
        logits=words,
        labels=words,
        groups=words,
        num_words=words,
        domains=words,
        generators=words,
        text_sha256=words,
        attacked_rows=words,
    )

    with pytest.raises(AppError, match="cannot be read"):
        read_logits(tmp_path / "a.npz")
