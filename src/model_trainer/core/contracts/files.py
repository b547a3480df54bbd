"""Files by content: what the store holds, how an upload stands, and how a spec names a file instead of a path."""

import re
from typing import Annotated

from pydantic import Field, JsonValue

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import UlidText

FILE_ID_PATTERN = r"^[0-9a-f]{64}$"
FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
"""SHA-256 of the content, in lower-case hexadecimal."""

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})(\.[a-z0-9]{1,16})?")


def is_file_id(text: str) -> bool:
    """Whether `text` has the shape of a file's id."""
    return re.fullmatch(FILE_ID_PATTERN, text) is not None


class FileReference(Contract):
    """A stored file where a path is asked for: `sha256:<file_id>.jsonl`. The suffix says how it is read."""

    file_id: str
    suffix: str
    """With its dot; `.txt` where the reference has none."""

    @property
    def name(self) -> str:
        """What the file is called where it is kept for reading."""
        return f"{self.file_id}{self.suffix}"


def parse_reference(path: str) -> FileReference | None:
    """The file that `path` refers to by its digest; None for a path."""
    match = _REFERENCE.fullmatch(path)
    if match is None:
        return None
    suffix: str | None = match[2]
    return FileReference(file_id=match[1], suffix=suffix or ".txt")


def references_in(value: JsonValue) -> tuple[str, ...]:
    """The ids of all files that a spec refers to by digest, sorted."""
    return tuple(sorted(_found(value)))


def _found(value: JsonValue) -> set[str]:
    if isinstance(value, str):
        reference = parse_reference(value)
        return set() if reference is None else {reference.file_id}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {file_id for each in inner for file_id in _found(each)}


class StoredFile(Contract):
    """One file of the store."""

    file_id: str
    num_bytes: int
    stored_at_ms: int


class FilePage(Contract):
    """One page of files, by file_id."""

    files: tuple[StoredFile, ...]
    has_more: bool


class NewUpload(Contract):
    """A file that will come in parts."""

    num_bytes: Annotated[int, Field(ge=0)] | None = None
    """How long it will be; left out: until it is completed."""
    sha256: FileId | None = None
    """What it must turn out to be; left out: whatever it is."""


class Upload(Contract):
    """How far an upload has come."""

    upload_id: UlidText
    offset: int
    """Bytes that are here: the next part begins there."""
    num_bytes: int | None
    sha256: str | None
    created_at_ms: int
