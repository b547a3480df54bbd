"""Jobs on a trained model: their folder, and one of them at a time."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from model_trainer.core.contracts.run import RunKind
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.worker.event_mirror import EventMirror
from model_trainer.worker.follow_up import alone_on, follow_up_job, own_folder, parent_of
from model_trainer.worker.job import JobResult
from model_trainer.worker.lease import Cancelled, HeldRun
from tests.unit.worker.bench import Bench


def held(bench: Bench, folder: Path) -> HeldRun:
    run_id = bench.submitted()
    lease = bench.store.claim(
        run_id, epoch=bench.store.get(run_id).epoch, owner="w", host=None, lease_seconds=15
    )
    assert lease is not None
    mirror = EventMirror(folder / "events.jsonl")
    return HeldRun(store=bench.store, lease=lease, user_id=None, heartbeat_seconds=0.05, mirror=mirror)


def test_a_record_without_a_parent_is_nobodys_job() -> None:
    bench = Bench()
    record = bench.store.get(bench.submitted(kind=RunKind.EXPORT))
    with pytest.raises(AppError, match="of kind export names no run"):
        parent_of(record)


def test_a_job_has_a_folder_of_its_own_in_the_model_it_is_about() -> None:
    bench = Bench()
    record = bench.store.get(bench.submitted(kind=RunKind.CALIBRATE))
    child = record.model_copy(update={"parent_run_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"})
    model = bench.parts.artifacts.create("models", "01JCB0A8N7Q4T2V5W6X9Y0Z1AB")
    assert own_folder(bench.parts, child) == model / "calibrations" / record.run_id
    assert own_folder(bench.parts, child).is_dir()


def test_nobody_removes_the_model_while_a_job_is_on_it() -> None:
    bench = Bench()
    artifacts = bench.parts.artifacts
    record = bench.store.get(bench.submitted(kind=RunKind.EXPORT))
    child = record.model_copy(update={"parent_run_id": "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"})
    artifacts.create("models", "01JCB0A8N7Q4T2V5W6X9Y0Z1AB")
    job = follow_up_job(bench.parts, lambda _held, _record: JobResult(message="", metrics={}, result={}))
    with job.folder(child) as folder:
        assert folder == own_folder(bench.parts, child)
        assert not artifacts.remove("models", "01JCB0A8N7Q4T2V5W6X9Y0Z1AB", if_still=lambda _: True)
    assert artifacts.remove("models", "01JCB0A8N7Q4T2V5W6X9Y0Z1AB", if_still=lambda _: True)


def test_a_training_is_no_job_on_a_model() -> None:
    bench = Bench()
    with pytest.raises(AppError, match="has an artifact of its own") as raised:
        own_folder(bench.parts, bench.store.get(bench.submitted()))
    assert raised.value.code is ErrorCode.INTERNAL


def test_who_changes_a_model_is_alone_on_it_until_he_is_done(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    bench = Bench()
    with held(bench, tmp_path) as mine, alone_on(tmp_path, mine):
        descriptor = os.open(tmp_path / "model", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    assert [path.name for path in tmp_path.rglob("*") if path.parent.name == "model"] == []


def test_who_waits_for_a_model_gets_it_when_it_is_free(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    bench = Bench()
    descriptor = os.open(tmp_path / "model", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    def free_it_when_somebody_waits() -> None:
        while not any("Waiting" in (update.message or "") for update in bench.store.updates):
            time.sleep(0.01)
        os.close(descriptor)

    thread = threading.Thread(target=free_it_when_somebody_waits)
    thread.start()
    with held(bench, tmp_path) as mine, alone_on(tmp_path, mine):
        thread.join()
    assert bench.store.updates[-1].message == "Waiting for another job on this model"


def test_who_is_cancelled_while_he_waits_does_not_wait_on(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    bench = Bench()
    descriptor = os.open(tmp_path / "model", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with held(bench, tmp_path) as mine:
        bench.store.request_cancel(mine.run_id)
        with pytest.raises(Cancelled), alone_on(tmp_path, mine):
            os.close(descriptor)  # never: the lock is another's
    os.close(descriptor)
