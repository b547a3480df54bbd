"""Prompts and texts by path: one file of plain text, and a reason for everything else."""

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.memory import MemoryCorpusRoot
from model_trainer.worker.inference.texts import read_text

FILES: dict[str, str | bytes] = {
    "a.txt": "the cat\n",
    "marked.md": b"\xef\xbb\xbfmarked",
    "long.txt": "x" * 11,
    "bytes.txt": "é" * 21,
    "bad.txt": b"abc\xff",
    "blank.txt": " \n",
    "two/1.txt": "1",
    "two/2.txt": "2",
    "rows.jsonl": '{"text": "a"}\n',
}


def read(path: str) -> str:
    return read_text(MemoryCorpusRoot(FILES), path, pointer="/prompt_path", most=10)


def test_a_file_is_read_whole_without_its_byte_order_mark() -> None:
    assert read("a.txt") == "the cat\n"
    assert read("marked.md") == "marked"


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("long.txt", ErrorCode.CONFIG_INVALID, "longer than 10 characters"),
        ("bytes.txt", ErrorCode.CONFIG_INVALID, "longer than 10 characters"),
        ("bad.txt", ErrorCode.DATA_ENCODING_INVALID, "not UTF-8 at byte 3"),
        ("blank.txt", ErrorCode.DATA_EMPTY, "white space"),
        ("two", ErrorCode.CONFIG_INVALID, "holds 2 files"),
        ("rows.jsonl", ErrorCode.DATA_FORMAT_UNSUPPORTED, ".txt"),
        ("none.txt", ErrorCode.DATA_NOT_FOUND, "not there"),
        ("../a.txt", ErrorCode.DATA_PATH_FORBIDDEN, ".."),
    ],
)
def test_what_is_no_such_file_is_refused_at_its_field(path: str, code: ErrorCode, says: str) -> None:
    with pytest.raises(AppError) as caught:
        read(path)
    assert caught.value.code is code
    (fault,) = caught.value.faults
    assert fault.pointer == "/prompt_path"
    assert says in fault.message
