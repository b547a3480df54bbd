"""What every clean-up says of what it removed, would remove, or could not remove: one shape for logs, tables and programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from model_trainer.core.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that a clean-up was at."""

    path: Path
    fate: Literal["removed", "due", "failed"]
    """due: it would be removed, but for the dry run."""
    num_files: int = 0
    num_bytes: int = 0
    run_id: str | None = None
    """Whose it was, where it belongs to a run."""
    detail: str = ""
    """Why it could not be removed."""


def tell(removal: Removal) -> Removal:
    """Logs it, and gives it back: `cleanup_completed`, `cleanup_dry_run` or `cleanup_failed`."""
    path, run_id = str(removal.path), removal.run_id
    num_bytes, num_files = removal.num_bytes, removal.num_files
    match removal.fate:
        case "removed":
            log.info(
                "cleanup_completed",
                run_id=run_id,
                path=path,
                bytes_freed=num_bytes,
                files_deleted=num_files,
                dry_run=False,
            )
        case "due":
            log.info(
                "cleanup_dry_run",
                run_id=run_id,
                path=path,
                bytes_freed=num_bytes,
                files_deleted=num_files,
                dry_run=True,
            )
        case "failed":
            log.error(
                "cleanup_failed",
                run_id=run_id,
                path=path,
                bytes_freed=num_bytes,
                files_deleted=num_files,
                dry_run=False,
                detail=removal.detail,
            )
        case _:
            assert_never(removal.fate)
    return removal
