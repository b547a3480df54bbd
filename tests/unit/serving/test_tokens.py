from pathlib import Path

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.serving.tokens import TokenizerFile
from tests.unit.engine.export.toys import write_tokenizer


def test_texts_are_cut_whole_whatever_the_file_says_of_padding_and_truncation(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokens = TokenizerFile(tmp_path / "model" / "tokenizer.json")
    long, short = tokens.of(["people wrote this a a a c", "delve"])
    assert long.ids == [4, 6, 7, 10, 10, 10, 11]
    assert long.spans[:3] == [(0, 6), (7, 12), (13, 17)]
    assert short.ids == [9]


def test_what_looks_like_a_special_token_is_text(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tokenized,) = TokenizerFile(tmp_path / "model" / "tokenizer.json").of(["a[SEP]c"])
    assert tokenized.ids == [1]


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"no tokenizer\.json") as raised:
        TokenizerFile(tmp_path / "tokenizer.json")
    assert raised.value.code is ErrorCode.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize("content", [b"{}", b"\xff"])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(AppError, match="is no tokenizer") as raised:
        TokenizerFile(tmp_path / "tokenizer.json")
    assert raised.value.code is ErrorCode.ARTIFACT_CORRUPT
