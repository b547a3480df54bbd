"""The store on a server with the /files protocol: a data bank, or another Model Trainer."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx
from pydantic import BaseModel, ConfigDict

from model_trainer.core.contracts.base import dump_json
from model_trainer.core.contracts.files import FilePage, StoredFile, is_file_id
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.storage.stores.content import mismatch, not_found, pieces_of
from model_trainer.infra.storage.stores.databank_wire import DatabankWire

ONE_REQUEST_BYTES = 16 * 1024 * 1024
"""Longer files go up in parts, so that a lost connection costs one part at most."""
PART_BYTES = 64 * 1024 * 1024
HASHED_BYTES_PER_SECOND = 20_000_000
"""By the server, of an upload that is complete, before it answers; a slow disk does more."""
MOST_LISTED = 1_000


class _Answer(BaseModel):
    """Part of an answer; a newer server may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _File(_Answer):
    file_id: str
    num_bytes: int
    stored_at: datetime

    def as_stored(self) -> StoredFile:
        return StoredFile(
            file_id=self.file_id,
            num_bytes=self.num_bytes,
            stored_at_ms=round(self.stored_at.timestamp() * 1000),
        )


class _Page(_Answer):
    data: tuple[_File, ...]
    has_more: bool


class _Upload(_Answer):
    upload_id: str


class DatabankStore:
    """Speaks the protocol of `docs/api.md`, Files. Each call is tried a few times before the store counts as away.

    What is sent is verified by the server, which is told the digest beforehand: it keeps nothing that does not fit. An
    upload that a lost server interrupted is remembered, and gone on with when the same file is put again.
    """

    def __init__(self, wire: DatabankWire) -> None:
        """Connects when something is first asked for."""
        self._wire = wire
        self._interrupted: dict[str, str] = {}
        """By file_id, where its upload is."""

    @property
    def is_local(self) -> bool:
        """It is not."""
        return False

    def find(self, file_id: str) -> StoredFile | None:
        """See ArtifactStore."""
        if not is_file_id(file_id):
            return None
        answer = self._wire.ask("HEAD", f"/files/{file_id}", expected=(200, 404))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return StoredFile(
            file_id=file_id,
            num_bytes=self._wire.number_in(answer, "content-length"),
            stored_at_ms=self._wire.number_in(answer, "x-stored-at-ms"),
        )

    def put(self, path: Path, *, file_id: str, num_bytes: int) -> StoredFile:
        """See ArtifactStore. An upload that is interrupted goes on where it stands, in this call or a later one."""
        if not is_file_id(file_id) or path.stat().st_size < num_bytes:
            raise mismatch(file_id)
        found = self.find(file_id)
        if found is not None and found.num_bytes == num_bytes:
            return found
        with path.open("rb") as file:
            if num_bytes <= ONE_REQUEST_BYTES:
                return self._put_at_once(file, file_id=file_id, num_bytes=num_bytes)
            return self._put_in_parts(file, file_id=file_id, num_bytes=num_bytes)

    def read(self, file_id: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A broken connection is taken up where it broke; raises FILE_NOT_FOUND, too, when the file is
        deleted meanwhile."""
        found = self.find(file_id)
        if found is None:
            raise not_found(file_id)
        end = found.num_bytes if stop is None else min(stop, found.num_bytes)
        tries = self._wire.tries()
        while start < end:
            try:
                for piece in self._wire.pieces(f"/files/{file_id}", start=start, stop=end):
                    start += len(piece)
                    tries.succeeded()
                    yield piece
            except AppError as error:
                tries.failed(error)

    def delete(self, file_id: str) -> None:
        """See ArtifactStore. Raises CONFLICT when the server's own runs need the file."""
        if is_file_id(file_id):
            self._wire.ask("DELETE", f"/files/{file_id}", expected=(204, 404))

    def list_files(self, *, prefix: str = "", after: str | None = None, limit: int) -> FilePage:
        """See ArtifactStore."""
        found: list[StoredFile] = []
        has_more = set(prefix) <= set("0123456789abcdef")
        while has_more and len(found) < limit:
            query = {"limit": str(min(limit - len(found), MOST_LISTED)), "prefix": prefix}
            if after is not None:
                query["after"] = after
            page = self._wire.parsed(_Page, self._wire.ask("GET", "/files", query=query, expected=(200,)))
            found += [each.as_stored() for each in page.data]
            has_more = page.has_more
            after = found[-1].file_id if found else None
        return FilePage(files=tuple(found), has_more=has_more)

    def check(self) -> None:
        """See ArtifactStore."""
        self.list_files(limit=1)

    def _put_at_once(self, file: BinaryIO, *, file_id: str, num_bytes: int) -> StoredFile:
        data = b"".join(pieces_of(file, num_bytes=num_bytes))
        headers = {"X-Content-SHA256": file_id}
        answer = self._wire.ask("POST", "/files", content=data, headers=headers, expected=(200, 201))
        return self._wire.parsed(_File, answer).as_stored()

    def _put_in_parts(self, file: BinaryIO, *, file_id: str, num_bytes: int) -> StoredFile:
        place, offset = self._taken_up(file_id) or (self._begun(file_id, num_bytes=num_bytes), 0)
        try:
            self._send_parts(file, place, offset=offset, num_bytes=num_bytes)
            return self._complete(place, file_id=file_id, num_bytes=num_bytes)
        except AppError as error:
            if error.code not in (ErrorCode.STORE_UNAVAILABLE, ErrorCode.CONFLICT):
                self._give_up(place)
                raise
            self._interrupted[file_id] = place
            if error.code is ErrorCode.STORE_UNAVAILABLE:
                raise
            raise self._wire.unavailable("it has not missed a lost connection yet") from error

    def _taken_up(self, file_id: str) -> tuple[str, int] | None:
        """An earlier upload of the file, and where it stands; None when there is none, or it is not there any more."""
        place = self._interrupted.pop(file_id, None)
        if place is None:
            return None
        try:
            answer = self._wire.ask("HEAD", place, expected=(200, 404))
            return None if answer.status_code == HTTPStatus.NOT_FOUND else (place, self._offset_in(answer))
        except AppError:
            self._interrupted[file_id] = place
            raise

    def _begun(self, file_id: str, *, num_bytes: int) -> str:
        announced = dump_json({"num_bytes": num_bytes, "sha256": file_id}).encode()
        headers = {"Content-Type": "application/json"}
        answer = self._wire.ask("POST", "/files/uploads", content=announced, headers=headers, expected=(201,))
        return f"/files/uploads/{self._wire.parsed(_Upload, answer).upload_id}"

    def _give_up(self, place: str) -> None:
        with suppress(AppError):  # it goes by itself then, only later
            self._wire.ask_once("DELETE", place, expected=(204, 404))

    def _send_parts(self, file: BinaryIO, place: str, *, offset: int, num_bytes: int) -> None:
        tries = self._wire.tries()
        while offset < num_bytes:
            try:
                stands_at = self._send_part(file, place, offset=offset, num_bytes=num_bytes)
            except AppError as error:
                if error.code is ErrorCode.FILE_NOT_FOUND:
                    raise self._wire.unavailable("the upload is gone") from error
                # In conflict with a part that broke off, while the server has not missed the lost connection yet.
                tries.failed(error, also=ErrorCode.CONFLICT)
                stands_at = self._offset_in(self._wire.ask("HEAD", place, expected=(200,)))
            if stands_at > offset:
                tries.succeeded()
            offset = stands_at

    def _send_part(self, file: BinaryIO, place: str, *, offset: int, num_bytes: int) -> int:
        """Sends what fits into one part; returns where the upload stands then."""
        part_bytes = min(PART_BYTES, num_bytes - offset)
        file.seek(offset)
        headers = {"Upload-Offset": str(offset), "Content-Length": str(part_bytes)}
        pieces = pieces_of(file, num_bytes=part_bytes)
        answer = self._wire.ask_once("PATCH", place, content=pieces, headers=headers, expected=(204,))
        return self._offset_in(answer)

    def _offset_in(self, answer: httpx.Response) -> int:
        return self._wire.number_in(answer, "upload-offset")

    def _complete(self, place: str, *, file_id: str, num_bytes: int) -> StoredFile:
        tries = self._wire.tries()
        while True:
            try:
                answer = self._wire.ask_once(
                    "POST",
                    f"{place}/complete",
                    expected=(200, 201, 404),
                    patience_seconds=num_bytes / HASHED_BYTES_PER_SECOND,
                )
            except AppError as error:
                # In conflict with an earlier try that was not waited for, but is still being carried out.
                tries.failed(error, also=ErrorCode.CONFLICT)
                continue
            if answer.status_code != HTTPStatus.NOT_FOUND:
                return self._wire.parsed(_File, answer).as_stored()
            found = self.find(file_id)  # there, when an earlier try's answer was lost
            if found is None:
                raise self._wire.unavailable("the upload is gone")
            return found
