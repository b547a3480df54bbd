"""Sends, lists, fetches and removes files of the store."""

import shlex
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from rich.table import Table

from model_trainer.cli import rendering
from model_trainer.cli.session import Session
from model_trainer.client.views import FileView
from model_trainer.core.contracts.base import as_json
from model_trainer.core.contracts.files import is_file_id
from model_trainer.core.errors import AppError, ErrorCode

PAGE_SIZE = 100


def upload_files(session: Session, paths: Sequence[str], *, resume: str | None) -> None:
    """Stores each file; what is stored stays when a later one fails. `resume`: the upload of the only file, which broke off."""
    if resume is not None and len(paths) > 1:
        raise AppError(
            ErrorCode.CONFIG_INVALID, "--resume names the upload of one file: give its path alone."
        )
    stored: list[FileView] = []
    with session.connect() as client:
        for path in paths:
            session.output.note(path)
            begun = partial(_tell_how_to_go_on, session, path)
            stored.append(client.files.upload(Path(path), resume=resume, begun=begun))
    _show(session, stored)


def _tell_how_to_go_on(session: Session, path: str, upload_id: str) -> None:
    command = shlex.join(["model-trainer", "file", "upload", "--resume", upload_id, path])
    session.output.note(f"should it break off: {command}")


def list_stored(session: Session, *, prefix: str, limit: int) -> None:
    """The first files whose id begins with `prefix`."""
    with session.connect() as client:
        found = list(islice(client.files.list_files(limit=min(limit, PAGE_SIZE), prefix=prefix), limit))
    _show(session, found)


def show_file(session: Session, file_id: str) -> None:
    """One file."""
    with session.connect() as client:
        found = client.files.find(_checked(file_id))
    session.output.show(as_json(found), render=lambda: _table([found]))


def get_file(session: Session, file_id: str, *, target: str) -> None:
    """Fetches a file to `target`."""
    with session.connect() as client:
        sha256 = client.files.download(_checked(file_id), target=Path(target))
    session.output.show(
        {"path": target, "sha256": sha256},
        render=lambda: rendering.plain_table("file", "sha256", rows=[(target, sha256[:16])]),
    )


def delete_file(session: Session, file_id: str) -> None:
    """Removes a file."""
    with session.connect() as client:
        client.files.delete(_checked(file_id))
    session.output.show({"file_id": file_id, "deleted": True}, render=lambda: f"{file_id} has gone")


def _checked(file_id: str) -> str:
    """Before it becomes a path, here or there."""
    if not is_file_id(file_id):
        message = (
            f"{file_id!r} is no file_id: that is 64 hexadecimal digits, as `model-trainer file list` shows."
        )
        raise AppError(ErrorCode.CONFIG_INVALID, message)
    return file_id


def _show(session: Session, files: Sequence[FileView]) -> None:
    session.output.show([as_json(file) for file in files], render=lambda: _table(files))


def _table(files: Sequence[FileView]) -> Table:
    """One line a file; the reference holds the id."""
    rows = [
        (file.reference, f"{file.num_bytes:,}", (file.stored_at or "")[:19].replace("T", " "))
        for file in files
    ]
    return rendering.plain_table("reference", "bytes", "stored", rows=rows)
