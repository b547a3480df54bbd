"""Prompts and texts to score that lie under the data root."""

from model_trainer.core.contracts.inference import BYTES_A_CHARACTER, PLAIN_SUFFIXES
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import open_regular
from model_trainer.core.ports.storage import CorpusRoot

_BYTE_ORDER_MARK = "\ufeff"


def read_text(corpora: CorpusRoot, path: str, *, pointer: str, most: int) -> str:
    """The text of one file of at most `most` characters.

    Raises, with a fault at `pointer`, as CorpusRoot.locate() does, and CONFIG_INVALID for several files or a longer one,
    DATA_ENCODING_INVALID for what is not UTF-8, DATA_EMPTY for white space alone.
    """
    source = corpora.locate(path, suffixes=PLAIN_SUFFIXES, pointer=pointer)
    if len(source.names) != 1:
        raise _refusal(
            ErrorCode.CONFIG_INVALID, pointer, f"holds {len(source.names)} files; name one of them"
        )
    with open_regular(source.base / source.names[0], below=source.base) as file:
        data = file.read(most * BYTES_A_CHARACTER + 1)
    if len(data) > most * BYTES_A_CHARACTER:
        raise _too_long(pointer, most)
    try:
        text = data.decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 at byte {error.start:,}; convert it"
        raise _refusal(ErrorCode.DATA_ENCODING_INVALID, pointer, why) from error
    if len(text) > most:
        raise _too_long(pointer, most)
    if not text.strip():
        raise _refusal(ErrorCode.DATA_EMPTY, pointer, "holds nothing but white space; put text there")
    return text


def _too_long(pointer: str, most: int) -> AppError:
    return _refusal(ErrorCode.CONFIG_INVALID, pointer, f"is longer than {most:,} characters; shorten it")


def _refusal(code: ErrorCode, pointer: str, why: str) -> AppError:
    return AppError(code, f"{pointer[1:]} {why}.", faults=[FieldFault(pointer, why)])
