"""What all stores do alike: read a file piece by piece, hold it against its digest, and say no."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model_trainer.core.errors import AppError, ErrorCode

PIECE_BYTES = 1024 * 1024


def pieces_of(file: BinaryIO, *, num_bytes: int) -> Iterator[bytes]:
    """The next `num_bytes` of an open file, or what there is of them."""
    missing = num_bytes
    while missing > 0 and (piece := file.read(min(PIECE_BYTES, missing))):
        missing -= len(piece)
        yield piece


def verified(pieces: Iterator[bytes], *, file_id: str, num_bytes: int) -> Iterator[bytes]:
    """The same pieces; raises DIGEST_MISMATCH behind the last one unless all of them together are the file `file_id`."""
    digest = hashlib.sha256()
    found = 0
    for piece in pieces:
        digest.update(piece)
        found += len(piece)
        yield piece
    if found != num_bytes or digest.hexdigest() != file_id:
        raise mismatch(file_id)


def require_digest(path: Path, *, file_id: str, num_bytes: int) -> None:
    """Raises DIGEST_MISMATCH unless the first `num_bytes` of a file are the file `file_id`."""
    with path.open("rb") as file:
        for _ in verified(pieces_of(file, num_bytes=num_bytes), file_id=file_id, num_bytes=num_bytes):
            continue


def write_all(descriptor: int, data: bytes) -> None:
    """Writes to an open file, however little the system takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def mismatch(file_id: str) -> AppError:
    """Bytes that are not those of the file they were said to be."""
    return AppError(
        ErrorCode.DIGEST_MISMATCH,
        f"These are not the bytes of the file with the SHA-256 {file_id[:80]}: they were changed or cut short on their way."
        " Send the file again, and check the digest.",
        facts={"path": file_id[:80]},
    )


def not_found(file_id: str) -> AppError:
    """A file that the store has not."""
    return AppError(
        ErrorCode.FILE_NOT_FOUND,
        f"The store has no file {file_id[:80]!r}. GET /files lists what is there; POST /files adds one.",
    )


def unavailable(message: str, *, detail: str) -> AppError:
    """A store that cannot be worked with now; `message` says what to check."""
    return AppError(ErrorCode.STORE_UNAVAILABLE, message, facts={"detail": detail})
