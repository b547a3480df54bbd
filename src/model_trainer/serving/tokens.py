"""A tokenizer.json as a detector uses it: tokens of whole texts, and which characters each of them stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.serving.session import not_installed

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Tokens of one text, without any that mark its ends."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """First character and the one after the last, token by token."""


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...
    @property
    def offsets(self) -> list[tuple[int, int]]: ...


class _Fast(Protocol):
    """The part of `tokenizers.Tokenizer` that is used here."""

    def encode_batch(self, /, input: list[str], *, add_special_tokens: bool) -> Sequence[_Encoding]: ...  # noqa: A002 - the library's own name


class Tokens(Protocol):
    """What cuts texts into tokens."""

    def of(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The tokens of each text."""
        ...


class TokenizerFile:
    """Tokens by a tokenizer.json; what it says of padding, truncation and end marks is passed over."""

    def __init__(self, path: Path) -> None:
        """Raises ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, and SERVICE_UNAVAILABLE where `tokenizers` is not installed."""
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise not_installed("tokenizers") from error
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise AppError(
                ErrorCode.ARTIFACT_NOT_FOUND,
                f"There is no {path.name} in {path.parent.name}/. Export the model again.",
                facts={"path": path.name},
            ) from error
        except Exception as error:
            # The library raises plain Exception for whatever it cannot parse.
            log.warning("tokenizer_unreadable", path=path.name, detail=str(error))
            raise AppError(
                ErrorCode.ARTIFACT_CORRUPT,
                f"{path.name} is no tokenizer: {error}. Export the model again.",
                facts={"path": path.name},
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # special tokens in a text are text
        self._tokenizer: _Fast = tokenizer

    def of(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The tokens of each text."""
        return [
            TokenizedText(ids=each.ids, spans=each.offsets)
            for each in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]
