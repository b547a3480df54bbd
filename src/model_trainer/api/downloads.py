"""One file as an HTTP answer: validators, one byte range, a name that is safe to save under."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response

from model_trainer.api.byte_ranges import wanted_range
from model_trainer.api.problems import problem_response
from model_trainer.api.streams import Streams
from model_trainer.core.errors import AppError
from model_trainer.core.logging import get_logger

CHUNK_BYTES = 256 * 1024
MEDIA_TYPE = "application/octet-stream"


logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that can be read, with what identifies its content."""

    pieces: Callable[[range], Iterator[bytes]]
    """The bytes of a span, a piece at a time."""
    close: Callable[[], None]
    """Lets go of it; called once, whatever happens."""
    name: str
    size: int
    modified_at: float
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """What else the answer says of it."""


def open_download(file: BinaryIO, *, name: str, sha256: str | None) -> OpenFile:
    """`file` with its validators: the digest a manifest knows it by, else size and time of the last change."""
    status = os.fstat(file.fileno())
    etag = f'"{sha256}"' if sha256 is not None else f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
    return OpenFile(
        pieces=lambda span: _pieces_of(file, span),
        close=file.close,
        name=name,
        size=status.st_size,
        modified_at=status.st_mtime,
        etag=etag,
    )


def answer_download(opened: OpenFile, request: Headers, *, streams: Streams) -> Response:
    """200, 206, 304 or 416. Takes the file over and closes it."""
    headers = _headers(opened)
    if _is_known(request.get("if-none-match"), opened.etag):
        opened.close()
        return Response(status_code=304, headers=headers)
    ranges = request.getlist("range") if _still_the_same(request.get("if-range"), opened, headers) else []
    try:
        wanted = wanted_range(ranges, size=opened.size)
    except AppError as error:
        opened.close()
        return problem_response(
            error, headers={"Content-Range": f"bytes */{opened.size}", "Accept-Ranges": "bytes"}
        )
    span = range(opened.size) if wanted is None else wanted
    headers["Content-Length"] = str(len(span))
    if wanted is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{opened.size}"
    status = 200 if wanted is None else 206
    return streams.send_file(
        _chunks(opened.pieces(span)), status=status, headers=headers, release=opened.close
    )


def answer_head(opened: OpenFile) -> Response:
    """The headers of a whole download."""
    opened.close()
    return Response(headers={**_headers(opened), "Content-Length": str(opened.size)})


def _headers(opened: OpenFile) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(opened.name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Type": MEDIA_TYPE,
        "ETag": opened.etag,
        "Last-Modified": formatdate(opened.modified_at, usegmt=True),
        "X-Content-Type-Options": "nosniff",
        **opened.headers,
    }


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _still_the_same(if_range: str | None, opened: OpenFile, headers: dict[str, str]) -> bool:
    """A weak tag never matches (RFC 9110, 13.1.5): half of one version and half of another is no file."""
    return if_range is None or if_range in (opened.etag, headers["Last-Modified"])


async def _chunks(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        while piece := await run_in_threadpool(next, pieces, b""):
            yield piece
    except AppError as error:
        # The headers have gone out: all that can be done is to break off, so that nobody takes half a file for a whole one.
        logger.warning("stream_ended_early", error_code=error.code.value, detail=error.message)
        raise ConnectionAbortedError(error.message) from error


def _pieces_of(file: BinaryIO, span: range) -> Iterator[bytes]:
    file.seek(span.start)
    left = len(span)
    while piece := file.read(min(left, CHUNK_BYTES)):
        left -= len(piece)
        yield piece
