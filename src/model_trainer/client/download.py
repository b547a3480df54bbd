"""Fetches one file: streamed, resumed after a break, verified before it takes its name."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from model_trainer.client.http import HttpConnection, Query, header_of
from model_trainer.core.errors import AppError, ErrorCode

READ_TIMEOUT_SECONDS = 60.0
MAX_TRIES = 5
PAUSE_SECONDS = 0.5

Received = Callable[[int], None]
"""Told how many bytes lie on disk so far."""


def nothing_to_tell(_num_bytes: int) -> None:
    """For callers that show no progress."""


def download(
    connection: HttpConnection,
    url: str,
    *,
    path: str,
    target: Path,
    query: Query | None = None,
    sha256: str | None = None,
    received: Received = nothing_to_tell,
) -> str:
    """Leaves the file at `target` and returns its SHA-256. `path` is what people call it.

    Bytes of an earlier, broken try (`<target>.part`) are kept when the server still has the same file (If-Range).
    Raises ARTIFACT_CORRUPT when what arrived is not what was promised (`sha256`, or an ETag that is a SHA-256).
    """
    part = target.with_name(target.name + ".part")
    tag_file = target.with_name(target.name + ".part.etag")
    target.parent.mkdir(parents=True, exist_ok=True)
    etag = _fetch_in_tries(connection, url, query=query, part=part, tag_file=tag_file, received=received)
    found = _sha256_of(part)
    tag_file.unlink(missing_ok=True)
    for promised in (sha256, _sha256_in(etag)):
        if promised is not None and promised != found:
            part.unlink()
            message = f"{path} arrived damaged (SHA-256 {found}, not {promised}): fetch it again."
            raise AppError(ErrorCode.ARTIFACT_CORRUPT, message, facts={"path": path})
    part.replace(target)
    return found


def _fetch_in_tries(
    connection: HttpConnection,
    url: str,
    *,
    query: Query | None,
    part: Path,
    tag_file: Path,
    received: Received,
) -> str | None:
    tries = 0
    while True:
        tries += 1
        try:
            return _fetch(connection, url, query=query, part=part, tag_file=tag_file, received=received)
        except AppError as error:
            if tries == MAX_TRIES or error.code is not ErrorCode.SERVICE_UNAVAILABLE:
                raise
        connection.pause(PAUSE_SECONDS)


def _fetch(
    connection: HttpConnection,
    url: str,
    *,
    query: Query | None,
    part: Path,
    tag_file: Path,
    received: Received,
) -> str | None:
    """Brings `part` to its full length; returns the file's ETag."""
    headers = {"Accept-Encoding": "identity"}
    kept = part.stat().st_size if part.exists() and tag_file.exists() else 0
    if kept:
        headers |= {"Range": f"bytes={kept}-", "If-Range": tag_file.read_text(encoding="utf-8")}
    try:
        with connection.stream(
            url, query=query, headers=headers, read_timeout_seconds=READ_TIMEOUT_SECONDS
        ) as response:
            return _write(response, part=part, tag_file=tag_file, kept=kept, received=received)
    except AppError as error:
        if error.code is not ErrorCode.RANGE_NOT_SATISFIABLE or not kept:
            raise
    # All of it was there already, or too much: start afresh once.
    part.unlink()
    return _fetch(connection, url, query=query, part=part, tag_file=tag_file, received=received)


def _write(
    response: httpx.Response, *, part: Path, tag_file: Path, kept: int, received: Received
) -> str | None:
    resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
    etag = header_of(response, "etag")
    if etag is None:
        tag_file.unlink(missing_ok=True)
    else:
        tag_file.write_text(etag, encoding="utf-8")
    num_bytes = kept if resumed else 0
    with part.open("ab" if resumed else "wb") as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
            num_bytes += len(chunk)
            received(num_bytes)
    return etag


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sha256_in(etag: str | None) -> str | None:
    found = None if etag is None else re.fullmatch(r'"(?:sha256:)?([0-9a-f]{64})"', etag)
    return None if found is None else found[1]
