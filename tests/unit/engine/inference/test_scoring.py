"""Surprisals: held against sums by hand, and against what evaluations say of the same text."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model_trainer.core.contracts.inference import LARGEST_LISTING, LONGEST_DETAILED_TEXT, ScoreSpec
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.evaluation import likelihood
from model_trainer.engine.inference.scoring import score
from tests.unit.engine.evaluation.toys import MeanModel, RecurrentModel, ToyDevice, toy_recipe, toy_split
from tests.unit.engine.inference.toys import ByteTokenizer, ModelDecoder, NextLogits, ToyDecoder, table

TEXT = "Ein naïver Text, 30 € teuer: 👩‍👩‍👧 — fin."
SUMMARY = ScoreSpec(text="-")
DETAILED = ScoreSpec(text="-", detail_level="per_char")


def by_hand(next_logits: NextLogits, read: list[int], token: int) -> float:
    logits = next_logits(read)
    return math.log(sum(math.exp(each) for each in logits)) - logits[token]


def test_every_surprisal_is_minus_the_logarithm_of_the_chance_the_token_had() -> None:
    chances = table(257)
    scored = score(ToyDecoder(chances), ByteTokenizer(), TEXT, spec=DETAILED, stride=4)
    data = list(TEXT.encode())
    expected = [by_hand(chances, [256, *data[:place]], token) for place, token in enumerate(data)]
    assert scored.tokens is not None
    assert [token.surprisal for token in scored.tokens] == pytest.approx(expected, abs=1e-5)
    assert scored.loss == pytest.approx(sum(expected) / len(data), abs=1e-6)
    assert scored.perplexity == pytest.approx(math.exp(scored.loss))
    assert scored.bits_per_byte == pytest.approx(scored.loss / math.log(2), abs=1e-6)
    assert (scored.num_tokens, scored.num_bytes, scored.num_characters) == (len(data), len(data), len(TEXT))
    assert scored.stride is None
    assert scored.seed == 42


def test_surprisals_sum_to_the_loss() -> None:
    scored = score(ToyDecoder(table(257), context=8), ByteTokenizer(), TEXT, spec=DETAILED, stride=3)
    assert scored.tokens is not None
    total = sum(token.surprisal for token in scored.tokens if token.surprisal is not None)
    assert total == pytest.approx(scored.loss * scored.num_tokens, abs=1e-6)
    summary = score(ToyDecoder(table(257), context=8), ByteTokenizer(), TEXT, spec=SUMMARY, stride=3)
    assert summary.tokens is None
    assert summary == scored.model_copy(update={"tokens": None})


@pytest.mark.parametrize("end_of_text", [True, False])
@pytest.mark.parametrize("stride", [1, 3, 8, 20])
@pytest.mark.parametrize("length", [2, 7, 8, 9, 10, 16, 17, 30])
def test_a_windowed_model_is_measured_as_evaluations_measure_it(
    tmp_path: Path, length: int, stride: int, end_of_text: bool
) -> None:
    torch.manual_seed(length)
    model = MeanModel(257).eval()
    text = "".join(chr(97 + 7 * place % 26) for place in range(length))
    split = toy_split(tmp_path, list(text.encode()), text=text, end_of_text_id=256 if end_of_text else None)
    recipe = toy_recipe(max_seq_len=8, eval_stride=stride)
    expected = likelihood.language_metrics(
        likelihood.score(model, split, recipe=recipe, device=ToyDevice()), split.facts
    )
    scored = score(
        ModelDecoder(model, context=8),
        ByteTokenizer(end_of_text=end_of_text),
        text,
        spec=SUMMARY,
        stride=stride,
    )
    assert scored.num_tokens == expected.num_tokens
    assert scored.loss == pytest.approx(expected.loss, abs=1e-6)
    assert scored.bits_per_byte == pytest.approx(expected.bits_per_byte, abs=1e-6)
    fits = length - (not end_of_text) <= 8
    assert scored.stride == (None if fits else min(stride, 8))


@pytest.mark.parametrize("end_of_text", [True, False])
def test_a_model_that_carries_state_is_measured_as_evaluations_measure_it(
    tmp_path: Path, end_of_text: bool
) -> None:
    torch.manual_seed(2)
    model = RecurrentModel(257).eval()
    text = TEXT * 8
    split = toy_split(tmp_path, list(text.encode()), text=text, end_of_text_id=256 if end_of_text else None)
    recipe = toy_recipe(max_seq_len=8, data_order="parallel_streams")
    expected = likelihood.score(model, split, recipe=recipe, device=ToyDevice())
    decoder = ModelDecoder(model)
    scored = score(decoder, ByteTokenizer(end_of_text=end_of_text), text, spec=SUMMARY, stride=4)
    assert scored.num_tokens == expected.num_scored
    assert scored.loss * scored.num_tokens == pytest.approx(expected.nats, rel=1e-6)
    assert scored.stride is None


def test_long_texts_and_long_contexts_are_read_in_parts_and_nothing_changes() -> None:
    chances = table(257)
    text = "abcdefghij" * 70
    data = [256, *text.encode()]
    for context, stride in ((None, 100), (600, 40), (600, 600)):
        decoder = ToyDecoder(chances, context=context)
        scored = score(decoder, ByteTokenizer(), text, spec=DETAILED, stride=stride)
        assert decoder.longest_part <= 256
        assert scored.tokens is not None
        for place in (0, 255, 256, 511, 512, 599, 600, 639, 640, 699):
            if context is None or place < context:
                begin = 0
            else:
                begin = min(600 + ((place - 600) // stride + 1) * stride, 700) - 600
            expected = by_hand(chances, data[begin : place + 1], data[place + 1])
            assert scored.tokens[place].surprisal == pytest.approx(expected, abs=1e-5), (context, place)


def test_tokens_are_aligned_to_the_characters_of_the_text() -> None:
    scored = score(ToyDecoder(table(257)), ByteTokenizer(), "a€b", spec=DETAILED, stride=1)
    assert scored.tokens is not None
    assert [(token.token, token.start, token.end) for token in scored.tokens] == [
        ("a", 0, 1),
        ("\ufffd", 1, 2),
        ("\ufffd", 1, 2),
        ("\ufffd", 1, 2),
        ("b", 2, 3),
    ]
    assert [token.token_id for token in scored.tokens] == list("a€b".encode())


def test_without_an_end_of_text_the_first_token_is_not_counted() -> None:
    spec = DETAILED.model_copy(update={"top_k": 2})
    scored = score(ToyDecoder(table(257)), ByteTokenizer(end_of_text=False), "abc", spec=spec, stride=1)
    assert scored.tokens is not None
    assert [token.surprisal is None for token in scored.tokens] == [True, False, False]
    assert [len(token.top_k) for token in scored.tokens] == [0, 2, 2]
    assert scored.num_tokens == 2
    assert scored.tokens[1].surprisal == pytest.approx(by_hand(table(257), [97], 98), abs=1e-5)


def test_guesses_are_the_likeliest_tokens_with_their_chances() -> None:
    def next_logits(read: Sequence[int]) -> list[float]:
        return [
            math.log(0.6 if token == read[-1] + 1 else 0.3 if token == 120 else 0.1 / 255)
            for token in range(257)
        ]

    spec = DETAILED.model_copy(update={"top_k": 2})
    scored = score(ToyDecoder(next_logits), ByteTokenizer(end_of_text=False), "abc", spec=spec, stride=1)
    assert scored.tokens is not None
    first, second = scored.tokens[1].top_k
    assert [(guess.token_id, guess.token) for guess in (first, second)] == [(98, "b"), (120, "x")]
    assert [first.probability, second.probability] == pytest.approx([0.6, 0.3])


def test_more_guesses_than_tokens_are_all_tokens() -> None:
    tokenizer = ByteTokenizer(end_of_text=False)
    spec = DETAILED.model_copy(update={"top_k": 50})
    scored = score(ToyDecoder(table(10)), tokenizer, "\0\1", spec=spec, stride=1)
    assert scored.tokens is not None
    assert len(scored.tokens[1].top_k) == 10
    assert sum(guess.probability for guess in scored.tokens[1].top_k) == pytest.approx(1)


def test_a_text_that_was_thought_impossible_has_a_finite_perplexity() -> None:
    def next_logits(read: Sequence[int]) -> list[float]:
        return [0.0, 1000.0]

    scored = score(ToyDecoder(next_logits), ByteTokenizer(end_of_text=False), "\0\0", spec=SUMMARY, stride=1)
    assert scored.loss == 1000
    assert math.isfinite(scored.perplexity)
    assert scored.perplexity > 1e300


@pytest.mark.parametrize(("text", "end_of_text"), [("", True), ("", False), ("a", False)])
@pytest.mark.parametrize(("spec", "pointer"), [(SUMMARY, "/text"), (ScoreSpec(path="a.txt"), "/path")])
def test_a_text_without_a_token_to_measure_is_refused(
    text: str, end_of_text: bool, spec: ScoreSpec, pointer: str
) -> None:
    with pytest.raises(AppError, match="longer one") as caught:
        score(ToyDecoder(table(257)), ByteTokenizer(end_of_text=end_of_text), text, spec=spec, stride=1)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


def test_more_than_can_be_listed_is_refused_and_not_more_than_can_be_summed() -> None:
    text = "a" * (LONGEST_DETAILED_TEXT + 1)
    decoder = ToyDecoder(lambda read: [0.0] * 4)
    with pytest.raises(AppError, match="summary") as caught:
        score(decoder, ByteTokenizer(), text, spec=DETAILED, stride=1)
    assert [fault.pointer for fault in caught.value.faults] == ["/text"]
    assert decoder.longest_part == 0


class Accepted(Exception):
    """It has begun to read."""


def accept(read: Sequence[int]) -> list[float]:
    raise Accepted


class TerseTokenizer(ByteTokenizer):
    """One token for two characters."""

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        spans = [(at, at + 2) for at in range(0, len(text), 2)]
        return [97] * len(spans), spans


@pytest.mark.parametrize(
    ("text", "most", "tokenizer"),
    [
        ("a" * 10_000, 24, ByteTokenizer()),
        ("\N{EURO SIGN}" * 4_000, 19, ByteTokenizer()),
        ("a" * 10_000, 24, TerseTokenizer()),  # as the API judges it, which knows no tokens
    ],
)
def test_the_longer_a_text_is_the_fewer_guesses_an_answer_holds(
    text: str, most: int, tokenizer: ByteTokenizer
) -> None:
    def asked(top_k: int) -> ScoreSpec:
        return ScoreSpec(path="a.txt", detail_level="per_char", top_k=top_k)

    decoder = ToyDecoder(lambda read: [0.0] * 257)
    with pytest.raises(AppError, match=f"at most {most} .*pieces") as caught:
        score(decoder, tokenizer, text, spec=asked(most + 1), stride=1)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/top_k"]
    assert decoder.longest_part == 0
    with pytest.raises(Accepted):
        score(ToyDecoder(accept), tokenizer, text, spec=asked(most), stride=1)


class WordyTokenizer(ByteTokenizer):
    """Six tokens a character, as some characters become when they are normalised."""

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        spans = [(at, at + 1) for at in range(len(text)) for _ in range(6)]
        return [97] * len(spans), spans


@pytest.mark.parametrize(
    ("spec", "pointer"), [(DETAILED, "/text"), (ScoreSpec(path="a.txt", detail_level="per_char"), "/path")]
)
def test_a_text_of_more_tokens_than_an_answer_holds_is_refused(spec: ScoreSpec, pointer: str) -> None:
    decoder = ToyDecoder(table(257))
    with pytest.raises(AppError, match="summary") as caught:
        score(decoder, WordyTokenizer(), "a" * (LARGEST_LISTING // 6 + 1), spec=spec, stride=1)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert decoder.longest_part == 0


def test_predictions_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(AppError, match="lower learning rate") as caught:
        score(ToyDecoder(lambda read: [math.nan] * 257), ByteTokenizer(), "ab", spec=SUMMARY, stride=1)
    assert caught.value.code is ErrorCode.DIVERGED
