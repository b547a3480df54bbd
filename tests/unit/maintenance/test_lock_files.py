"""Lock files go with their runs, and no earlier."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.infra.storage.memory import MemoryRunLocks
from model_trainer.infra.storage.run_locks import LocalRunLocks
from model_trainer.maintenance.lock_files import LockFileCleaner
from tests.unit.worker.bench import Bench


@pytest.fixture
def locks(tmp_path: Path) -> LocalRunLocks:
    return LocalRunLocks(tmp_path, host="h")


def test_the_lock_file_of_an_ended_run_goes_and_all_others_stay(locks: LocalRunLocks) -> None:
    bench = Bench()
    ended, waiting, unknown = bench.submitted(), bench.submitted(), new_ulid()
    bench.store.request_cancel(ended)
    for run_id in (ended, waiting, unknown):
        held = locks.take(run_id, epoch=1)
        assert held is not None
        held.release()
    assert LockFileCleaner(runs=bench.store, locks=locks).clean() == 1
    assert set(locks.run_ids()) == {waiting, unknown}


def test_a_lock_that_is_held_stays(locks: LocalRunLocks) -> None:
    bench = Bench()
    run_id = bench.submitted()
    bench.store.request_cancel(run_id)
    held = locks.take(run_id, epoch=1)
    assert held is not None
    assert LockFileCleaner(runs=bench.store, locks=locks).clean() == 0
    assert locks.run_ids() == (run_id,)
    held.release()


def test_locks_without_files_are_left_alone() -> None:
    assert LockFileCleaner(runs=Bench().store, locks=MemoryRunLocks()).clean() == 0


def test_a_lock_file_that_cannot_go_is_said(tmp_path: Path) -> None:
    class Stuck(LocalRunLocks):
        def remove(self, run_id: str) -> bool:
            raise PermissionError("read-only")

    bench = Bench()
    run_id = bench.submitted()
    bench.store.request_cancel(run_id)
    locks = Stuck(tmp_path, host="h")
    held = locks.take(run_id, epoch=1)
    assert held is not None
    held.release()
    with capture_logs() as lines:
        assert LockFileCleaner(runs=bench.store, locks=locks).clean() == 0
    assert [(line["event"], line["run_id"]) for line in lines] == [("lock_file_not_removed", run_id)]
