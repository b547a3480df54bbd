"""What a dead owner left half written. Only for who holds the run: nobody else may be writing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from model_trainer.core.files import TEMPORARY_PREFIX
from model_trainer.core.logging import get_logger

log = get_logger(__name__)


def sweep(folder: Path, *, delete: Callable[[Path], None] | None = None) -> int:
    """Removes everything temporary in a folder, at any depth; returns how much went. What cannot be removed stays for the
    clean-up of the maintenance process.

    Args:
        folder: of a run that is held.
        delete: takes a file or folder away; raises OSError when it cannot.
    """
    swept = 0
    for place in _temporary(folder):
        try:
            (delete or _delete)(place)
        except OSError as error:
            log.warning("leftover_not_removed", path=place.name, detail=error.strerror or "")
            continue
        swept += 1
    if swept:
        log.info("leftovers_removed", files_deleted=swept)
    return swept


def _delete(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _temporary(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.name.startswith(TEMPORARY_PREFIX):
            yield child
        elif child.is_dir() and not child.is_symlink():
            yield from _temporary(child)
