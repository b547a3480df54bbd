import hashlib
import struct
import sys
from pathlib import Path

import pytest
import torch

from model_trainer.engine.data.token_splits import SplitWriter, TokenSplit, TokenType, token_type_for


def _written(path: Path, *passages: tuple[str, list[int], bool], end_of_text_id: int | None) -> TokenSplit:
    with path.open("xb") as file:
        writer = SplitWriter(file, token_type="uint16", end_of_text_id=end_of_text_id)
        for text, ids, continues in passages:
            writer.add(text, ids, continues=continues)
    return TokenSplit(path=path, token_type="uint16", end_of_text_id=end_of_text_id, facts=writer.facts())


def test_each_document_begins_with_an_end_of_text_token_and_a_continued_passage_does_not(
    tmp_path: Path,
) -> None:
    split = _written(
        tmp_path / "a", ("ab", [1, 2], False), ("c", [3], True), ("d", [4], False), end_of_text_id=9
    )
    assert split.tokens().tolist() == [9, 1, 2, 3, 9, 4]
    assert split.facts.num_tokens == 6
    assert split.facts.num_end_of_text == 2
    assert split.facts.num_documents == 2
    assert split.facts.num_passages == 3


def test_without_an_end_of_text_token_only_the_text_is_in_the_stream(tmp_path: Path) -> None:
    split = _written(tmp_path / "a", ("ab", [1, 2], False), ("d", [4], False), end_of_text_id=None)
    assert split.tokens().tolist() == [1, 2, 4]
    assert split.facts.num_end_of_text == 0
    assert split.facts.num_documents == 2


def test_a_first_passage_that_continues_something_still_is_a_document(tmp_path: Path) -> None:
    split = _written(tmp_path / "a", ("ab", [1, 2], True), ("d", [4], False), end_of_text_id=9)
    assert split.tokens().tolist() == [1, 2, 9, 4]
    assert split.facts.num_documents == 2


def test_text_is_counted_in_bytes_characters_and_words(tmp_path: Path) -> None:
    split = _written(
        tmp_path / "a", ("naïve \U0001f600", [1], False), (" two words\n", [2], False), end_of_text_id=None
    )
    assert split.facts.num_bytes == 7 + 4 + 11
    assert split.facts.num_characters == 7 + 11
    assert split.facts.num_words == 4


def test_document_lengths_are_counted_without_their_end_of_text_token(tmp_path: Path) -> None:
    documents = [("x", [1] * length, False) for length in (1, 2, 3, 4, 100)]
    facts = _written(tmp_path / "a", *documents, end_of_text_id=9).facts
    assert facts.document_tokens_mean == 22.0
    assert facts.document_tokens_p50 == 3.0
    assert facts.document_tokens_p95 == 100.0
    assert facts.document_tokens_max == 100


def test_an_empty_split_is_an_empty_stream(tmp_path: Path) -> None:
    split = _written(tmp_path / "a", end_of_text_id=9)
    assert split.tokens().tolist() == []
    assert split.facts.num_documents == 0
    assert split.facts.document_tokens_mean == 0.0
    assert split.facts.document_tokens_p95 == 0.0
    assert split.facts.document_tokens_max == 0


def test_the_text_digest_is_the_same_for_any_tokenizer_and_any_passages(tmp_path: Path) -> None:
    one = _written(tmp_path / "a", ("ab", [1, 2], False), ("c", [3], True), end_of_text_id=9)
    other = _written(tmp_path / "b", ("abc", [7], False), end_of_text_id=None)
    cut = _written(tmp_path / "c", ("ab", [1, 2], False), ("c", [3], False), end_of_text_id=9)
    assert one.facts.text_sha256 == other.facts.text_sha256
    assert one.facts.text_sha256 != cut.facts.text_sha256
    assert one.facts.tokens_sha256 != other.facts.tokens_sha256


@pytest.mark.parametrize(
    ("vocab_size", "token_type", "form"), [(65536, "uint16", "<3H"), (65537, "uint32", "<3I")]
)
def test_the_smallest_type_that_holds_every_id_is_used(
    tmp_path: Path, vocab_size: int, token_type: TokenType, form: str
) -> None:
    assert token_type_for(vocab_size) == token_type
    path, ids = tmp_path / "a", [0, 258, vocab_size - 1]
    with path.open("xb") as file:
        writer = SplitWriter(file, token_type=token_type, end_of_text_id=None)
        writer.add("abc", ids, continues=False)
    split = TokenSplit(path=path, token_type=token_type, end_of_text_id=None, facts=writer.facts())
    assert path.read_bytes() == struct.pack(form, *ids)
    assert split.facts.tokens_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert split.tokens().to(torch.int64).tolist() == ids


def test_an_id_that_does_not_fit_is_an_error_and_not_another_id(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        _written(tmp_path / "a", ("x", [65536], False), end_of_text_id=None)


def test_a_machine_with_the_other_byte_order_writes_the_same_bytes(tmp_path: Path) -> None:
    with (tmp_path / "a").open("xb") as file:
        SplitWriter(file, token_type="uint16", end_of_text_id=None, byte_order="big").add(
            "a", [0x0102], continues=False
        )

    assert (tmp_path / "a").read_bytes() == (0x0102).to_bytes(2, sys.byteorder)[::-1]
