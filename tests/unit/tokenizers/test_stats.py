"""Statistics of a tokenizer, against a hand computation."""

from collections.abc import Sequence

import pytest

from model_trainer.core.contracts.tokenizer import TokenizerInfo
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.tokenizers.stats import measure


class PairTokenizer:
    """Two characters a token; knows `ab`, `cd` and single space; all else is unknown. Made for counting by hand."""

    TOKENS = ("?", "ab", "cd", " ", "never")

    def __init__(self, *, unknown_id: int | None = 0, loses: str = "") -> None:
        self._unknown_id = unknown_id
        self._loses = loses

    def inspect(self) -> TokenizerInfo:
        return TokenizerInfo(
            method="pairs",
            vocab_size=len(self.TOKENS),
            special_tokens=(),
            end_of_text_id=None,
            unknown_id=self._unknown_id,
            normalisation="none",
            lossless=False,
            sha256="0" * 64,
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        place = 0
        while place < len(text):
            token = text[place] if text[place] == " " else text[place : place + 2]
            ids.append(self.TOKENS.index(token) if token in self.TOKENS else 0)
            place += len(token)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> str:
        text = "".join(self.TOKENS[one] for one in ids)
        return text.replace(self._loses, "") if self._loses else text


def test_every_figure_is_what_counting_by_hand_gives() -> None:
    stats = measure(PairTokenizer(), ["ab cd", "ab éx ab"], measured_on="holdout")
    # tokens: ab _ cd | ab _ ? _ ab; characters 5 + 8; bytes one more for the accent; lost: "éx"
    assert stats.measured_on == "holdout"
    assert (stats.num_characters, stats.num_words, stats.num_bytes, stats.num_tokens) == (13, 5, 14, 8)
    assert stats.coverage == pytest.approx(7 / 8)
    assert stats.char_coverage == pytest.approx(11 / 13)
    assert stats.oov_rate == pytest.approx(1 / 5)
    assert stats.tokens_per_char == pytest.approx(8 / 13)
    assert stats.tokens_per_word == pytest.approx(8 / 5)
    assert stats.bytes_per_token == pytest.approx(14 / 8)
    assert stats.vocab_used == 4
    assert stats.vocab_used_fraction == pytest.approx(4 / 5)


def test_characters_lost_without_an_unknown_token_are_noticed() -> None:
    stats = measure(PairTokenizer(unknown_id=None, loses="d"), ["abcd", "ab"], measured_on="train")
    assert (stats.coverage, stats.oov_rate) == (1, 0)
    assert stats.char_coverage == pytest.approx(5 / 6)


def test_what_the_unknown_token_is_written_as_does_not_count_as_surviving() -> None:
    assert measure(PairTokenizer(), ["ab ?x"], measured_on="train").char_coverage == pytest.approx(3 / 5)


def test_text_of_nothing_but_white_space_has_no_words() -> None:
    stats = measure(PairTokenizer(), ["  "], measured_on="train")
    assert (stats.num_words, stats.tokens_per_word, stats.oov_rate) == (0, 2, 0)


def test_no_text_cannot_be_measured() -> None:
    with pytest.raises(AppError) as error:
        measure(PairTokenizer(), [""], measured_on="holdout")
    assert error.value.code == ErrorCode.DATA_EMPTY


def test_the_figures_do_not_depend_on_how_text_is_batched() -> None:
    page = "ab cd ab xx " * 10_000
    many = measure(PairTokenizer(), [page] * 10, measured_on="train")
    assert measure(PairTokenizer(), [page * 5, "", page * 5], measured_on="train") == many
