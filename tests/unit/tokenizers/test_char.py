"""Characters as tokens: what is their own beside the contract of all kinds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.tokenizers.char import TOKENIZER
from model_trainer.tokenizers.char.config import CharSpec


def test_characters_stand_in_the_order_of_their_code_points(
    train: Callable[..., JsonObject], tmp_path: Path
) -> None:
    facts = train(TOKENIZER, CharSpec(corpus_path="x", min_frequency=1), ["éba", "a\n"])
    assert facts == {"vocab_size": 6, "distinct_characters": 4, "characters_left_out": 0}
    assert TOKENIZER.backend().load(tmp_path).encode("\nabé") == [2, 3, 4, 5]


def test_rare_characters_become_the_unknown_token(train: Callable[..., JsonObject], tmp_path: Path) -> None:
    facts = train(TOKENIZER, CharSpec(corpus_path="x", min_frequency=2), ["aab"])
    tokenizer = TOKENIZER.backend().load(tmp_path)
    assert facts["characters_left_out"] == 1
    assert tokenizer.encode("ab") == [2, tokenizer.inspect().unknown_id]
    assert tokenizer.decode(tokenizer.encode("ab")) == "a<unk>"


def test_a_small_vocabulary_keeps_the_most_frequent_characters(
    train: Callable[..., JsonObject], tmp_path: Path
) -> None:
    train(TOKENIZER, CharSpec(corpus_path="x", min_frequency=1, vocab_size=4), ["zzzccc aa b"])
    tokenizer = TOKENIZER.backend().load(tmp_path)
    assert tokenizer.encode("czab") == [2, 3, 1, 1]
    assert tokenizer.inspect().vocab_size == 4


def test_text_without_frequent_characters_is_refused(train: Callable[..., JsonObject]) -> None:
    with pytest.raises(AppError, match="Lower min_frequency") as error:
        train(TOKENIZER, CharSpec(corpus_path="x", min_frequency=100), ["abc"])
    assert error.value.code == ErrorCode.CONFIG_INVALID


def test_progress_is_reported_while_text_goes_by(tmp_path: Path) -> None:
    seen: list[float] = []
    TOKENIZER.backend().train(
        lambda: iter(["some text\n" * 10_000] * 25),
        CharSpec(corpus_path="x"),
        num_bytes=2_500_000,
        folder=tmp_path,
        report=lambda fraction, message: seen.append(fraction),
    )
    assert seen == sorted(seen)
    assert len(seen) == 3


@pytest.mark.parametrize("model", ['{"model": []}', '{"model": {"vocab": {"a": "0"}}}', "{}"])
def test_a_file_without_a_vocabulary_is_refused(
    train: Callable[..., JsonObject], tmp_path: Path, model: str
) -> None:
    train(TOKENIZER, CharSpec(corpus_path="x"), ["aabb"])
    (tmp_path / "tokenizer.json").write_text(model)
    with pytest.raises(AppError) as error:
        TOKENIZER.backend().load(tmp_path)
    assert error.value.code == ErrorCode.ARTIFACT_CORRUPT


def test_a_joined_character_stands_for_all_that_was_joined(
    train: Callable[..., JsonObject], tmp_path: Path
) -> None:
    spec = CharSpec(corpus_path="x", min_frequency=1, normalisation="nfc")
    train(TOKENIZER, spec, ["aéx"])
    tokenizer = TOKENIZER.backend().load(tmp_path)
    text = "ae\u0301\u0301x\u0301"
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids == tokenizer.encode(text)
    assert tokenizer.decode(ids) == "aé<unk>x<unk>"
    assert spans == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6)]


def test_without_normalising_every_character_stands_for_itself(
    train: Callable[..., JsonObject], tmp_path: Path
) -> None:
    train(TOKENIZER, CharSpec(corpus_path="x", min_frequency=1), ["abc"])
    _, spans = TOKENIZER.backend().load(tmp_path).encode_with_spans("aéb")
    assert spans == [(0, 1), (1, 2), (2, 3)]
