"""The maintenance process over a whole installation, and its counterpart that brings one back."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_trainer.container import Container, in_memory
from model_trainer.core.config import load_settings
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import HandBack, Lease, NewRun, RunKind, RunStatus
from model_trainer.core.errors import Reason
from model_trainer.infra.persistence.memory import MemoryRunStore
from model_trainer.maintenance.chores import SMALL_FILE_SECONDS, maintain, rebuild

PATIENCE_SECONDS = 20.0


@pytest.fixture
def container(tmp_path: Path) -> Container:
    settings = load_settings(env_file=None)
    app = settings.app.model_copy(
        update={
            "reap_every_seconds": 0.01,
            "min_free_disk_bytes": 0,
            "artifacts_root": tmp_path / "artifacts",
            "runs_root": tmp_path / "runs",
        }
    )
    return in_memory(settings.model_copy(update={"app": app}))


def submitted(container: Container) -> str:
    run = NewRun(
        run_id=new_ulid(),
        kind=RunKind.TRAIN,
        queue="training",
        family="gpt2",
        spec={},
        user_id=None,
        metadata={},
        parent_run_id=None,
        request_id="r-1",
    )
    return container.runs.submit(run, idempotency=None).record.run_id


def claimed(container: Container, *, host: str) -> Lease:
    run_id = submitted(container)
    lease = container.runs.claim(run_id, epoch=0, owner="w", host=host, lease_seconds=3600)
    assert lease is not None
    return lease


def maintained_until(container: Container, happened: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=maintain, args=(container,), kwargs={"stop": stop})
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not happened():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()


def test_a_dead_owner_on_this_host_is_noticed_long_before_its_lease_ends(container: Container) -> None:
    dead = claimed(container, host=container.locks.host)
    alive = claimed(container, host=container.locks.host)
    elsewhere = claimed(container, host="another-host")
    assert container.locks.take(alive.run_id, epoch=1) is not None
    maintained_until(container, lambda: container.runs.get(dead.run_id).status is RunStatus.QUEUED)
    assert container.runs.get(dead.run_id).epoch == dead.epoch + 1
    assert {holder.run_id for holder in container.runs.held()} == {alive.run_id, elsewhere.run_id}


def test_a_run_without_disk_space_goes_on_by_itself(container: Container) -> None:
    lease = claimed(container, host="h")
    full = HandBack(status=RunStatus.PAUSED, message="Full.", reason=Reason.DISK_FULL)
    container.runs.release(lease, full)
    maintained_until(container, lambda: container.runs.get(lease.run_id).status is RunStatus.QUEUED)


def test_ends_come_to_disk(container: Container) -> None:
    run_id = submitted(container)
    folder = container.artifacts.create("models", run_id)
    container.runs.request_cancel(run_id)
    maintained_until(container, lambda: not container.runs.unaccounted(1))
    assert (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("age_seconds", "stays"), [(SMALL_FILE_SECONDS - 30, True), (SMALL_FILE_SECONDS + 1, False)]
)
def test_torn_records_go_after_a_minute(container: Container, age_seconds: int, stays: bool) -> None:
    app = container.settings.app
    torn = app.runs_root / new_ulid() / ".tmp-1"
    torn.parent.mkdir(parents=True)
    torn.write_text("{")
    then = time.time() - age_seconds
    os.utime(torn, (then, then))
    run_id = submitted(container)
    container.runs.request_cancel(run_id)
    cleaned = torn.with_name(".tmp-2")
    cleaned.write_text("{")
    os.utime(cleaned, (0, 0))
    maintained_until(container, lambda: not cleaned.exists())
    assert torn.exists() is stays


def test_a_lost_store_is_brought_back(container: Container) -> None:
    run_id = submitted(container)
    container.artifacts.keep_record(container.runs.get(run_id))
    assert isinstance(container.runs, MemoryRunStore)
    container.runs.lose_everything()
    assert [(one.run_id, one.fate) for one in rebuild(container, adopt=False)] == [(run_id, "restored")]
    assert container.runs.get(run_id).status is RunStatus.QUEUED
