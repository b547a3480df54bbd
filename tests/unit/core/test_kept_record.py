"""Records that go to disk beside the store."""

import errno
import time

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.kept_record import keep_record
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.infra.queue.memory import MemoryJobQueue
from model_trainer.infra.storage.memory import MemoryArtifactTree
from tests.contract.run_stores import new_run


class BadDisk(MemoryArtifactTree):
    """A disk that takes nothing."""

    def __init__(self, error: AppError | OSError) -> None:
        super().__init__()
        self._error = error

    def keep_record(self, record: RunRecord) -> None:
        raise self._error


def _record() -> RunRecord:
    runs = MemoryRunStore(queue=MemoryJobQueue(), clock=time.time, announce=lambda _: None)
    return runs.submit(new_run(), idempotency=None).record


def test_a_record_is_found_on_disk() -> None:
    artifacts, record = MemoryArtifactTree(), _record()
    keep_record(artifacts, record)
    assert [kept.record for kept in artifacts.kept_records()] == [record]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (AppError(ErrorCode.DISK_FULL, "The disk is full."), "AppError: The disk is full."),
        (OSError(errno.EIO, "No disk."), "OSError: [Errno 5] No disk."),
    ],
)
def test_what_the_disk_refuses_is_told_to_the_log_alone(error: AppError | OSError, why: str) -> None:
    record = _record()
    with capture_logs() as lines:
        keep_record(BadDisk(error), record)
    assert [(line["event"], line["run_id"], line["detail"]) for line in lines] == [
        ("record_not_kept", record.run_id, why)
    ]
