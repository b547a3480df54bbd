"""Every clean-up tells what it did in the same words."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.maintenance.telling import Removal, tell

PLACE = Path("/a/T1")
COMMON = {"path": "/a/T1", "bytes_freed": 7, "files_deleted": 2}


@pytest.mark.parametrize(
    ("removal", "line"),
    [
        (
            Removal(path=PLACE, fate="removed", num_files=2, num_bytes=7, run_id="R1"),
            {"event": "cleanup_completed", "log_level": "info", "dry_run": False, "run_id": "R1"},
        ),
        (
            Removal(path=PLACE, fate="due", num_files=2, num_bytes=7),
            {"event": "cleanup_dry_run", "log_level": "info", "dry_run": True, "run_id": None},
        ),
        (
            Removal(path=PLACE, fate="failed", num_files=2, num_bytes=7, detail="Permission denied"),
            {
                "event": "cleanup_failed",
                "log_level": "error",
                "dry_run": False,
                "run_id": None,
                "detail": "Permission denied",
                "exc_info": False,
            },
        ),
    ],
)
def test_each_fate_has_its_event_and_all_have_the_same_fields(
    removal: Removal, line: dict[str, object]
) -> None:
    with capture_logs() as lines:
        assert tell(removal) is removal

    assert lines == [COMMON | line]
