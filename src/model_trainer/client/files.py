"""Files of the store: sent at once or in parts that go on where the connection broke, listed, fetched, removed."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from model_trainer.client.download import download
from model_trainer.client.http import HttpConnection, path_part
from model_trainer.client.views import FilePageView, FileView, UploadView, read_view
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.errors import AppError, ErrorCode

AT_ONCE_BYTES = 16 << 20
"""A larger file is sent in parts."""
PIECE_BYTES = 1 << 20
PAGE_SIZE = 100
MAX_TRIES = 5
"""So many breaks in a row without a byte more at the server."""
PAUSE_SECONDS = 0.5
COMPLETE_SECONDS = 3600.0
"""The server reads all of a file before it says that it has it."""


class Files:
    """What can be done with stored files over one connection."""

    def __init__(self, connection: HttpConnection, *, at_once_bytes: int = AT_ONCE_BYTES) -> None:
        self._connection = connection
        self._at_once_bytes = at_once_bytes

    def upload(
        self, source: Path, *, resume: str | None = None, begun: Callable[[str], None] | None = None
    ) -> FileView:
        """Stores a file of this machine, verified; a large one that the store has already is not sent.

        Raises DIGEST_MISMATCH when it changes meanwhile, REQUEST_TOO_LARGE, CONFLICT for an upload of another file, and what
        else the server says.

        Args:
            source: the file.
            resume: the id of an upload of it that broke off; it goes on where it stands.
            begun: is told the id of an upload in parts before the first one goes.
        """
        num_bytes = source.stat().st_size
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if resume is None and num_bytes <= self._at_once_bytes:
            headers = {"X-Content-SHA256": sha256}
            answer = self._connection.post_bytes(
                "/files", source.read_bytes(), query=_name(source), headers=headers
            )
            return read_view(FileView, answer)
        if self._look(sha256) is not None:
            return self._known(sha256, source)
        if resume is None:
            announced: JsonObject = {"num_bytes": num_bytes, "sha256": sha256}
            upload = read_view(UploadView, self._connection.post("/files/uploads", body=announced))
        else:
            upload = self._upload_of(resume, num_bytes=num_bytes, sha256=sha256)
        if begun is not None:
            begun(upload.upload_id)
        place = _place_of(upload.upload_id)
        self._send(place, source, offset=upload.offset, num_bytes=num_bytes)
        return self._complete(place, source, sha256=sha256)

    def list_files(self, *, prefix: str = "", limit: int = PAGE_SIZE) -> Iterator[FileView]:
        """All files whose id begins with `prefix`, in the order of their ids, fetched page by page (`limit` a page)."""
        query: dict[str, str | int] = {"limit": limit, "prefix": prefix}
        while True:
            page = read_view(FilePageView, self._connection.get("/files", query=query))
            yield from page.data
            if not page.has_more or page.last_id is None:
                return
            query["after"] = page.last_id

    def find(self, file_id: str) -> FileView:
        """What the store knows of a file; raises FILE_NOT_FOUND."""
        found = self._look(file_id)
        if found is None:
            message = f"The store has no file {file_id}: `model-trainer file list` shows what is there."
            raise AppError(ErrorCode.FILE_NOT_FOUND, message)
        return found

    def download(self, file_id: str, *, target: Path) -> str:
        """Leaves a file at `target`, verified; returns its SHA-256. An interrupted fetch goes on where it stopped."""
        url = f"/files/{path_part(file_id)}"
        return download(self._connection, url, path=file_id, target=target, sha256=file_id)

    def delete(self, file_id: str) -> None:
        """Removes a file; raises FILE_NOT_FOUND, and CONFLICT while runs need it."""
        self._connection.send("DELETE", f"/files/{path_part(file_id)}")

    def _upload_of(self, upload_id: str, *, num_bytes: int, sha256: str) -> UploadView:
        """An upload that has begun; raises FILE_NOT_FOUND, and CONFLICT when another file was announced for it."""
        upload = read_view(UploadView, self._connection.get(_place_of(upload_id)))
        if upload.num_bytes not in (None, num_bytes) or upload.sha256 not in (None, sha256):
            message = (
                f"The upload {upload_id} is of another file, or this one has changed since. Upload it without --resume; what has "
                "come of the other goes by itself."
            )
            raise AppError(ErrorCode.CONFLICT, message)
        return upload

    def _send(self, place: str, source: Path, *, offset: int, num_bytes: int) -> None:
        """Brings the upload to its full length, over as many connections as it takes."""
        tries = 0
        while offset < num_bytes:
            trouble = self._send_part(place, source, offset=offset, num_bytes=num_bytes)
            stands_at = read_view(UploadView, self._connection.get(place)).offset
            if stands_at > offset:
                tries = 0
            elif source.stat().st_size < num_bytes:
                self._give_up(place)
                message = (
                    f"{source.name} has become shorter meanwhile. Upload it again when nobody writes to it."
                )
                raise AppError(ErrorCode.DIGEST_MISMATCH, message)
            else:
                tries += 1
                if tries == MAX_TRIES:
                    raise trouble or AppError(
                        ErrorCode.SERVICE_UNAVAILABLE, "The server takes no more of the file."
                    )
            if trouble is not None or stands_at == offset:
                self._connection.pause(PAUSE_SECONDS)
            offset = stands_at

    def _send_part(self, place: str, source: Path, *, offset: int, num_bytes: int) -> AppError | None:
        """Sends the rest over one connection; returns what broke it off, if that may pass."""
        pieces, headers = _pieces(source, offset, num_bytes), {"Upload-Offset": str(offset)}
        try:
            self._connection.send("PATCH", place, content=pieces, headers=headers)
        except AppError as error:
            # CONFLICT: what a broken connection brought is still being written down.
            if error.code not in (ErrorCode.SERVICE_UNAVAILABLE, ErrorCode.CONFLICT):
                raise
            return error
        return None

    def _give_up(self, place: str) -> None:
        with contextlib.suppress(AppError):  # what has come goes by itself then, only later
            self._connection.send("DELETE", place)

    def _complete(self, place: str, source: Path, *, sha256: str) -> FileView:
        tries = 0
        while True:
            tries += 1
            try:
                answer = self._connection.send(
                    "POST", f"{place}/complete", query=_name(source), patience_seconds=COMPLETE_SECONDS
                )
                return read_view(FileView, answer)
            except AppError as error:
                if error.code is ErrorCode.FILE_NOT_FOUND and tries > 1:
                    return self._known(sha256, source)  # the answer to an earlier try was lost
                # CONFLICT: an earlier try, of which nothing was heard, is still being carried out.
                is_at_work = error.code is ErrorCode.CONFLICT and tries > 1
                is_passing = error.code is ErrorCode.SERVICE_UNAVAILABLE or is_at_work
                if not is_passing or tries == MAX_TRIES:
                    raise
            self._connection.pause(PAUSE_SECONDS)

    def _known(self, sha256: str, source: Path) -> FileView:
        """A file that the store has, with the reference that its name here makes."""
        reference: dict[str, object] = {"reference": f"sha256:{sha256}{_suffix(source)}"}
        return self.find(sha256).model_copy(update=reference)

    def _look(self, file_id: str) -> FileView | None:
        page = read_view(FilePageView, self._connection.get("/files", query={"prefix": file_id, "limit": 1}))
        return next((file for file in page.data if file.file_id == file_id), None)


def _place_of(upload_id: str) -> str:
    return f"/files/uploads/{path_part(upload_id)}"


def _pieces(source: Path, start: int, stop: int) -> Iterator[bytes]:
    with source.open("rb") as file:
        file.seek(start)
        while piece := file.read(min(PIECE_BYTES, stop - file.tell())):
            yield piece


def _name(source: Path) -> dict[str, str | int] | None:
    """The suffix as a name: what else a file is called is nobody's business."""
    suffix = _suffix(source)
    return {"name": f"file{suffix}"} if suffix else None


def _suffix(source: Path) -> str:
    """As the server takes suffixes; empty where it would not take this one."""
    suffix = source.suffix.lower()
    letters = suffix.removeprefix(".")
    return suffix if letters.isascii() and letters.isalnum() and len(letters) <= 16 else ""
