"""Stored files and uploads as the API shows them."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from model_trainer.api.schemas.page import Page, first_and_last
from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.files import FileId, FilePage, StoredFile, Upload


class FileView(Contract):
    """One file of the store."""

    file_id: str
    """SHA-256 of its content."""
    num_bytes: int
    stored_at: datetime
    reference: str
    """Stands wherever a path of data is asked for; without a suffix it is read as .txt."""
    links: dict[str, str]


class UploadView(Contract):
    """A file that comes in parts."""

    upload_id: str
    offset: int
    """Bytes that are here: the next part begins there."""
    num_bytes: int | None
    sha256: str | None
    created_at: datetime
    links: dict[str, str]


class FileListQuery(Contract):
    """Which files to list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    """Files in one page."""
    after: FileId | None = None
    """Only files behind this id (the last_id of the page before)."""
    prefix: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")] = ""
    """Only files whose id begins so."""


class FileNameQuery(Contract):
    """What the file is called where it comes from."""

    name: Annotated[str, Field(max_length=255, pattern=r"\.[A-Za-z0-9]{1,16}$")] | None = None
    """Its suffix, such as .jsonl, goes into the reference. Nothing else is done with it, and it is not kept."""


def view_file(file: StoredFile, *, name: str | None = None) -> FileView:
    """The file, with the reference that the name's suffix makes."""
    suffix = "" if name is None else PurePosixPath(name).suffix.lower()
    return FileView(
        file_id=file.file_id,
        num_bytes=file.num_bytes,
        stored_at=_at(file.stored_at_ms),
        reference=f"sha256:{file.file_id}{suffix}",
        links={"self": f"/files/{file.file_id}"},
    )


def view_files(page: FilePage) -> Page[FileView]:
    """A page of files, by file_id."""
    first, last = first_and_last([file.file_id for file in page.files])
    return Page[FileView](
        data=tuple(map(view_file, page.files)), has_more=page.has_more, first_id=first, last_id=last
    )


def view_upload(upload: Upload) -> UploadView:
    """How far it has come."""
    here = f"/files/uploads/{upload.upload_id}"
    return UploadView(
        upload_id=upload.upload_id,
        offset=upload.offset,
        num_bytes=upload.num_bytes,
        sha256=upload.sha256,
        created_at=_at(upload.created_at_ms),
        links={"self": here, "complete": f"{here}/complete"},
    )


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
