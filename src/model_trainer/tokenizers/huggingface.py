"""What lies in a tokenizer's folder, and the runtime that reads it: tokenizer.json and tokenizer_config.json.

Both are what transformers' AutoTokenizer reads, so that it gives the very tokens that training saw. Knows no kind.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, assert_never

from pydantic import ConfigDict, ValidationError

from model_trainer.core.contracts.base import Contract, JsonObject, as_json, dump_json, parse_json_object
from model_trainer.core.contracts.tokenizer import Normalisation, TokenizerInfo, TokenizerSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.core.files import sha256_of, write_atomically
from model_trainer.core.logging import get_logger

_log = get_logger(__name__)
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"


class TokenizerFacts(Contract):
    """What tokenizer.json cannot say; kept under `model_trainer` in tokenizer_config.json."""

    method: str
    normalisation: Normalisation
    special_tokens: tuple[str, ...]
    unknown_token: str | None
    lossless: bool

    @classmethod
    def of(cls, spec: TokenizerSpec, *, unknown_token: str | None, lossless: bool) -> "TokenizerFacts":
        """The facts of a tokenizer trained for `spec`; any normalisation loses something."""
        return cls(
            method=spec.method,
            normalisation=spec.normalisation,
            special_tokens=spec.special_tokens,
            unknown_token=unknown_token,
            lossless=lossless and spec.normalisation == "none",
        )


class _Config(Contract):
    model_config = ConfigDict(extra="ignore", strict=False)
    model_trainer: TokenizerFacts


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...

    @property
    def offsets(self) -> list[tuple[int, int]]: ...


class FastTokenizer(Protocol):
    """The part of `tokenizers.Tokenizer` that is used here."""

    def encode(self, /, sequence: str, *, add_special_tokens: bool) -> _Encoding: ...
    def encode_batch_fast(self, /, input: list[str], *, add_special_tokens: bool) -> Sequence[_Encoding]: ...  # noqa: A002 - the library's own name
    def decode(self, /, ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...
    def get_vocab(self, /) -> dict[str, int]: ...


class HuggingFaceTokenizer:
    """A tokenizer.json, run by the library that also runs it inside transformers."""

    def __init__(self, fast: FastTokenizer, info: TokenizerInfo) -> None:
        self._fast = fast
        self._info = info

    def inspect(self) -> TokenizerInfo:
        """What it is."""
        return self._info

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens in the text are text."""
        return self._fast.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts, in parallel."""
        return [
            encoding.ids for encoding in self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of encode() and the characters of `text` that each stands for."""
        encoding = self._fast.encode(text, add_special_tokens=False)
        return encoding.ids, _without_gaps(_byte_by_byte(encoding.offsets, text), len(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens become their text."""
        return self._fast.decode(list(ids), skip_special_tokens=False)


def limit_threads(threads: int | None) -> None:
    """Tells the library how many threads to use. It asks once, at its first parallel work in a process.

    The thread count changes the speed only: counts are added up to the same sums in any order.
    """
    if threads is not None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)


def normalisers(normalisation: Normalisation) -> list[JsonObject]:
    """Steps of a tokenizer.json that normalise as asked."""
    match normalisation:
        case "none":
            return []
        case "nfc":
            return [{"type": "NFC"}]
        case "nfkc":
            return [{"type": "NFKC"}]
        case "lowercase":
            return [{"type": "Lowercase"}]
        case _:
            assert_never(normalisation)


def replacement(old: str, new: str) -> JsonObject:
    """A step of a tokenizer.json that replaces one string, in normalisers and decoders alike."""
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def tokenizer_document(
    *,
    normaliser: Sequence[JsonObject],
    pre_tokenizer: JsonObject | None,
    model: JsonObject,
    decoder: JsonObject,
    special_ids: Mapping[str, int],
) -> str:
    """The text of a tokenizer.json."""
    document: JsonObject = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for content, token_id in special_ids.items()
        ],
        "normalizer": {"type": "Sequence", "normalizers": list(normaliser)},
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return dump_json(document)


def write_folder(folder: Path, *, document: str, facts: TokenizerFacts, chat_template: str | None) -> None:
    """Writes both files. `split_special_tokens` makes transformers read special tokens in text as text, as we do."""
    config: JsonObject = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "model_trainer": as_json(facts),
    }
    if facts.special_tokens:
        config["eos_token"] = facts.special_tokens[0]
        config["additional_special_tokens"] = list(facts.special_tokens[1:])
    if facts.unknown_token is not None:
        config["unk_token"] = facts.unknown_token
    if chat_template is not None:
        config["chat_template"] = chat_template
    write_atomically(folder / TOKENIZER_FILE, document.encode())
    write_atomically(folder / CONFIG_FILE, dump_json(config).encode())


def load_tokenizer(folder: Path) -> HuggingFaceTokenizer:
    """The tokenizer in `folder`; raises ARTIFACT_CORRUPT."""
    from tokenizers import Tokenizer

    facts = read_facts(folder)
    path = folder / TOKENIZER_FILE
    text = read_text(path)
    try:
        fast = Tokenizer.from_str(text)
    except Exception as error:
        # The library raises plain Exception for whatever it cannot parse.
        _log.warning("tokenizer_unreadable", detail=str(error))
        raise corrupt(path, str(error)) from error
    fast.encode_special_tokens = True
    return HuggingFaceTokenizer(fast, info_of(folder, facts, fast.get_vocab()))


def read_text(path: Path) -> str:
    """The text of a tokenizer's file; raises ARTIFACT_CORRUPT when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise corrupt(path, type(error).__name__) from error


def read_facts(folder: Path) -> TokenizerFacts:
    """What write_folder noted; raises ARTIFACT_CORRUPT."""
    path = folder / CONFIG_FILE
    try:
        return _Config.model_validate_json(read_text(path)).model_trainer
    except ValidationError as error:
        raise corrupt(path, f"{error.error_count()} field(s) are wrong") from error


def read_document(folder: Path) -> JsonObject:
    """tokenizer.json; raises ARTIFACT_CORRUPT when it is not JSON."""
    path = folder / TOKENIZER_FILE
    try:
        return parse_json_object(read_text(path))
    except AppError as error:
        raise corrupt(path, error.message) from error


def info_of(folder: Path, facts: TokenizerFacts, vocab: Mapping[str, int]) -> TokenizerInfo:
    """What the tokenizer in `folder` says of itself; raises ARTIFACT_CORRUPT when a special token has no id."""
    named = [*facts.special_tokens, *([] if facts.unknown_token is None else [facts.unknown_token])]
    for token in named:
        if token not in vocab:
            raise corrupt(folder / TOKENIZER_FILE, f"{token} is not in its vocabulary")
    return TokenizerInfo(
        method=facts.method,
        vocab_size=len(vocab),
        special_tokens=facts.special_tokens,
        end_of_text_id=vocab[facts.special_tokens[0]] if facts.special_tokens else None,
        unknown_id=None if facts.unknown_token is None else vocab[facts.unknown_token],
        normalisation=facts.normalisation,
        lossless=facts.lossless,
        sha256=sha256_of(folder / TOKENIZER_FILE),
    )


def _byte_by_byte(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Pieces that spell several characters in bytes, one each, have the span of them all: the library joins what it does not
    know. Here each gets the character that its byte is of."""
    exact: list[tuple[int, int]] = []
    place = 0
    while place < len(spans):
        start, end = spans[place]
        alike = 1
        while place + alike < len(spans) and spans[place + alike] == (start, end):
            alike += 1
        owners = [at for at in range(start, end) for _ in text[at].encode()] if alike > 1 else []
        exact += [(at, at + 1) for at in owners] if len(owners) == alike else [(start, end)] * alike
        place += alike
    return exact


def _without_gaps(spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Characters that no token has, because normalising joined or dropped them, belong to the token before them."""
    claimed = bytearray(length)
    for start, end in spans:
        claimed[start:end] = b"\1" * (end - start)
    grown: dict[int, int] = {}
    gap = claimed.find(0)
    while gap >= 0:
        behind = claimed.find(1, gap)
        grown[gap] = length if behind < 0 else behind
        gap = claimed.find(0, grown[gap])
    return [(start, grown.get(end, end)) for start, end in spans]


def corrupt(path: Path, why: str) -> AppError:
    """ARTIFACT_CORRUPT for a tokenizer's file."""
    return AppError(
        ErrorCode.ARTIFACT_CORRUPT,
        f"{path.name} of this tokenizer cannot be used ({why}). Train the tokenizer again.",
        facts={"file": path.name, "detail": why},
    )


def vocabulary_too_large(asked: int, possible: int) -> AppError:
    """VOCAB_TOO_LARGE, with the size the text could give."""
    return AppError(
        ErrorCode.VOCAB_TOO_LARGE,
        f"This text cannot give a vocabulary of {asked}: {possible} is the most. "
        f"Ask for vocab_size {possible} or less, lower min_frequency, or add text.",
        facts={"asked": asked, "possible": possible},
        faults=[FieldFault("/vocab_size", f"at most {possible} for this corpus")],
    )
