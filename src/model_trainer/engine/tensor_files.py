"""Tensors in a safetensors file that is whole or absent, and readable by whom the other files are."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.files import TEMPORARY_PREFIX, disk_errors, fsync_folder, is_disk_full


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Puts `tensors` at `path`, durably: a crash at any moment leaves the old file or the new one. Raises DISK_FULL.

    safetensors writes to a temporary file of its own beside its target, closed to all but its owner. In a temporary
    folder of ours, readers pass it over and the clean-up finds it.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{new_ulid()}")
    try:
        with tensor_disk_errors(path):
            temporary.mkdir()
            written = temporary / path.name
            save_file(tensors, written, metadata={"format": "pt"})
            written.chmod(temporary.stat().st_mode & 0o666)  # what the umask gave the folder
            with written.open("rb+") as file:
                os.fsync(file.fileno())
            written.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(path.parent)


@contextmanager
def tensor_disk_errors(path: Path) -> Iterator[None]:
    """Like disk_errors, for safetensors' own exception too."""
    try:
        with disk_errors(path):
            yield
    except SafetensorError as error:
        if not is_disk_full(error):
            raise
        raise AppError(
            ErrorCode.DISK_FULL, "The disk is full. Free some space, then start the run again."
        ) from error
