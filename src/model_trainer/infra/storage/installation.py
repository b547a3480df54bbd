"""installation.json: whose artifacts a root holds. Made once, by whichever process asks first."""

import os
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from model_trainer.core.contracts.base import Contract
from model_trainer.core.contracts.ids import UlidText, new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder, write_atomically

INSTALLATION_FILE = "installation.json"


class Installation(Contract):
    """The file's content."""

    schema_version: Literal[1] = 1
    installation_id: UlidText


def installation_id_of(root: Path) -> str:
    """The id of the installation whose artifacts root this is, made when there is none.

    Raises ARTIFACT_CORRUPT for a file that cannot be read, DISK_FULL when a new one does not fit.
    """
    path = root / INSTALLATION_FILE
    if not path.exists():
        with disk_errors(path):
            root.mkdir(parents=True, exist_ok=True)
        _make(path)
    try:
        return Installation.model_validate_json(path.read_bytes()).installation_id
    except (OSError, ValidationError) as error:
        raise AppError(
            ErrorCode.ARTIFACT_CORRUPT,
            f"{path} is damaged: it should name the installation that the artifacts beside it belong to. Put it back "
            "from a backup, or copy installation_id from the manifest.json of any run, as "
            '{"schema_version": 1, "installation_id": "..."}.',
            facts={"path": str(path)},
        ) from error


def _make(path: Path) -> None:
    """Complete before it has its name, and the name goes to one process alone: a link does not replace."""
    complete = path.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    try:
        text = Installation(installation_id=new_ulid()).model_dump_json(indent=2)
        write_atomically(complete, f"{text}\n".encode())
        os.link(complete, path)
    except FileExistsError:
        return  # another process was first: its id is everybody's
    finally:
        complete.unlink(missing_ok=True)
    fsync_folder(path.parent)
