"""/files: bytes by their SHA-256, sent in one go or in parts."""

import contextlib

import anyio
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.downloads import OpenFile, answer_download, answer_head
from model_trainer.api.problems import problem_response
from model_trainer.api.requests import parse_body, parse_query, read_empty_body, read_optional_json_body
from model_trainer.api.routes.artifacts import BYTES, DOWNLOAD
from model_trainer.api.routes.endpoints import FileIdPath, UploadIdPath, add, schema_of
from model_trainer.api.schemas.file import (
    FileListQuery,
    FileNameQuery,
    FileView,
    UploadView,
    view_file,
    view_files,
    view_upload,
)
from model_trainer.api.schemas.page import Page
from model_trainer.api.streams import Streams
from model_trainer.api.validators.file import (
    DIGEST_HEADER,
    OFFSET_HEADER,
    announced_digest,
    announced_offset,
    check_raw,
)
from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.files import NewUpload, Upload
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.ports.store import Part
from model_trainer.orchestrators.files import Kept

WRITTEN_AT_ONCE = 1 << 20
"""Bytes of a body that are gathered before a thread writes them down."""
STORED_AT_HEADER = "X-Stored-At-Ms"
BODY: JsonObject = {"required": True, "content": BYTES}
DIGEST: JsonObject = {
    "name": DIGEST_HEADER,
    "in": "header",
    "required": False,
    "description": "The SHA-256 that the file must turn out to have; nothing is stored otherwise.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
OFFSET: JsonObject = {
    "name": OFFSET_HEADER,
    "in": "header",
    "required": True,
    "description": "Where the part begins: the bytes that are here already.",
    "schema": {"type": "integer", "minimum": 0},
}
LOCATION: JsonObject = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
STANDS_AT: JsonObject = {
    OFFSET_HEADER: {"description": "Bytes that are here now.", "schema": {"type": "integer"}}
}
KEPT: dict[int, JsonObject] = {
    200: {"description": "The store had the file already.", "headers": LOCATION},
    201: {"description": "Stored.", "headers": LOCATION},
}
"""Answers to a file that is whole."""


class FileRoutes:
    """Handlers of /files."""

    def __init__(self, container: Container, streams: Streams) -> None:
        self._files = container.files
        self._arrivals = container.arrivals
        self._streams = streams

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        self._add_files(app)
        self._add_uploads(app)

    async def store_file(self, request: Request) -> Response:
        """The bytes of a file as the body, of any length. Its SHA-256 becomes the file_id; a file that is there already is
        kept once. When the connection breaks, nothing stays: send large files in parts (POST /files/uploads)."""
        check_raw(request.headers)
        name = parse_query(request, FileNameQuery).name
        new = NewUpload(sha256=announced_digest(request.headers))
        upload = await run_in_threadpool(self._arrivals.begin, new)
        kept: Kept | None = None
        try:
            part = await run_in_threadpool(self._arrivals.append, upload.upload_id, offset=0)
            await _poured(request, part)
            kept = await run_in_threadpool(self._arrivals.complete, upload.upload_id)
        finally:
            if kept is None:  # nobody knows the upload, so nobody would go on with it
                with anyio.CancelScope(shield=True):
                    await run_in_threadpool(self._forget, upload.upload_id)
        return _kept(kept, name)

    def list_files(self, request: Request) -> Page[FileView]:
        """In the order of their ids; ask again with after=last_id while has_more."""
        wanted = parse_query(request, FileListQuery)
        return view_files(
            self._files.list_files(prefix=wanted.prefix, after=wanted.after, limit=wanted.limit)
        )

    def get_file(self, request: Request, file_id: FileIdPath) -> Response:
        """Honours Range (one range), If-Range and If-None-Match; the ETag is the file_id."""
        return answer_download(self._open(file_id), request.headers, streams=self._streams)

    def head_file(self, file_id: FileIdPath) -> Response:
        """As GET, without the bytes."""
        return answer_head(self._open(file_id))

    def delete_file(self, file_id: FileIdPath) -> Response:
        """Refused while runs need it."""
        self._files.delete(file_id)
        return Response(status_code=204)

    async def begin_upload(self, request: Request) -> Response:
        """A place for a file that comes in parts. What is said of it here must turn out to be so."""
        body = await read_optional_json_body(request)
        new = NewUpload() if body is None else parse_body(body, NewUpload)
        upload = await run_in_threadpool(self._files.begin, new)
        location = {"Location": f"/files/uploads/{upload.upload_id}"}
        return Response(
            view_upload(upload).model_dump_json(),
            status_code=201,
            headers={**location, **_stands_at(upload)},
            media_type="application/json",
        )

    async def append_part(self, request: Request, upload_id: UploadIdPath) -> Response:
        """The next bytes as the body, one part at a time. What came counts, also when the connection breaks: HEAD tells how
        far it goes."""
        check_raw(request.headers)
        offset = announced_offset(request.headers)
        try:
            part = await run_in_threadpool(self._files.append, upload_id, offset=offset)
        except AppError as error:
            right = error.facts.get("offset")
            if error.code is not ErrorCode.CONFLICT or right is None:
                raise
            # The body has not been read; whoever sends it is told to stop.
            return problem_response(error, headers={OFFSET_HEADER: str(right), "Connection": "close"})
        return Response(status_code=204, headers=_stands_at(await _poured(request, part)))

    def get_upload(self, upload_id: UploadIdPath) -> Response:
        """How far it has come."""
        upload = self._files.find_upload(upload_id)
        return Response(
            view_upload(upload).model_dump_json(), headers=_stands_at(upload), media_type="application/json"
        )

    def head_upload(self, upload_id: UploadIdPath) -> Response:
        """As GET, without the body."""
        return Response(headers=_stands_at(self._files.find_upload(upload_id)))

    async def complete_upload(self, request: Request, upload_id: UploadIdPath) -> Response:
        """Puts the file into the store; the upload is gone then."""
        await read_empty_body(request)
        name = parse_query(request, FileNameQuery).name
        return _kept(await run_in_threadpool(self._files.complete, upload_id), name)

    def abort_upload(self, upload_id: UploadIdPath) -> Response:
        """Throws away what has come."""
        self._files.abort(upload_id)
        return Response(status_code=204)

    def _forget(self, upload_id: str) -> None:
        with contextlib.suppress(AppError):  # of another digest than was announced: it has gone already
            self._arrivals.abort(upload_id)

    def _open(self, file_id: str) -> OpenFile:
        stored = self._files.find(file_id)
        return OpenFile(
            pieces=lambda span: self._files.read(file_id, start=span.start, stop=span.stop),
            close=_nothing_is_open,
            name=file_id,
            size=stored.num_bytes,
            modified_at=stored.stored_at_ms / 1000,
            etag=f'"{file_id}"',
            headers={STORED_AT_HEADER: str(stored.stored_at_ms)},
        )

    def _add_files(self, app: FastAPI) -> None:
        add(
            app,
            "POST",
            "/files",
            self.store_file,
            operation_id="store_file",
            summary="Store a file",
            tag="files",
            view=FileView,
            status=201,
            query=FileNameQuery,
            headers=[DIGEST],
            body=BODY,
            answers=KEPT,
            problems=[400, 413],
        )
        add(
            app,
            "GET",
            "/files",
            self.list_files,
            operation_id="list_files",
            summary="List files, by file_id",
            tag="files",
            view=Page[FileView],
            query=FileListQuery,
        )
        add(
            app,
            "GET",
            "/files/{file_id}",
            self.get_file,
            operation_id="get_file",
            summary="A file, whole or one byte range",
            tag="files",
            answers=DOWNLOAD,
            problems=[404, 416],
        )
        add(
            app,
            "HEAD",
            "/files/{file_id}",
            self.head_file,
            operation_id="head_stored_file",
            summary="The headers of a file",
            tag="files",
            problems=[404],
        )
        add(
            app,
            "DELETE",
            "/files/{file_id}",
            self.delete_file,
            operation_id="delete_file",
            summary="Remove a file",
            tag="files",
            status=204,
            answers={204: {"description": "It has gone."}},
            problems=[404, 409],
        )

    def _add_uploads(self, app: FastAPI) -> None:
        add(
            app,
            "POST",
            "/files/uploads",
            self.begin_upload,
            operation_id="begin_upload",
            summary="Begin a file that comes in parts",
            tag="files",
            view=UploadView,
            status=201,
            body={"content": {"application/json": {"schema": schema_of(NewUpload)}}},
            answers={201: {"description": "It may come.", "headers": {**LOCATION, **STANDS_AT}}},
            problems=[413],
        )
        add(
            app,
            "PATCH",
            "/files/uploads/{upload_id}",
            self.append_part,
            operation_id="append_part",
            summary="Send the next part",
            tag="files",
            status=204,
            headers=[OFFSET],
            body=BODY,
            answers={204: {"description": "Written down.", "headers": STANDS_AT}},
            problems=[400, 404, 409, 413],
        )
        add(
            app,
            "GET",
            "/files/uploads/{upload_id}",
            self.get_upload,
            operation_id="get_upload",
            summary="How far an upload has come",
            tag="files",
            view=UploadView,
            answers={200: {"description": "Where it stands.", "headers": STANDS_AT}},
            problems=[404],
        )
        add(
            app,
            "HEAD",
            "/files/uploads/{upload_id}",
            self.head_upload,
            operation_id="head_upload",
            summary="How far an upload has come, in a header",
            tag="files",
            problems=[404],
        )
        add(
            app,
            "POST",
            "/files/uploads/{upload_id}/complete",
            self.complete_upload,
            operation_id="complete_upload",
            summary="Store the file that has come",
            tag="files",
            view=FileView,
            status=201,
            query=FileNameQuery,
            answers=KEPT,
            problems=[404, 409],
        )
        add(
            app,
            "DELETE",
            "/files/uploads/{upload_id}",
            self.abort_upload,
            operation_id="abort_upload",
            summary="Give an upload up",
            tag="files",
            status=204,
            answers={204: {"description": "It has gone."}},
            problems=[404, 409],
        )


async def _poured(request: Request, part: Part) -> Upload:
    """Writes the body down as it comes; what has come counts, whatever happens."""
    gathered = bytearray()
    try:
        async for piece in request.stream():
            gathered += piece
            if len(gathered) >= WRITTEN_AT_ONCE:
                ready, gathered = bytes(gathered), bytearray()
                await run_in_threadpool(part.write, ready)
    finally:
        with anyio.CancelScope(shield=True):
            upload = await run_in_threadpool(_ended, part, bytes(gathered))
    return upload


def _ended(part: Part, rest: bytes) -> Upload:
    try:
        part.write(rest)
    finally:
        upload = part.close()
    return upload


def _kept(kept: Kept, name: str | None) -> Response:
    return Response(
        view_file(kept.file, name=name).model_dump_json(),
        status_code=201 if kept.is_new else 200,
        headers={"Location": f"/files/{kept.file.file_id}"},
        media_type="application/json",
    )


def _stands_at(upload: Upload) -> dict[str, str]:
    return {OFFSET_HEADER: str(upload.offset)}


def _nothing_is_open() -> None:
    """A store opens a file when it is read, and closes it with the last piece."""
