"""Packed streams kept between runs: an entry is named by what it depends on, and is whole or absent."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.corpus import SplitName, SplitPlan
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.files import TEMPORARY_PREFIX, fsync_folder, sha256_of, write_atomically
from model_trainer.engine.data.token_splits import ITEM_BYTES, SplitFacts, TokenType

SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_HEADER = "header.json"


class PackingKey(Contract):
    """All that the packed streams depend on; its digest names the cache entry."""

    format_version: int = 1
    corpus_sha256: str
    tokenizer_sha256: str
    plan: SplitPlan
    block_size: int
    """Also what makes a split too small, so that an entry that exists is large enough."""


class PackedHeader(Contract):
    """header.json of a cache entry: written last, so that an entry without one is no entry."""

    key: PackingKey
    token_type: TokenType
    splits: dict[SplitName, SplitFacts]


class SealedHeader(Contract):
    """A header and the digest of its JSON."""

    header: PackedHeader
    sha256: str


def entry_of(cache: Path, key: PackingKey) -> Path:
    """Where the streams that `key` describes are kept."""
    return cache / hashlib.sha256(key.model_dump_json().encode()).hexdigest()[:40]


def file_name(split: SplitName) -> str:
    """The token file of a split, inside an entry."""
    return f"{split}.bin"


def read_entry(entry: Path, key: PackingKey) -> PackedHeader | None:
    """The header of an entry whose every byte is as it was written; None for anything else.

    Reading the files again costs a thousandth of tokenising them, and a damaged stream would train without a word.
    """
    path = entry / _HEADER
    if not path.is_file():
        return None
    try:
        sealed = SealedHeader.model_validate_json(path.read_bytes())
    except ValidationError:
        return None
    header = sealed.header
    if sealed.sha256 != _digest_of(header) or header.key != key:
        return None
    for name in SPLIT_NAMES:
        file, facts = entry / file_name(name), header.splits.get(name)
        if facts is None or not file.is_file():
            return None
        if file.stat().st_size != facts.num_tokens * ITEM_BYTES[header.token_type]:
            return None
        if sha256_of(file) != facts.tokens_sha256:
            return None
    os.utime(path)  # the clean-up goes by when an entry was last used
    return header


def write_entry(entry: Path, write: Callable[[Path], PackedHeader]) -> PackedHeader:
    """Lets `write` fill a temporary folder and gives it the entry's name; whatever goes wrong leaves nothing behind."""
    cache = entry.parent
    cache.mkdir(parents=True, exist_ok=True)
    if entry.exists():  # it did not verify
        _remove(entry)
    temporary = cache / f"{TEMPORARY_PREFIX}{new_ulid()}"
    temporary.mkdir()
    try:
        header = write(temporary)
        sealed = SealedHeader(header=header, sha256=_digest_of(header))
        write_atomically(temporary / _HEADER, sealed.model_dump_json(indent=2).encode())
        _publish(temporary, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already when it was published
    return header


def _publish(temporary: Path, entry: Path) -> None:
    try:
        temporary.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise
        # Another process packed the same text meanwhile: the same bytes, so its entry serves as well.
    fsync_folder(entry.parent)


def _remove(entry: Path) -> None:
    """Out of sight first: nobody finds half an entry."""
    aside = entry.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    entry.rename(aside)
    shutil.rmtree(aside)


def _digest_of(header: PackedHeader) -> str:
    return hashlib.sha256(header.model_dump_json().encode()).hexdigest()
